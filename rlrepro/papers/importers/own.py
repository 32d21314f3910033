"""Our own runs and a reproduction's results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.errors import count_of, diverged_text
from rlrepro.papers.histories import read_run
from rlrepro.papers.importers.groups import Seed
from rlrepro.papers.scoring import History
from rlrepro.papers.units.results import read_results
from rlrepro.papers.units.unit import shared, unshared
from rlrepro.plugins.own_code import file_of, shown
from rlrepro.record import RunFolder


def of_run(path: Path) -> Iterator[Seed]:
    settings, histories = read_run(path)
    about, code = shared(settings), RunFolder(path).read_json("run.json").get("code") or {}
    # Code of a person's own is told apart by what it held, wherever it lay.
    held = sorted((shown(name), digest) for name, digest in code.items())
    agent, env, wrappers = shown(settings.agent), shown(settings.env), [*map(shown, settings.wrappers)]
    named = {**about, "agent": agent, "env": env, "wrappers": wrappers}
    key = ("run", json.dumps([named, held], sort_keys=True))
    of_all = _unfinished(path, histories) + _diverged(str(path), histories)
    for h in histories:
        taken = (f"{path}: seed {h.seed} {h.taken_text}.",) if h.taken else ()
        yield Seed(key, agent, env, path, "run", h.seed, h, None, _how(about), settings, (*of_all, *taken),
                   env_code=_code_of(settings.env, code))  # fmt: skip


def _unfinished(path: Path, histories: Sequence[History]) -> tuple[str, ...]:
    """What to say of a run that did not come to its end, where every seed has begun."""
    reached = min((h.steps for h in histories), default=0)
    if not reached or not any(h.stopped and not h.broke for h in histories):
        return ()
    return (f"{path} is not finished; its seeds have all come to env step {reached} (rlrepro compare --to-step).",)


def _diverged(what: str, histories: Sequence[History]) -> tuple[str, ...]:
    seeds = [h.seed for h in histories if h.diverged]
    return (f"{what}: {diverged_text(seeds)}.",) if seeds else ()


def _code_of(env: str, code: Mapping[str, str]) -> str:
    """The SHA-256 of the file that an environment was named by; "" where it was named otherwise."""
    return code.get(file_of(env) or "", "")


def _how(about: Mapping[str, Any]) -> str:
    """How a run of ours was evaluated."""
    if "eval_episodes" not in about:
        return ""
    policy = "deterministic" if about.get("eval_deterministic", True) else "stochastic"
    return f"{count_of(about['eval_episodes'], 'episode')}, {policy}"


def of_results(path: Path) -> Iterator[Seed]:
    results = read_results(path)
    notes = () if results.scale == 1 else (f"{path} was run at {results.scale:g} of the paper's steps.",)
    tasks = [(unit.settings.get("agent"), unit.settings.get("env")) for unit in results.units.values()]
    for name, unit in results.units.items():
        about, settings = unit.settings, unshared(unit.settings, unit.seeds)
        agent, env = about.get("agent"), str(about.get("env", ""))
        title = shown(str(agent)) if agent and tasks.count((agent, about.get("env"))) == 1 else name
        of_all = notes + _diverged(f"{path}, {name}", unit.histories)
        key, code = ("results", str(path.resolve()), name), unit.runs[-1].get("code") if unit.runs else {}
        for h in unit.histories:
            yield Seed(key, title, shown(env), path, "results", h.seed, h, None, _how(about), settings, of_all,
                       env_code=_code_of(env, code or {}))  # fmt: skip
