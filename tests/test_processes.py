"""Who is asked to stop, how often, and what is told of a process that dies."""

from __future__ import annotations

import dataclasses
import os
import signal
import struct
import types
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from rlrepro import processes
from rlrepro.errors import STOPPED_AT_ONCE, Stop
from rlrepro.launch import _of_each
from rlrepro.processes import Processes, Stopping, why_it_died
from rlrepro.request import parse_train
from rlrepro.settings import Job, Settings

STOP = Stop("it broke", 1)


class Heard:
    """A board that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, Any]] = []

    def handle(self, group: int, kind: str, values: dict[str, Any]) -> None:
        self.told.append((group, kind, values.get("stop") or values.get("text")))


class Child:
    """A process whose end of the pipe the test holds."""

    exitcode = 0

    def __init__(self) -> None:
        self.ours, self.theirs = Pipe()
        self.told_to_stop = 0

    def say(self, kind: str, **values: Any) -> None:
        self.theirs.send((kind, values))

    def end(self, stop: Stop | None = None) -> None:
        self.say("ended", stop=stop)

    def join(self) -> None: ...


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    made: list[Child] = []

    def begin(job: Job) -> tuple[Child, Any]:
        made.append(Child())
        return made[-1], made[-1].ours

    def terminate(child: Child) -> None:
        child.told_to_stop += 1

    monkeypatch.setattr(processes, "_begin_process", begin)
    monkeypatch.setattr(processes, "_terminate", terminate)
    return made


def several(seeds: int, at_a_time: int, stackable: bool = True) -> tuple[Processes, Heard]:
    request: Any = parse_train(["--env", "CartPole-v1", "--agent", "random", "--seeds", str(seeds)])
    settings: Settings = dataclasses.replace(request.settings, processes=at_a_time, stackable=stackable)
    board = Heard()
    jobs = [Job(settings, Path("nowhere"), (seed,)) for seed in range(seeds)]
    return Processes(jobs, board, at_a_time), board  # type: ignore[arg-type]


def in_turn(*acts: Callable[[], object]) -> Callable[[Any], list[Any]]:
    """`connection.wait`, before which one more thing happens each time."""
    from multiprocessing import connection

    waiting, real = iter(acts), connection.wait

    def wait(pipes: Any) -> list[Any]:
        next(waiting, lambda: None)()
        return list(real(pipes, timeout=0.05))

    return wait


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_after_another_seed_broke_takes_nothing_from_those_that_save(
    children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """We have told them already; a second signal would end them at once. A person who asks again wants just that."""
    one, _ = several(2, 2)
    told = []

    def note() -> None:
        told.append(children[1].told_to_stop)

    acts = (lambda: children[0].end(STOP), note, ctrl_c, note, ctrl_c, note, lambda: children[1].end())
    monkeypatch.setattr("multiprocessing.connection.wait", in_turn(*acts))
    one.run()
    assert told == [1, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_tells_each_once_and_begins_no_other(children: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    one, board = several(3, 2, stackable=False)
    stopped = Stop("stopped at env step 7", 130, from_outside=True)
    acts = (ctrl_c, lambda: children[0].end(stopped), lambda: children[1].end(stopped))
    monkeypatch.setattr("multiprocessing.connection.wait", in_turn(*acts))
    one.run()
    assert [child.told_to_stop for child in children] == [1, 1]
    assert board.told[-1] == (2, "ended", Stop("not begun", 130, from_outside=True))


def test_a_process_that_ends_in_the_middle_of_a_word_is_told_in_one_line(
    children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, board = several(1, 1)

    def half() -> None:
        children[0].exitcode = -signal.SIGKILL
        children[0].theirs._send(struct.pack("!i", 100_000) + b"x" * 50)  # as `send` begins a word of so many bytes
        children[0].theirs.close()

    monkeypatch.setattr("multiprocessing.connection.wait", in_turn(half))
    one.run()
    assert board.told == [(0, "ended", Stop("the process of seed 0 was killed (SIGKILL, out of memory?)", 1, True))]


def test_where_seeds_cannot_be_stacked_the_others_go_on(children: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    one, board = several(3, 2, stackable=False)
    acts = (lambda: children[0].end(STOP), lambda: children[1].end(), lambda: children[2].end())
    monkeypatch.setattr("multiprocessing.connection.wait", in_turn(*acts))
    one.run()
    assert [child.told_to_stop for child in children] == [0, 0, 0]
    assert (0, "warn", "seed 0 stopped: it broke; the other seeds go on") in board.told


@pytest.mark.parametrize(("by_a_person", "told"), [(False, "warn"), (True, "stopping")])
def test_only_a_person_is_told_how_to_ask_again(
    by_a_person: bool, told: str, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, board = several(2, 2)
    before = ctrl_c if by_a_person else lambda: children[0].end(STOP)
    acts = (before, lambda: children[1].say("stopping", text="it saves what it has"),
            lambda: children[0].end(), lambda: children[1].end())  # fmt: skip
    monkeypatch.setattr("multiprocessing.connection.wait", in_turn(*acts))
    one.run()
    assert [kind for _, kind, text in board.told if text == "it saves what it has"] == [told]


def test_a_process_begins_deaf_to_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds to import what it needs, and only then says itself what Ctrl-C is to do."""
    heard = []

    class Context:
        Pipe = staticmethod(Pipe)

        class Process:
            def __init__(self, **named: Any) -> None: ...

            def start(self) -> None:
                heard.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(processes, "get_context", lambda _: Context)
    one, _ = several(1, 1)
    processes._begin_process(one.jobs[0])
    assert heard == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("exit_code", "asked", "stop"),
    [
        (-9, Stopping.NOT, Stop("the process of seeds 3, 4 was killed (SIGKILL, out of memory?)", 1, True)),
        (-11, Stopping.NOT, Stop("the process of seeds 3, 4 was killed (SIGSEGV)", 1, False)),
        (7, Stopping.ONCE, Stop("the process of seeds 3, 4 ended without a word (exit code 7)", 1, False)),
        (-15, Stopping.NOT, Stop("the process of seeds 3, 4 was killed (SIGTERM)", 1, True)),
        (-15, Stopping.BY_US, Stop("interrupted before training began", 130, True)),
        (-15, Stopping.ONCE, Stop("interrupted before training began", 130, True)),
        (-15, Stopping.TWICE, Stop(STOPPED_AT_ONCE, 130, True)),
        (143, Stopping.TWICE, Stop(STOPPED_AT_ONCE, 130, True)),
    ],
)
def test_what_is_told_of_a_process_that_died(exit_code: int, asked: Stopping, stop: Stop) -> None:
    assert why_it_died(exit_code, (3, 4), asked) == stop


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ({0: "interrupted", 1: "interrupted", 2: "interrupted"}, "interrupted"),
        ({1: "interrupted before training began"}, "interrupted before training began (seeds 2, 3)"),
        ({1: "interrupted", 2: "not begun"}, "interrupted (seeds 2, 3), not begun (seeds 4, 5)"),
    ],
)
def test_seeds_are_named_where_not_all_were_stopped_alike(messages: dict[int, str], told: str) -> None:
    stops = {group: Stop(message, 130, from_outside=True) for group, message in messages.items()}
    board: Any = types.SimpleNamespace(stops=stops)
    assert _of_each(stops[min(stops)], board, ((0, 1), (2, 3), (4, 5))) == told
