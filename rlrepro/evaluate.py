"""`rlrepro evaluate RUN`: a finished run's policies on fresh episodes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlrepro.errors import Problem, close_quietly, count_of, one_line, place_of
from rlrepro.flags import MAX_SEED, Parser, device_name, whole_number
from rlrepro.plugins import own_code
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.own_code import shown
from rlrepro.settings import Settings

if TYPE_CHECKING:
    from rlrepro.record import RunFolder


def main(arguments: Sequence[str]) -> int:
    """Evaluate by a command line; the exit status."""
    parser = Parser(prog="rlrepro evaluate", description="Score a finished run on fresh episodes.")
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument(
        "--episodes", type=whole_number(1, 100_000), default=100, metavar="N", help="episodes of each seed (100)"
    )
    parser.add_argument("--stochastic", action="store_true", help="let the policy explore (it does not by default)")
    parser.add_argument(
        "--salt", type=whole_number(0, MAX_SEED), default=0, metavar="N", help="another number, other episodes (0)"
    )
    parser.add_argument("--capture-video", action="store_true", help="record an episode of each seed as well")
    parser.add_argument("--device", type=device_name, metavar="DEVICE", help="cpu, cuda or cuda:1 (that of the run)")
    asked = parser.parse_args(arguments)

    from rlrepro.record import RunFolder

    folder, settings = RunFolder.open(asked.run)
    if asked.device:
        find_agent(settings.agent).check_device(asked.device)
        settings = dataclasses.replace(settings, device=asked.device)
    from rlrepro.contract import check_film
    from rlrepro.plugins.environments import find_env
    from rlrepro.trained import check_policies

    check_policies(folder, settings.seeds)
    if not os.access(folder.path, os.W_OK):
        raise Problem(f"{folder} cannot be written to, and the episodes would be lost: copy it, and evaluate the copy")

    if asked.capture_video:
        check_film(find_env(settings.env, settings.env_kwargs, settings.wrappers))
    is_changed = bool(folder.changed_code(settings))
    code = own_code.hashes(own_code.sources(settings.named_code))
    returns, lengths = evaluate_run(folder.path, settings, asked.episodes, not asked.stochastic, asked.salt)
    kind = "stochastic" if asked.stochastic else "deterministic"
    _show(settings, returns, lengths, kind)
    policies = {seed: hashlib.sha256(folder.policy(seed).read_bytes()).hexdigest() for seed in settings.seeds}
    # Of a longer run, or by other code, the episodes are others.
    other = itertools.chain(*sorted(code.items())) if is_changed else ()
    whose = hashlib.sha256("".join((*policies.values(), *other)).encode()).hexdigest()[:8]
    file = folder.path / f"evaluation-{whose}-{kind}-{asked.episodes}-{asked.salt}.json"
    folder.write_json(
        file.name,
        {
            "policies": {str(seed): digest for seed, digest in policies.items()},
            "finished": folder.is_finished,
            **({"code": code} if code else {}),
            "episodes": asked.episodes,
            "deterministic": not asked.stochastic,
            "salt": asked.salt,
            "episode_returns": {str(seed): returns[row].tolist() for row, seed in enumerate(settings.seeds)},
        },
    )
    print(f"every episode is in {file}")
    if asked.capture_video and film_run(folder, settings, not asked.stochastic, f"evaluation-{whose}-{kind}"):
        print(f"videos are in {folder.videos}")
    return 0


def evaluate_run(
    path: Path, settings: Settings, num_episodes: int, deterministic: bool, salt: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths `[S, num_episodes]` of the run's policies."""
    from rlrepro import loop, worker
    from rlrepro.plugins.environments import find_env
    from rlrepro.record import RunFolder
    from rlrepro.trained import load_policy

    worker.use_device(settings.device)
    folder = RunFolder(path)
    for doubt in folder.doubts(settings, settings.seeds):
        print(f"warning: {doubt}", file=sys.stderr)
    source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
    returns, lengths = [], []
    warning = loop.LongEpisodeWarning(lambda text: print(f"warning: {text}", file=sys.stderr))
    for seeds in [settings.seeds] if settings.stackable else [(seed,) for seed in settings.seeds]:
        batch = source.batch(len(seeds) * loop.evaluation_slots(num_episodes))
        try:
            policy = load_policy(folder, settings, seeds, batch)
            outcome = loop.evaluate(policy, batch, seeds, num_episodes, deterministic, ("fresh", salt), warning)
        except (Problem, KeyboardInterrupt):
            raise
        except Exception as error:
            if not (place := place_of(error)):
                raise  # ours, to be reported whole
            raise Problem(f"{shown(settings.agent)} raised {one_line(error)}{place} in an evaluation") from error
        finally:
            close_quietly(batch)
        returns.append(outcome.episode_return)
        lengths.append(outcome.episode_length)
    return np.concatenate(returns), np.concatenate(lengths)


def film_run(folder: RunFolder, settings: Settings, deterministic: bool, name: str) -> int:
    """An episode of each seed as a video; how many. One that cannot be made is a warning, since all else is done."""
    from rlrepro.plugins.environments import find_env
    from rlrepro.recorder import film
    from rlrepro.trained import load_policy

    source, made = find_env(settings.env, settings.env_kwargs, settings.wrappers), 0
    for seed in settings.seeds:
        batch = source.batch(1)
        try:
            policy = load_policy(folder, settings, (seed,), batch)
            film(policy, source, (seed,), folder.videos, f"seed-{seed}-{name}", deterministic)
            made += 1
        except (Exception, SystemExit) as error:
            why = error if isinstance(error, Problem) else one_line(error)
            print(f"warning: no video of seed {seed}: {why}", file=sys.stderr)
        finally:
            close_quietly(batch)
    return made


def _show(settings: Settings, returns: np.ndarray, lengths: np.ndarray, kind: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rlrepro.progress import print_table

    what = f"{shown(settings.agent)} on {shown(settings.env)}"
    table = Table(title=Text(f"{what}: {count_of(returns.shape[1], 'fresh episode')} a seed, {kind}"))
    for column in ("seed", "mean return", "sd", "lowest", "highest", "mean length"):
        table.add_column(column, justify="right", overflow="fold")
    for row, seed in enumerate(settings.seeds):
        one = returns[row]
        spread = f"{one.std(ddof=1):.2f}" if len(one) > 1 else ""
        table.add_row(
            str(seed),
            f"{one.mean():.2f}",
            spread,
            f"{one.min():.2f}",
            f"{one.max():.2f}",
            f"{lengths[row].mean():.1f}",
        )
    if len(returns) > 1:
        means = returns.mean(1)
        table.add_section()
        table.add_row(
            "seed means",
            f"{means.mean():.2f}",
            f"{means.std(ddof=1):.2f}",
            f"{means.min():.2f}",
            f"{means.max():.2f}",
            f"{lengths.mean():.1f}",
        )
    print_table(table, Console())
