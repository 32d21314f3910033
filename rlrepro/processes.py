"""Jobs in processes of their own: begun, heard, and asked to stop."""

from __future__ import annotations

import collections
import contextlib
import enum
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any

from rlrepro.ctrl_c import handled, without_ctrl_c
from rlrepro.errors import STOPPED_AT_ONCE, Interrupted, Problem, Stop, named_seeds
from rlrepro.settings import Job

if TYPE_CHECKING:
    from rlrepro.progress import Board


class Stopping(enum.IntEnum):
    """Who asked the processes to stop; they are told when it begins, and when it becomes `TWICE`."""

    NOT = 0
    BY_US = 1  #: one of them stopped: the others save what they have
    ONCE = 2  #: a person, by Ctrl-C or SIGTERM: each saves what it has
    TWICE = 3  #: a person who does not wait for that


class Processes:
    """One process a job, so many at a time; what they tell reaches a board.

    Ctrl-C and SIGTERM are passed on: each job writes its checkpoint and ends by itself. Where one job fails, the others
    are told to save and end too; those of an agent that cannot be stacked go on to their end, since they may have no
    checkpoint to resume from.
    """

    def __init__(self, jobs: Sequence[Job], board: Board, at_a_time: int) -> None:
        self.jobs, self.board, self.settings = jobs, board, jobs[0].settings
        self.at_a_time = at_a_time
        self.waiting = collections.deque(range(len(jobs)))
        self.running: dict[Any, tuple[int, Any]] = {}  # our end of the pipe -> its group, its process
        self.asked = Stopping.NOT

    def run(self) -> None:
        """Begin and hear all of them until each has ended."""
        with self._signals():
            while True:
                while self.waiting and not self.asked and len(self.running) < self.at_a_time:
                    self._begin(self.waiting.popleft())
                if not self.running:
                    break
                for pipe in connection.wait(list(self.running)):
                    self._hear(pipe)
            for group in self.waiting:
                what = "not begun" if group else "interrupted before training began"  # of the first: of none
                late = Stop(what, Interrupted.exit_status, from_outside=True)
                self.board.handle(group, "ended", {"stop": late})

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def told(signum: int, frame: object) -> None:
            self._ask(Stopping.ONCE if self.asked < Stopping.ONCE else Stopping.TWICE)

        with handled(signal.SIGINT, told), handled(signal.SIGTERM, told):
            yield

    def _ask(self, asked: Stopping) -> None:
        """A second signal would end them before they have saved what they have: only a person asks for that."""
        before, self.asked = self.asked, max(self.asked, asked)
        if before is Stopping.NOT or asked is Stopping.TWICE:
            for _, process in list(self.running.values()):
                _terminate(process)

    def _begin(self, group: int) -> None:
        process, pipe = _begin_process(self.jobs[group])
        self.running[pipe] = group, process
        if self.asked:  # while it was started
            _terminate(process)

    def _hear(self, pipe: Any) -> None:
        """The next word of a process, or its end."""
        group, process = self.running[pipe]
        try:
            kind, values = pipe.recv()
        except (EOFError, OSError):  # it ended, perhaps in the middle of a word
            process.join()
            kind, values = "ended", {"stop": why_it_died(process.exitcode, self.jobs[group].seeds, self.asked)}
        if kind == "stopping" and self.asked is Stopping.BY_US:
            kind = "warn"
        self.board.handle(group, kind, values)
        if kind != "ended":
            return
        del self.running[pipe]
        process.join()
        stop: Stop | None = values["stop"]
        if stop is None:
            return
        if self.settings.stackable or stop.exit_status == Problem.exit_status or self.asked:
            self._ask(Stopping.BY_US)
        elif self.running or self.waiting:
            text = f"seed {self.jobs[group].seeds[0]} stopped: {stop.message}; the other seeds go on"
            self.board.handle(group, "warn", {"text": text})


def why_it_died(exit_code: int | None, seeds: Sequence[int], asked: Stopping) -> Stop:
    """What is told of a process that ended without a word of its own."""
    if asked is Stopping.TWICE and exit_code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return Stop(STOPPED_AT_ONCE, Interrupted.exit_status, from_outside=True)
    if asked and exit_code == -signal.SIGTERM:  # while it still got ready
        return Stop("interrupted before training began", Interrupted.exit_status, from_outside=True)
    died = f"the process of {named_seeds(seeds)} {_how(exit_code)}"
    return Stop(died, 1, from_outside=exit_code in (-signal.SIGKILL, -signal.SIGTERM))


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed ({name}{', out of memory?' if name == 'SIGKILL' else ''})"
    return f"ended without a word (exit code {exit_code})"


def _terminate(process: Any) -> None:
    if process.pid and process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def _begin_process(job: Job) -> tuple[Any, Any]:
    """A process that does a job, and our end of the pipe to it."""
    context = get_context("spawn")
    previous = os.environ.get("OMP_NUM_THREADS")
    if job.settings.device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"  # read when a child imports its libraries
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(job, theirs), daemon=True)
    with without_ctrl_c():
        process.start()
    theirs.close()
    if previous is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = previous
    return process, ours


def _child(job: Job, pipe: Any) -> None:
    from rlrepro.worker import process_main

    process_main(job, pipe)
