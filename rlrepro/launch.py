"""Groups of seeds are trained, here or in processes of their own, and run.json says how that ended."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlrepro.errors import STOPPED_AT_ONCE, Interrupted, Problem, RunStopped, Stop, named_seeds
from rlrepro.settings import Job, Settings
from rlrepro.standard_output import guarded_output

if TYPE_CHECKING:
    from rlrepro.progress import Board
    from rlrepro.record import RunFolder


class NeverBegan(Problem):
    """A run that stopped before its first step: there is nothing to keep."""


@guarded_output()
def launch(
    folder: RunFolder,
    jobs: Sequence[Job],
    processes: int,
    brief: bool = False,
    quiet: bool = False,
    in_subprocess: bool = False,
) -> None:
    """Do every job of a run, so many processes at a time; `Problem` where one of them stopped.

    `brief`, `quiet` and `in_subprocess` are those of `rlrepro.train.begin`.
    """
    from rich.console import Console

    from rlrepro.processes import Processes
    from rlrepro.progress import Board
    from rlrepro.seed_log import metric_points

    settings = dataclasses.replace(jobs[0].settings, processes=processes)
    groups = [job.seeds for job in jobs]
    board = Board(folder, settings, Console(quiet=quiet), groups, brief)
    try:
        with board:
            for group, job in enumerate(jobs):
                board.begin(group, job.resume_step or 0)
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
        folder.note(**early_end(Interrupted("interrupted"), settings.seeds))
        raise Interrupted(f"interrupted; go on with: {folder.way_on}") from None
    if not brief:
        with contextlib.suppress(KeyboardInterrupt):  # the run is whole: what is told of it may be cut short
            board.summary()


def _train_in_this_process(job: Job, board: Board) -> None:
    from rlrepro import worker

    def send(kind: str, **values: Any) -> None:
        board.handle(0, kind, values)

    send("ended", stop=worker.guarded(job, send))


def _note_end(folder: RunFolder, groups: Sequence[Sequence[int]], board: Board) -> None:
    """run.json says how the run ended; `Problem` where one of its groups stopped."""
    from rlrepro.circumstances import now

    results = {str(seed): one for seed, one in sorted(board.results.items())}
    if not board.stops:
        folder.note(status="finished", ended=now(), results=results)
        return
    stop = max(board.stops.values(), key=_severity)
    status = stop.exit_status
    if not board.began or (status == Problem.exit_status and not board.results and not folder.holds_work):
        raise stop.problem(NeverBegan, stop.message, status)
    broke = [seed for group, one in board.stops.items() if not one.from_outside for seed in groups[group]]
    status = RunStopped.exit_status if status == Problem.exit_status else status
    kind = Interrupted if status == Interrupted.exit_status else RunStopped
    message = stop.message if kind is RunStopped else _of_each(stop, board, groups)
    of_finished = {"results": results} if results else {}
    folder.note(**early_end(stop.problem(kind, message, status), broke), **of_finished)
    way = _way_past(folder, board.settings) if stop.comes_again else f"go on with: {folder.way_on}"
    if stop.is_fault or stop.of_own_code:
        unchanged = "" if stop.is_fault else f" (with the code unchanged, {way})"
        way = f"once its code is mended, {folder.way_anew}{unchanged}"
    raise stop.problem(kind, f"{message}; {way}", status)


def _of_each(stop: Stop, board: Board, groups: Sequence[Sequence[int]]) -> str:
    """What is told of groups that were interrupted, each at a step of its own or before it began."""
    seeds: dict[str, list[int]] = {}
    for group, one in sorted(board.stops.items()):
        if _severity(one) == _severity(stop):
            seeds.setdefault(one.message, []).extend(groups[group])
    if len(seeds) == 1 and len(board.stops) == len(groups):
        return stop.message
    return ", ".join(f"{message} ({named_seeds(of)})" for message, of in seeds.items())


def _way_past(folder: RunFolder, settings: Settings) -> str:
    """What to do about an evaluation that does not end, and would not after a resume."""
    kwargs = {name: repr(value) for name, value in settings.env_kwargs.items()} | {"max_episode_steps": "N"}
    limited = ",".join(f"{name}={value}" for name, value in kwargs.items())
    ways = [f"{folder.way_anew} --env-kwargs {shlex.quote(limited)}"]
    if all(folder.policy(seed).is_file() for seed in settings.seeds):
        ways.append(f"score it exploring: rlrepro evaluate {shlex.quote(str(folder))} --stochastic")
    return f"a resume would come to it again; {', or '.join(ways)}"


def _severity(stop: Stop) -> tuple[bool, ...]:
    """Of several stops the weightiest is told: what broke by itself, or nobody asked for, or would come again."""
    asked_for = stop.exit_status == Interrupted.exit_status
    return not stop.from_outside, stop.is_fault, not asked_for, stop.message == STOPPED_AT_ONCE, stop.comes_again


def early_end(stopped: Problem, broke: Sequence[int]) -> dict[str, Any]:
    """What run.json says of a run that ended early; `broke` are the seeds whose group did so by itself."""
    status = "interrupted" if stopped.exit_status == Interrupted.exit_status else "failed"
    return {"status": status, "reason": str(stopped), "broke": [] if stopped.from_outside else list(broke)}
