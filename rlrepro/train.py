"""`python -m rlrepro.train`: one agent, one environment, S seeds.

This process takes the flags, makes the run folder, deals the seeds to worker processes (or trains them itself where
one is enough) and shows how they get on. It does not import torch unless it trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rlrepro.ctrl_c import undisturbed
from rlrepro.errors import STOPPED_AT_ONCE, Interrupted, Problem, RunStopped, Stop, close_quietly, count_of, told
from rlrepro.plugins import find_agent
from rlrepro.settings import Job, Request, Settings, parse_train

if TYPE_CHECKING:
    from rlrepro.plugins import EnvSource
    from rlrepro.progress import Board
    from rlrepro.record import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by a command line; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    return told(lambda: _main(arguments), "interrupted before training began")


def _main(arguments: Sequence[str]) -> int:
    asked = parse_train(arguments)
    if isinstance(asked, Request):
        begin(asked, ["python", "-m", "rlrepro.train", *arguments])
    else:
        resume(asked.path, asked.total_timesteps, processes=asked.processes)
    return 0


def begin(
    request: Request, command: Sequence[str], brief: bool = False, quiet: bool = False, in_subprocess: bool = False
) -> RunFolder:
    """Train a new run to its end; `brief` shows how it goes and no more, `quiet` nothing at all.

    `in_subprocess` trains in other processes also where this one would do: it outlives an environment that ends its
    process.
    """
    from rlrepro.record import RunFolder

    settings = request.settings
    check(settings)
    if request.note and not (brief or quiet):
        print(f"note: {request.note}")
    was_there = request.run_dir.exists()
    folder = RunFolder.create(request.run_dir, request.name, settings, command)
    try:
        folder.lock()
        groups = settings.groups()
        _train(folder, settings, groups, [None] * len(groups), brief, quiet, in_subprocess)
    except (NeverBegan, KeyboardInterrupt) as stopped:
        if folder.is_finished:  # a Ctrl-C that came after the end
            return folder
        if folder.holds_work:
            if isinstance(stopped, KeyboardInterrupt):
                folder.note(**_early_end(Interrupted("interrupted"), settings.seeds))
                raise Interrupted(f"interrupted; go on with: {folder.way_on}") from None
            folder.note(**_early_end(stopped, settings.seeds))
            raise
        with undisturbed():
            shutil.rmtree(folder.path, ignore_errors=True)
            if not was_there:
                with contextlib.suppress(OSError):  # another run came meanwhile
                    request.run_dir.rmdir()
        raise
    finally:
        folder.unlock()
    return folder


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
    that the seeds are dealt to this time. `in_subprocess`: see `begin`.
    """
    from rlrepro.record import RunFolder

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

    def was_planned_end(self, earlier_totals: Mapping[str, int]) -> bool:
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
    from rlrepro import checkpoint
    from rlrepro.record import CSV_COLUMNS, SeedLog, read_rows

    before, original = folder.read_json("run.json"), settings
    # total_timesteps by the digest of settings, of each time before the run was made longer
    earlier_totals = dict(before.get("lengths", {}))
    if before.get("status") == "finished" and total_timesteps in (None, settings.total_timesteps):
        ways = [f"rlrepro evaluate {folder} scores it"]
        if not find_agent(settings.agent).owns_loop:
            longer = f"{folder.way_on} --total-timesteps N makes it longer"
            ways.insert(0, f"{longer}, unless its agent asked how long it would be")
        raise Problem(f"{folder} is finished: there is nothing to resume ({'; '.join(ways)})")
    folder.check_code(settings)
    processes = settings.processes if processes is None else processes
    if settings.env_processes > 1 < processes:
        why = f"{folder} steps its environments in {settings.env_processes} processes, which go with one that trains"
        raise Problem(f"--processes {processes}: {why}")
    check(dataclasses.replace(settings, check_env=False))  # it was, when the run began
    # All are looked at before any file is touched: one that cannot be read now costs nothing.
    checkpoints = _Checkpoints(folder, settings, earlier_totals)
    dealt = dataclasses.replace(settings, processes=processes).groups()
    resumed_groups = [one for seeds in dealt for one in checkpoints.parted(seeds)]
    groups, found = [seeds for seeds, _ in resumed_groups], [one for _, one in resumed_groups]
    again = [seed for seeds, one in zip(groups, found, strict=True) if one is None for seed in seeds]
    if total_timesteps not in (None, settings.total_timesteps):
        settings = _lengthened(folder, settings, total_timesteps, found)
        earlier_totals[original.digest()] = original.total_timesteps
    lacking = f"no whole checkpoint to go on from for seed{'s' * (len(again) > 1)} {', '.join(map(str, again))}"
    if again and (before.get("status") == "finished" or "lengths" in before):
        anew = f"{folder.way_anew} --total-timesteps {settings.total_timesteps}"
        what = "was made longer" if "lengths" in before else "is finished"
        raise Problem(f"{folder} {what}, and has {lacking}; {anew}")
    sizes: dict[int, Mapping[str, int]] = {
        seed: {} if one is None else one.abouts[index]["sizes"]
        for seeds, one in zip(groups, found, strict=True)
        for index, seed in enumerate(seeds)
    }
    for seed, size in sizes.items():
        SeedLog.check_lengths(folder, seed, size)
    if again and find_agent(settings.agent).owns_loop:
        from_start = f"from their start begin again the seeds {', '.join(map(str, again))}"
        print(f"{settings.agent} cannot go on in the middle: {from_start}")
    elif again:
        files = [folder.seed(seed) / f"{name}.csv" for seed in again for name in CSV_COLUMNS]
        rows = count_of(sum(1 for file in files for _ in read_rows(file)), "recorded row")
        print(f"{folder} has {lacking}: begins again at the start, and cuts {rows}")
    going_on = {name: value for name, value in before.items() if name not in ("reason", "broke", "ended", "results")}
    if earlier_totals:
        going_on["lengths"] = earlier_totals
    resumed = [*before.get("resumed", []), time.time()]
    for seed in sizes:
        checkpoint.make_folder(folder.checkpoints(seed))  # somebody may have made room
    with _undone_if_never_begun(folder, sizes, before, original if settings is not original else None):
        folder.write_json("run.json", {**going_on, "status": "running", "resumed": resumed})
        if settings is not original:
            folder.write_settings(settings)
        for seeds, one in resumed_groups:
            for path in checkpoints.behind(seeds, one):
                path.unlink()
        for seed, size in sizes.items():
            SeedLog.cut(folder, seed, size)
        folder.clear_unfinished()
        folder.set_curves_aside()
        _train(
            folder, settings, groups, found, brief,
            in_subprocess=in_subprocess, earlier_totals=earlier_totals, processes=processes,
        )  # fmt: skip


@contextlib.contextmanager
def _undone_if_never_begun(
    folder: RunFolder, sizes: Mapping[int, Mapping[str, int]], before: Mapping[str, Any], settings: Settings | None
) -> Iterator[None]:
    """Where nothing is trained within, the run folder is made what it was.

    Its run.json comes back, its `settings` where they were changed, and what lay beyond these `sizes` of the seeds'
    files.
    """
    from rlrepro.record import SeedLog

    rows = {seed: SeedLog.beyond(folder, seed, size) for seed, size in sizes.items()}
    try:
        yield
    except (NeverBegan, KeyboardInterrupt):
        if folder.is_finished:  # a Ctrl-C that came after the end, or before anything was changed
            raise
        with undisturbed():
            for seed, size in sizes.items():
                SeedLog.put_back(folder, seed, size, rows[seed])
            folder.put_curves_back()
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
    if find_agent(settings.agent).owns_loop:
        raise Problem(f"{settings.agent} cannot go on in the middle; {anew}")
    abouts = [about for one in found if one for about in one.abouts]
    if any("reads_length" not in about for about in abouts):
        what = f"are of an older version, and do not say whether {settings.agent} asked how long its run would be"
        raise Problem(f"the checkpoints of {folder} {what}; {anew}")
    if any(about["reads_length"] for about in abouts):
        what = "has asked how long its run would be, as for a schedule: a longer one is another from its start"
        raise Problem(f"{settings.agent} {what}; {anew}")
    return settings.lengthened(total_timesteps)


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
        """A group of seeds with its newest checkpoint; in parts, where there is none that all of them have."""
        whole = self._newest(seeds)
        if whole is not None or self._settings.env_processes > 1:  # whose processes belong to the one that trains
            return [(tuple(seeds), whole)]
        each = {seed: self._newest([seed]) for seed in seeds}
        steps = {seed: -1 if one is None else one.env_step for seed, one in each.items()}
        parts = [tuple(seed for seed in seeds if steps[seed] == step) for step in sorted(set(steps.values()))]
        return [(part, self._newest(part)) for part in parts]

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
                return _ResumePoint(step, abouts)
        return None

    def _about(self, seed: int, step: int) -> Mapping[str, Any] | None:
        """What one says of itself; None of a damaged one, which is told. `Problem` of another run's."""
        from rlrepro import checkpoint

        path, settings = self._paths[seed][step], self._settings
        if path in self._abouts:
            return self._abouts[path]
        self._abouts[path] = None
        try:
            about = checkpoint.load(path)[1]
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


def check(settings: Settings) -> None:
    """`Problem` for what can be known before a run folder is made."""
    from rlrepro.contract import check_contract, check_wrappers
    from rlrepro.plugins import find_env, wrapper_name

    source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
    if settings.check_env and not source.is_batched:
        layers = [dataclasses.replace(source, wrappers=source.wrappers[:k]) for k in range(len(source.wrappers) + 1)]
        env = layers[0].make()
        check_contract(env, settings.env)
        close_quietly(env)
        check_wrappers([layer.make for layer in layers], list(map(wrapper_name, source.wrappers)))
    if settings.capture_video:
        check_film(source)


def check_film(source: EnvSource) -> None:
    """`Problem` where it can be known that the environment cannot be filmed."""
    try:
        import moviepy  # noqa: F401
    except ImportError:
        raise Problem("--capture-video needs the 'video' extra: pip install 'rlrepro[video]'") from None
    close_quietly(source.make_filmed())


def _train(
    folder: RunFolder,
    settings: Settings,
    groups: Sequence[tuple[int, ...]],
    found: Sequence[_ResumePoint | None],
    brief: bool,
    quiet: bool = False,
    in_subprocess: bool = False,
    earlier_totals: Mapping[str, int] | None = None,
    processes: int | None = None,
) -> None:
    """Train every group from its checkpoint; `Problem` where one of them stopped."""
    from rich.console import Console

    from rlrepro.processes import Processes
    from rlrepro.progress import Board

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """The reader is gone; the run goes on."""
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    from rlrepro.record import metric_points

    console = _Console(quiet=quiet)
    ends = [one is not None and one.was_planned_end(earlier_totals or {}) for one in found]
    jobs = [
        Job(settings, folder.path, seeds, one and one.env_step, settings.seeds[0] in seeds, was_end)
        for seeds, one, was_end in zip(groups, found, ends, strict=True)
    ]
    shown = dataclasses.replace(settings, processes=processes or settings.processes)
    board = Board(folder, shown, console, brief, groups)
    try:
        with board:
            for group, one in enumerate(found):
                board.begin(group, one.env_step if one else 0)
            for point in metric_points(folder, settings.seeds):
                board.replay(*point)
            if len(jobs) == 1 and not in_subprocess:
                _train_in_this_process(jobs[0], board)
            else:
                Processes(jobs, board, processes).run()
        _note_end(folder, groups, board)
    except KeyboardInterrupt:  # of this process, where it was not those that train
        if folder.is_finished:  # it came too late to cut anything short
            return
        if not (board.began and folder.holds_work):
            raise
        folder.note(**_early_end(Interrupted("interrupted"), settings.seeds))
        raise Interrupted(f"interrupted; go on with: {folder.way_on}") from None
    if not brief:
        with contextlib.suppress(KeyboardInterrupt):  # the run is whole: what is told of it may be cut short
            from rlrepro.papers.book.beside import show_comparison

            board.summary()
            show_comparison(folder.path, console)


def _note_end(folder: RunFolder, groups: Sequence[Sequence[int]], board: Board) -> None:
    """run.json says how the run ended; `Problem` where one of its groups stopped."""
    from rlrepro.record import now

    if not board.stops:
        results = {str(seed): one for seed, one in sorted(board.results.items())}
        folder.note(status="finished", ended=now(), results=results)
        return
    stop = max(board.stops.values(), key=_severity)
    status = stop.exit_status
    if not board.began or (status == Problem.exit_status and not board.results and not folder.holds_work):
        raise stop.problem(NeverBegan, stop.message, status)
    broke = [seed for group, one in board.stops.items() if not one.from_outside for seed in groups[group]]
    status = RunStopped.exit_status if status == Problem.exit_status else status
    kind = Interrupted if status == Interrupted.exit_status else RunStopped
    folder.note(**_early_end(stop.problem(kind, stop.message, status), broke))
    way = _way_past(folder, board.settings) if stop.comes_again else f"go on with: {folder.way_on}"
    raise stop.problem(kind, f"{stop.message}; {way}", status)


def _way_past(folder: RunFolder, settings: Settings) -> str:
    """What to do about an evaluation that does not end, and would not after a resume."""
    kwargs = {name: repr(value) for name, value in settings.env_kwargs.items()} | {"max_episode_steps": "N"}
    limited = ",".join(f"{name}={value}" for name, value in kwargs.items())
    ways = [f"{folder.way_anew} --env-kwargs {shlex.quote(limited)}"]
    if all(folder.policy(seed).is_file() for seed in settings.seeds):
        ways.append(f"score it exploring: rlrepro evaluate {shlex.quote(str(folder))} --stochastic")
    return f"a resume would come to it again; {', or '.join(ways)}"


def _severity(stop: Stop) -> tuple[bool, bool, bool, bool]:
    """Of several stops the weightiest is told: what broke by itself, what nobody asked for, what would come again."""
    asked_for = stop.exit_status == Interrupted.exit_status
    return not stop.from_outside, not asked_for, stop.message == STOPPED_AT_ONCE, stop.comes_again


def _early_end(stopped: Problem, broke: Sequence[int]) -> dict[str, Any]:
    """What run.json says of a run that ended early; `broke` are the seeds whose group did so by itself."""
    status = "interrupted" if stopped.exit_status == Interrupted.exit_status else "failed"
    return {"status": status, "reason": str(stopped), "broke": [] if stopped.from_outside else list(broke)}


def _train_in_this_process(job: Job, board: Board) -> None:
    from rlrepro import worker

    def send(kind: str, **values: Any) -> None:
        board.handle(0, kind, values)

    send("ended", stop=worker.guarded(job, send))


class NeverBegan(Problem):
    """A run that stopped before its first step: there is nothing to keep."""


if __name__ == "__main__":
    sys.exit(main())
