"""Going on with a run that was stopped, or with a finished one to make it longer."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlrepro import checkpoint
from rlrepro.agent import goes_on
from rlrepro.checksums import RECORD, changed
from rlrepro.contract import check_run
from rlrepro.ctrl_c import undisturbed
from rlrepro.errors import Problem, count_of, named_seeds
from rlrepro.launch import NeverBegan, launch
from rlrepro.plugins.agents import find_agent
from rlrepro.record import RunFolder
from rlrepro.seed_log import CSV_COLUMNS, SeedLog, read_rows
from rlrepro.settings import Job, Settings


def resume(
    path: Path,
    total_timesteps: int | None = None,
    brief: bool = False,
    in_subprocess: bool = False,
    processes: int | None = None,
) -> RunFolder:
    """Go on with a run that was stopped, each group of seeds from its newest whole checkpoint.

    With `total_timesteps`, to there, also where it is finished: it ends with the bytes of a run that was to be so long
    from its start. `Problem` where that cannot be, since its agent asked how long it would be. `processes` are those
    that the seeds are dealt to this time. `brief` and `in_subprocess` are those of `rlrepro.train.begin`.
    """
    folder, _ = RunFolder.open(path)
    try:
        folder.lock()
        _, settings = RunFolder.open(path)  # whoever held it may have made the run longer
        _resume(folder, settings, total_timesteps, brief, in_subprocess, processes)
    finally:
        folder.unlock()
    return folder


class _ResumePoint(NamedTuple):
    """The newest checkpoint of a group of seeds."""

    env_step: int
    abouts: Sequence[Mapping[str, Any]]  #: what that of each seed says of itself

    @property
    def keeps_env(self) -> bool:
        """Whether it has the state of the environments."""
        return bool(self.abouts[0]["keeps_env"])

    @property
    def goes_on(self) -> bool:
        """Whether a trainer goes on from there; it is finished otherwise."""
        return bool(self.abouts[0].get("goes_on", False))

    def was_end(self, earlier_totals: Mapping[str, int]) -> bool:
        """Whether the run was to end there, by the settings that it had when the checkpoint was written."""
        return self.env_step >= earlier_totals.get(self.abouts[0]["settings"], self.env_step + 1)


def _resume(
    folder: RunFolder,
    settings: Settings,
    total_timesteps: int | None,
    brief: bool,
    in_subprocess: bool,
    processes: int | None,
) -> None:
    before = folder.read_json("run.json")
    processes = settings.processes if processes is None else processes
    _check_may_go_on(folder, settings, before, total_timesteps, processes)
    # All is looked at before any file is touched: one that cannot be read now costs nothing.
    plan = _plan(folder, settings, before, total_timesteps, processes)
    plan.tell(folder)
    ended = ("reason", "broke", "ended", "results")
    going_on = {name: value for name, value in before.items() if name not in ended}
    if plan.earlier_totals:
        going_on["lengths"] = dict(plan.earlier_totals)
    going_on |= {"status": "running", "resumed": [*before.get("resumed", []), time.time()]}
    if broke := before.get("broke"):  # what comes of it is not what it would have been, and is to be told
        going_on["mended"] = [*before.get("mended", []), {"seeds": broke, "reason": str(before.get("reason", ""))}]
    for seed in plan.sizes:
        checkpoint.make_folder(folder.checkpoints(seed))  # somebody may have made room
    is_longer = plan.settings is not settings
    with _undone_if_never_begun(folder, plan.sizes, before, settings if is_longer else None):
        folder.write_json("run.json", going_on)
        if is_longer:
            folder.write_settings(plan.settings)
        folder.set_aside(plan.behind, plan.trained)
        for seed, size in plan.sizes.items():
            SeedLog.cut(folder, seed, size)
        folder.clear_unfinished()
        launch(folder, plan.jobs(folder), processes, brief, in_subprocess=in_subprocess)


def _check_may_go_on(
    folder: RunFolder, settings: Settings, before: Mapping[str, Any], total_timesteps: int | None, processes: int
) -> None:
    """`Problem` where a run is finished, is no more what it was, or cannot go on so here."""
    if before.get("status") == "finished" and total_timesteps in (None, settings.total_timesteps):
        ways = [f"rlrepro evaluate {shlex.quote(str(folder))} scores it"]
        if not find_agent(settings.agent).owns_loop:
            longer = f"{folder.way_on} --total-timesteps N makes it longer"
            ways.insert(0, f"{longer}, unless its agent asked how long it would be")
        raise Problem(f"{folder} is finished: there is nothing to resume ({'; '.join(ways)})")
    folder.check_code(settings)
    if settings.env_processes > 1 < processes:
        why = f"{folder} steps its environments in {settings.env_processes} processes, which go with one that trains"
        raise Problem(f"--processes {processes}: {why}")
    check_run(dataclasses.replace(settings, check_env=False))  # it was, when the run began


class _Plan(NamedTuple):
    """How a run is to go on."""

    settings: Settings  #: its own, or those of the longer run
    earlier_totals: Mapping[str, int]  #: total_timesteps by the digest of settings, of each time before it was longer
    groups: Sequence[tuple[tuple[int, ...], _ResumePoint | None]]  #: seeds that train together, and from where
    behind: Sequence[Path]  #: checkpoints that are passed over

    @property
    def again(self) -> list[int]:
        """The seeds that begin at the start."""
        return [seed for seeds, one in self.groups if one is None for seed in seeds]

    @property
    def sizes(self) -> dict[int, Mapping[str, int]]:
        """The lengths of each seed's files at its checkpoint."""
        return {
            seed: {} if one is None else one.abouts[index]["sizes"]
            for seeds, one in self.groups
            for index, seed in enumerate(seeds)
        }

    @property
    def trained(self) -> list[int]:
        """The seeds that are not whole already, as those are that an agent with a loop of its own has finished."""
        if not find_agent(self.settings.agent).owns_loop:
            return list(self.sizes)
        return [seed for seeds, one in self.groups if one is None or one.goes_on for seed in seeds]

    @property
    def lacking(self) -> str:
        """What is to be said of `again`."""
        return _lacking(self.again)

    def jobs(self, folder: RunFolder) -> list[Job]:
        return [
            Job(self.settings, folder.path, seeds, one and one.env_step, bool(one and one.was_end(self.earlier_totals)))
            for seeds, one in self.groups
        ]

    def tell(self, folder: RunFolder) -> None:
        """Say what is trained again."""
        if self.again and _cannot_go_on(self.settings):
            begun = f"begins again from the start: {named_seeds(self.again)}"
            print(f"{self.settings.agent} cannot go on in the middle, and {begun}")
        elif self.again:
            rows = {seed: _num_rows(folder, seed) for seed in self.again}
            if lost := [seed for seed in self.again if rows[seed] or any(folder.checkpoints(seed).glob("*"))]:
                cut = count_of(sum(rows.values()), "recorded row")
                print(f"{folder} has {_lacking(lost)}: begins again at the start, and cuts {cut}")
            if fresh := [seed for seed in self.again if seed not in lost]:
                print(f"{named_seeds(fresh)} had not begun")
        passed_over = {int(path.parent.parent.name) for path in self.behind}
        for seeds, one in self.groups:
            if one is not None and not passed_over.isdisjoint(seeds):
                verb = "go" if len(seeds) > 1 else "goes"
                to = f"env step {one.env_step:,}, the last with a whole checkpoint of each"
                print(f"{named_seeds(seeds)} {verb} back to {to}")


def _lacking(seeds: Sequence[int]) -> str:
    return f"no whole checkpoint to go on from for {named_seeds(seeds)}"


def _num_rows(folder: RunFolder, seed: int) -> int:
    """How many rows a seed has in its files."""
    return sum(1 for name in CSV_COLUMNS for _ in read_rows(folder.seed(seed) / f"{name}.csv"))


def _plan(
    folder: RunFolder, settings: Settings, before: Mapping[str, Any], total_timesteps: int | None, processes: int
) -> _Plan:
    """`Problem` where a file is not what its checkpoint says, or the run cannot be so long."""
    folder.put_checkpoints_back()  # of a resume that was ended before it began
    earlier_totals = dict(before.get("lengths", {}))
    checkpoints = _Checkpoints(folder, settings, earlier_totals)
    dealt = dataclasses.replace(settings, processes=processes).groups()
    groups = [one for seeds in dealt for one in checkpoints.parted(seeds)]
    behind = [path for seeds, one in groups for path in checkpoints.behind(seeds, one)]
    original = settings
    if total_timesteps not in (None, settings.total_timesteps):
        settings = _lengthened(folder, settings, total_timesteps, [one for _, one in groups])
        earlier_totals[original.digest()] = original.total_timesteps
    plan = _Plan(settings, earlier_totals, groups, behind)
    anew = f"{folder.way_anew} --total-timesteps {settings.total_timesteps}"
    is_over = before.get("status") == "finished" or "lengths" in before
    if plan.again and is_over:
        what = "was made longer" if "lengths" in before else "is finished"
        raise Problem(f"{folder} {what}, and has {plan.lacking}; {anew}")
    for seed, size in plan.sizes.items():
        try:
            SeedLog.check_lengths(folder, seed, size)
            if name := changed(folder, seed, RECORD):
                raise Problem(f"{folder.seed(seed) / name} is not what it was when seed {seed} ended (SHA256SUMS)")
        except Problem as problem:
            way = f"with {folder.seed(seed)} moved away a resume begins seed {seed} at its start"
            if is_over or settings.env_processes > 1:  # where all seeds would begin at their start
                way = anew
            raise Problem(f"{problem}: put it back, or {way}") from None
    return plan


@contextlib.contextmanager
def _undone_if_never_begun(
    folder: RunFolder, sizes: Mapping[int, Mapping[str, int]], before: Mapping[str, Any], settings: Settings | None
) -> Iterator[None]:
    """Where nothing is trained within, the run folder is made what it was.

    Its run.json comes back, its `settings` where they were changed, what lay beyond these `sizes` of the seeds' files,
    and the curves and checkpoints that were set aside.
    """
    rows = {seed: SeedLog.beyond(folder, seed, size) for seed, size in sizes.items()}
    try:
        yield
    except (NeverBegan, KeyboardInterrupt):
        if folder.is_finished:  # a Ctrl-C that came after the end, or before anything was changed
            raise
        with undisturbed():
            for seed, size in sizes.items():
                SeedLog.put_back(folder, seed, size, rows[seed])
            folder.put_back()
            if settings is not None:
                folder.write_settings(settings)
            folder.write_json("run.json", before)
        raise


def _lengthened(
    folder: RunFolder, settings: Settings, total_timesteps: int, found: Sequence[_ResumePoint | None]
) -> Settings:
    """The settings of a run that goes on to `total_timesteps`; `Problem` where it would be none that began so."""
    if total_timesteps < settings.total_timesteps:
        less = f"--total-timesteps {total_timesteps} is less than the {settings.total_timesteps:,} that {folder} has"
        raise Problem(f"{less}: a run can be made longer alone")
    anew = f"{folder.way_anew} --total-timesteps {total_timesteps}"
    if _cannot_go_on(settings):
        raise Problem(f"{settings.agent} cannot go on in the middle; {anew}")
    abouts = [about for one in found if one for about in one.abouts]
    owns_loop = find_agent(settings.agent).owns_loop
    if owns_loop or any(about["reads_length"] for about in abouts):
        asked = "owns its loop, and may have asked" if owns_loop else "has asked"
        what = f"{asked} how long its run would be, as for a schedule: a longer one is another from its start"
        raise Problem(f"{settings.agent} {what}; {anew}")
    return settings.lengthened(total_timesteps)


def _cannot_go_on(settings: Settings) -> bool:
    """Whether the agent is a trainer whose unfinished seeds begin at their start."""
    found = find_agent(settings.agent)
    return found.owns_loop and not goes_on(found.load())


class _Checkpoints:
    """The checkpoints of a run of these settings, or of before it was made longer; each is looked at once."""

    def __init__(self, folder: RunFolder, settings: Settings, earlier_totals: Mapping[str, int]) -> None:
        self._settings, self._digests = settings, (settings.digest(), *earlier_totals)
        self._paths = {
            seed: {int(p.stem.removeprefix("step-")): p for p in folder.checkpoints(seed).glob("step-*.safetensors")}
            for seed in settings.seeds
        }
        self._abouts: dict[Path, Mapping[str, Any] | None] = {}

    def parted(self, seeds: Sequence[int]) -> list[tuple[tuple[int, ...], _ResumePoint | None]]:
        """A group of seeds with its newest checkpoint; in parts, where there is none that all of them have.

        They are to have it of one kind: some environments may not have given their state.
        """
        whole = self._newest(seeds)
        if whole is not None or self._settings.env_processes > 1:  # whose processes belong to the one that trains
            return [(tuple(seeds), whole)]
        kinds: dict[tuple[int, bool], list[int]] = {}
        for seed in seeds:
            one = self._newest([seed])
            kinds.setdefault((-1, False) if one is None else (one.env_step, one.keeps_env), []).append(seed)
        return [(tuple(kinds[kind]), self._newest(kinds[kind])) for kind in sorted(kinds)]

    def behind(self, seeds: Sequence[int], chosen: _ResumePoint | None) -> list[Path]:
        """What a resume from there leaves behind: damaged ones, and those that lack their sisters."""
        return [
            path
            for seed in seeds
            for step, path in self._paths[seed].items()
            if chosen is None or step > chosen.env_step
        ]

    def _newest(self, seeds: Sequence[int]) -> _ResumePoint | None:
        """The newest env step for which every seed has a whole one."""
        for step in sorted(set.intersection(*(set(self._paths[seed]) for seed in seeds)), reverse=True):
            abouts: list[Mapping[str, Any]] = []
            for seed in seeds:
                if (about := self._about(seed, step)) is None:
                    break
                abouts.append(about)
            else:
                if len({about["keeps_env"] for about in abouts}) == 1:
                    return _ResumePoint(step, abouts)
        return None

    def _about(self, seed: int, step: int) -> Mapping[str, Any] | None:
        """What one says of itself; None of a damaged one, which is told. `Problem` of another run's."""
        path, settings = self._paths[seed][step], self._settings
        if path in self._abouts:
            return self._abouts[path]
        self._abouts[path] = None
        try:
            _, about = checkpoint.load(path)
        except checkpoint.Damaged as damage:
            older = "trying the one before it" if step != min(self._paths[seed]) else "there is none before it"
            print(f"rlrepro: {damage}; {older}", file=sys.stderr)
            return None
        for key, wanted in (("agent", settings.agent), ("env", settings.env), ("seed", seed)):
            if about[key] != wanted:
                raise Problem(f"{path} is a checkpoint of {key} {about[key]!r}, not {wanted!r}")
        if about.get("settings") not in self._digests:
            raise Problem(f"{path} is a checkpoint of a run with other settings")
        self._abouts[path] = about
        return about
