"""Seeds of any origin, and the groups that they make."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rlrepro.errors import Problem
from rlrepro.papers.scoring import History
from rlrepro.settings import Settings

SAME_LENGTH = 0.01  #: runs whose env steps differ by less are of one length
# A seed whose record ends before this share of the longest one's did not get to its end; from the other on it did.
_WHOLE_RUN, _SURELY_WHOLE = 0.9, 0.95
NONE = np.empty((0, 2))


@dataclasses.dataclass(frozen=True)
class Group:
    """What one agent did on one environment, a history for each seed."""

    name: str
    env: str  #: empty where its files do not say
    source: str  #: the path, or the first of several
    kind: str  #: one of `KINDS`
    histories: tuple[History, ...]
    running: int | None = None  #: a training point is not an episode but the mean of the last so many
    evaluation: str = ""  #: how it was evaluated, as far as is known
    settings: tuple[Settings, ...] = ()  #: all that its seeds were trained with, where all are known
    notes: tuple[str, ...] = ()
    #: by seed, the env step from which running means are of so many episodes, and not of fewer
    full_from: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def has(self, returns: str) -> bool:
        return any(len(history.points(returns)) for history in self.histories)

    @property
    def steps(self) -> int:
        """Env steps of the longest seed."""
        return max(history.steps for history in self.histories)


@dataclasses.dataclass(frozen=True)
class Seed:
    """What one seed of one group did; groups are made of those with the same `key`."""

    key: tuple[str, ...]
    name: str
    env: str
    source: Path
    kind: str
    seed: int | None  #: None: its name has no number
    history: History
    running: int | None = None
    evaluation: str = ""
    settings: Settings | None = None
    notes: tuple[str, ...] = ()
    unsaid: str = ""  #: the column of its `history.episodes`, where nothing says that they are no evaluations
    full_from: float = 0.0  #: the env step from which running means are of `running` episodes, and not of fewer
    env_code: str = ""  #: the SHA-256 of the file that its environment was named by


def full_window(lengths: np.ndarray, window: int) -> float:
    """The env step before which no running mean is of `window` episodes; infinity: none is, 0: nothing says it.

    So many episodes of the mean length then (`lengths`, `[m, 2]`) are longer than the run had been till then.
    """
    full = lengths[window * lengths[:, 1] <= lengths[:, 0], 0]
    return float(full[0]) if len(full) else math.inf if len(lengths) else 0.0


def with_kinds(read: Sequence[Sequence[Seed]]) -> list[list[Seed]]:
    """Take rows of unknown kind for evaluations where all seeds of an environment have them at the same env steps.

    Else for episodes, which end anywhere. The seeds of all files count together: how rows are divided over files says
    nothing.
    """
    steps: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for one in itertools.chain(*read):
        if one.unsaid:
            steps.setdefault(one.unsaid, {}).setdefault(one.env, []).append(tuple(one.history.episodes[:, 0]))
    evaluated = {
        column: any(len(seeds) > 1 for seeds in envs.values())
        and all(len(set(seeds)) == 1 and (np.diff(seeds[0]) > 0).all() for seeds in envs.values())
        for column, envs in steps.items()
    }
    return [[_taken(one, evaluated[one.unsaid]) if one.unsaid else one for one in seeds] for seeds in read]


def _taken(one: Seed, evaluated: bool) -> Seed:
    note = f"{one.source}: its returns are taken for those of {'evaluation' if evaluated else 'episode'}s"
    history = one.history
    if evaluated:
        history = dataclasses.replace(history, episodes=NONE, evaluations=history.episodes)
    return dataclasses.replace(one, history=history, notes=(*one.notes, f"{note}; --column kind=… says otherwise."))


def group_of(seeds: Sequence[Seed]) -> Group:
    """One group of its seeds. `Problem` where one is there twice."""
    first, by_seed, notes = seeds[0], {}, []
    where: dict[int, Path] = {}
    full_from: dict[int, float] = {}
    taken = {one.seed for one in seeds if one.seed is not None}
    for one in seeds:
        seed = one.seed if one.seed is not None else next(n for n in range(len(seeds) + 1) if n not in taken)
        taken.add(seed)
        if seed in by_seed:
            both = f"{where[seed]} and {one.source}" if where[seed] != one.source else str(one.source)
            raise Problem(
                f"seed {seed} of {first.name} is there twice ({both}): the same run must not count as two; "
                "leave one out, or tell them apart with the --labels of rlrepro compare"
            )
        if one.seed is None:
            notes.append(f"{one.source} has no seed in its name: it is called seed {seed}.")
        full_from[seed] = one.full_from
        by_seed[seed], where[seed] = dataclasses.replace(one.history, seed=seed), one.source
        notes += one.notes
    if len({one.running for one in seeds}) > 1:
        raise Problem(f"{first.name} has seeds with every episode and seeds with running means: give them two labels")
    histories = [by_seed[seed] for seed in sorted(by_seed)]
    if first.kind not in ("run", "results"):
        histories = _ends(histories)
        longest = max(history.steps for history in histories)
        early = [one for one in histories if not one.stopped and _ends_early(one, longest)]
        ends = ", ".join(f"of seed {one.seed} at env step {one.steps:,}" for one in early)
        if early:
            notes.append(f"{first.name}: records are taken for whole that end {ends}, the longest at {longest:,}.")
    nan = [str(h.seed) for h in histories if not (np.isfinite(h.episodes).all() and np.isfinite(h.evaluations).all())]
    if nan:
        notes.append(f"{first.name}: returns that are not finite in seed {', '.join(nan)}.")
    return Group(
        first.name, first.env, str(first.source), first.kind, tuple(histories), first.running,
        first.evaluation if len({one.evaluation for one in seeds}) == 1 else "",
        _distinct([one.settings for one in seeds]), tuple(dict.fromkeys(notes)), full_from,
    )  # fmt: skip


def _distinct(settings: Sequence[Settings | None]) -> tuple[Settings, ...]:
    """Those of several seeds that differ in more than the seeds; none where those of a seed are not known."""
    found: dict[str, Settings] = {}
    for one in settings:
        if one is None:
            return ()
        found.setdefault(dataclasses.replace(one, seeds=(0,)).digest(), one)
    return tuple(found.values())


def _ends_early(history: History, longest: int) -> bool:
    """Whether more is lacking than the episode, or the time to the next evaluation, that was still going on."""
    steps = np.unique(np.concatenate([[0.0], history.episodes[:, 0], history.evaluations[:, 0]]))
    lacking = longest - history.steps
    return lacking > (1 - _SURELY_WHOLE) * longest and lacking > np.diff(steps).max(initial=0.0)


def _ends(histories: Sequence[History]) -> list[History]:
    """Imported records do not say whether they are whole, nor how long their last episode was still running.

    One that ends long before the others is not whole; one that ends a little before them is as long as they are.
    """
    longest = max(history.steps for history in histories)
    ends = f"its record ends there, the longest at {longest:,}"
    return [
        dataclasses.replace(history, stopped=ends)
        if history.steps < _WHOLE_RUN * longest
        else dataclasses.replace(history, steps=longest)
        if history.steps >= (1 - SAME_LENGTH) * longest
        else history
        for history in histories
    ]
