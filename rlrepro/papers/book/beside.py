"""A run beside the book of published results: which numbers it answers, by their own protocols, and which it can't."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrepro.errors import Problem, one_line
from rlrepro.papers.book.published import Published, load_book, load_traps, unversioned, version, version_distance
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import History, score
from rlrepro.plugins.own_code import shown
from rlrepro.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Comparability:
    """Whether a run can be held against a published number."""

    row: Published
    protocol: Protocol  #: what to score the run by
    reasons: tuple[str, ...]  #: why it cannot; empty where it can
    caveats: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        return "; ".join(self.reasons) or None


def barred(row: Published) -> list[str]:
    """Why nothing can be held against a published number, whatever was run."""
    cautions = load_traps().cautions
    return [cautions[name].bars for name in row.traps if cautions[name].bars]


def comparable(row: Published, settings: Settings) -> Comparability:
    """Whether a finished run with these settings answers a published number by that number's own protocol.

    A longer run is scored at the published number of steps.
    """
    reasons = barred(row)
    caveats: list[str] = []
    if row.protocol.can_score is not None and not reasons:
        reasons.append(row.protocol.can_score)
    _compare_envs(row, settings, reasons, caveats)
    protocol = _compare_steps(row, settings, reasons, caveats)
    if row.protocol.returns == "evaluation" and row.protocol.statistic != "other":
        _compare_evaluations(protocol, settings, reasons, caveats)
    if row.protocol.iteration is not None and settings.num_envs != 1:
        reasons.append(f"its iterations are of one sub-environment, and this run has {settings.num_envs}")
    if row.protocol.statistic == "max of seed mean" and row.seeds not in (None, len(settings.seeds)):
        caveats.append(f"a maximum over time depends on the number of seeds: {len(settings.seeds)} against {row.seeds}")
    return Comparability(row, protocol, tuple(reasons), tuple(caveats))


def telling_wrappers(settings: Settings) -> list[str]:
    """The wrappers of a run but for those that leave its returns as they are."""
    return [name for name in settings.wrappers if name.partition("(")[0] not in ("FlattenObservation", "ScaleReward")]


def _compare_envs(row: Published, settings: Settings, reasons: list[str], caveats: list[str]) -> None:
    env = settings.env
    if settings.env_kwargs:
        reasons.append(f"this run's environment was made with {', '.join(settings.env_kwargs)}")
    wrappers = telling_wrappers(settings)
    if wrappers:
        reasons.append(f"this run's environment is wrapped in {', '.join(wrappers)}")
    reason, caveat = of_versions(row.env, env)
    reasons += [reason] if reason else []
    caveats += [caveat] if caveat else []


def of_versions(published: str, env: str) -> tuple[str, str]:
    """Why returns on an environment are not those on the published one, or "", and what a reader must know, or ""."""
    if env == published:
        return "", ""
    here, there = version(env), version(published)
    if here is None or there is None or unversioned(env) != unversioned(published):
        return f"it is of {published}, not {env}", ""
    same, changes = load_traps().between(env, here, there)
    told = "; ".join(f"-v{one.first} to -v{one.second}: {one.change}" for one in changes if same or not one.same)
    if same:
        return "", f"{published} ({told})"
    if same is None:
        return f"it is of {published}; what differs from -v{here} is not known", ""
    return f"it is of {published} ({told})", ""


def _compare_steps(row: Published, settings: Settings, reasons: list[str], caveats: list[str]) -> Protocol:
    """What to score by: the row's protocol, at the published number of steps."""
    protocol, total = row.protocol, settings.total_timesteps
    if row.frames:
        reasons.append("its steps are frames")
    elif protocol.to_step is not None:
        if settings.end_step < protocol.to_step:
            reasons.append(f"steps {total:,} against {protocol.to_step:,}")
    elif row.steps is None:
        reasons.append("its number of env steps is not stated")
    elif total < row.steps or (total > row.steps and protocol.statistic == "one agent"):
        reasons.append(f"steps {total:,} against {row.steps:,}")
    elif total > row.steps and protocol.statistic != "other":
        caveats.append(f"at env step {row.steps:,} of {total:,}")
        return dataclasses.replace(protocol, to_step=row.steps)
    return protocol


def _compare_evaluations(protocol: Protocol, settings: Settings, reasons: list[str], caveats: list[str]) -> None:
    ours = "deterministic" if settings.eval_deterministic else "stochastic"
    if protocol.policy == "not stated":
        caveats.append("its policy is not stated")
    elif protocol.policy != ours:
        theirs = "did not explore" if protocol.policy == "deterministic" else "explored"
        reasons.append(f"its policy {theirs}, and this run's evaluations are {ours}")
    if protocol.statistic == "one agent":
        return
    every, at = settings.eval_every, protocol.to_step
    if protocol.last == 1 and protocol.statistic == "mean":
        held = every > 0 and at is not None and at % every == 0 and at % settings.num_envs == 0
        if at is not None and at < settings.end_step and not held:
            reasons.append(f"this run has no evaluation at env step {at:,} (--eval-every {every})")
        return
    if protocol.eval_every is None:
        reasons.append("how often it was evaluated is not stated")
    elif protocol.eval_every != every:
        reasons.append(f"evaluations every {every:,} env steps against {protocol.eval_every:,} (--eval-every)")
    if protocol.statistic != "mean" and protocol.eval_episodes not in (None, settings.eval_episodes):
        reasons.append(f"evaluations of {settings.eval_episodes} episodes against {protocol.eval_episodes}")


def compare(settings: Settings, histories: Sequence[History], limit: int = 5) -> list[str]:
    """What has been published for a run's agent and environment beside that run, a line each, the comparable first."""
    book = load_book()
    rows = book.find(settings.env, settings.agent)
    if not rows:
        there = book.algorithms(book.find(settings.env)) if book.find(settings.env) else []
        nothing = f"nothing by {shown(settings.agent)} on {settings.env}"
        return [f"{nothing}; the book has {', '.join(there[:6])}"] if there else []
    found = sorted((comparable(row, settings) for row in rows), key=lambda one: _rank(one, settings))
    able = sum(not one.reasons for one in found)
    told = found[: min(limit, max(able, 3) if able else 1)]
    lines = [_line(one, histories) for one in told]
    if len(found) > len(told):
        more = f"rlrepro published --env {settings.env} --agent {settings.agent.rsplit(':', 1)[-1]}"
        lines.append(f"{len(found) - len(told)} more: {more}")
    return lines


def _rank(one: Comparability, settings: Settings) -> tuple[Any, ...]:
    row = one.row
    return (
        len(one.reasons),
        row.protocol.statistic in ("one agent", "other"),
        version_distance(settings.env, row.env),
        abs((row.protocol.to_step or row.steps or 0) - settings.total_timesteps),
        -(row.seeds or 0),
        row.id,
    )


def _line(one: Comparability, histories: Sequence[History]) -> str:
    row = one.row
    text = f"{row.label} {row.value()} ({row.size()}; {row.protocol.describe()}): "
    try:
        result = score(one.protocol, histories)
    except Problem as problem:
        return text + f"not comparable ({one.reasons[0] if one.reasons else problem})"
    values = result.values
    parts = []
    if len(values):
        parts.append(f"this run {result.mean:.2f}")
        if not one.reasons and row.protocol.statistic == "one agent":
            parts.append(f"{int((values >= row.mean).sum())} of {len(values)} seeds reach it")
        elif not one.reasons:
            parts.append(f"difference {result.mean - row.mean:+.2f}")
    if result.missing and not one.reasons:
        seed, lack = next(iter(result.missing.items()))
        parts.append(f"no value for {len(result.missing)} of {len(histories)} seeds (seed {seed}: {lack})")
    if one.reasons:
        parts.append(f"not comparable ({one.reasons[0]})")
    caveats = () if one.reasons else one.caveats
    return text + "; ".join((", ".join(parts), *caveats))


def show_comparison(folder: Path, console: Console) -> None:
    """The closing summary's lines on what has been published; a run never fails by them."""
    from rlrepro.papers.histories import read_run

    try:
        lines = compare(*read_run(folder))
    except Exception as error:  # a finished run stays one
        lines = [f"not compared: {one_line(error)}"]
    for number, line in enumerate(lines):
        head = "published" if number == 0 else ""
        console.print(f"{head:<12} {line}", highlight=False, soft_wrap=True, markup=False)
