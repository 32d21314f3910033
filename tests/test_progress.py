"""What TensorBoard gets of a run whose seeds train in several processes: a whole view, which costs the run nothing."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlrepro import progress
from rlrepro.errors import Stop
from rlrepro.progress import Board
from rlrepro.record import RunFolder
from rlrepro.request import Request, parse_train
from rlrepro.seed_log import metric_points
from rlrepro.settings import Settings
from tests.conftest import Runs
from tests.test_tensorboard import read

Event = tuple[int, str, dict[str, Any]]


def settings_of(*arguments: str) -> Settings:
    asked = parse_train(["--agent", "random", "--env", "CartPole-v1", "--total-timesteps", "80", *arguments])
    assert isinstance(asked, Request)
    return asked.settings


def board(folder: Path, settings: Settings, said: io.StringIO | None = None) -> Board:
    console = Console(file=said or io.StringIO(), width=500)
    return Board(RunFolder(folder), settings, console, settings.groups(), brief=True)


def told_by(group: int, seeds: tuple[int, ...]) -> list[Event]:
    """A group's events: at each step a log, at every other an evaluation too."""
    events: list[Event] = [(group, "ready", {})]
    for step in range(10, 81, 10):
        events.append((group, "progress", {"env_step": step, "phase": "training"}))
        for tag in ("losses/entropy", "eval/mean_reward")[: 1 + (step % 20 == 0)]:
            values = {seed: {tag: float(step * (seed + 1) ** 2 + len(tag))} for seed in seeds}
            events.append((group, "point", {"env_step": step, "wall_time": 1.0, "values": values}))
    result = {"eval_return": 1.0}
    return [*events, (group, "done", {"results": dict.fromkeys(seeds, result)}), (group, "ended", {"stop": None})]


def means(events: list[Event]) -> dict[str, list[tuple[int, float]]]:
    """What the mean's curves are to be, each point once."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _, kind, values in events:
        for point in values["values"].values() if kind == "point" else ():
            for tag, value in point.items():
                found[tag, values["env_step"]].append(value)
    curves = defaultdict(list)
    for (tag, step), values in sorted(found.items()):
        curves[tag].append((step, float(np.float32(np.mean(values)))))
    return curves


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("order", range(5))
def test_the_mean_has_each_step_once_in_whatever_order_groups_tell(order: int, stacked: bool, tmp_path: Path) -> None:
    settings = settings_of("--seeds", "5", "--processes", "2")
    if not stacked:
        settings = settings_of("--seeds", "5", "--processes", "1")
        object.__setattr__(settings, "stackable", False)
    groups = settings.groups()
    assert len(groups) == (2 if stacked else 5)
    queues = [told_by(group, seeds) for group, seeds in enumerate(groups)]
    expected = means([event for queue in queues for event in queue])
    draw = random.Random(order)
    weights = [draw.random() ** 3 + 0.01 for _ in queues]  # some lag far behind
    with board(tmp_path, settings) as it:
        for group in range(len(groups)):
            it.begin(group, 0)
        while any(queues):
            group = draw.choices(range(len(queues)), [w * bool(q) for w, q in zip(weights, queues, strict=True)])[0]
            it.handle(*queues[group].pop(0))
    found = read(tmp_path / "tensorboard" / "mean")
    for tag, points in expected.items():
        assert found[tag] == points
    assert [step for step, _ in found["spread/eval/mean_reward_lower"]] == [20, 40, 60, 80]
    for seed in range(5):
        assert [step for step, _ in read(tmp_path / f"tensorboard/seed-{seed}")["eval/mean_reward"]] == [20, 40, 60, 80]


@pytest.mark.parametrize("stacked", [True, False])
def test_each_seed_has_the_time_of_its_own_points_and_the_mean_the_latest(stacked: bool, tmp_path: Path) -> None:
    """Of seeds in several processes; TensorBoard draws curves over the wall clock too."""
    settings = settings_of("--seeds", "2", "--processes", "2")
    if not stacked:
        settings = settings_of("--seeds", "2", "--processes", "1")
        object.__setattr__(settings, "stackable", False)
    with board(tmp_path, settings) as it:
        for group, began in ((0, 500.0), (1, 100.0)):
            it.begin(group, 0)
            it.handle(group, "ready", {})
            for step in (40, 80):
                point = {"env_step": step, "wall_time": began + step, "values": {group: {"losses/entropy": 1.0}}}
                it.handle(group, "point", point)
    for run, began in (("seed-0", 500.0), ("seed-1", 100.0), ("mean", 500.0)):
        events = EventAccumulator(str(tmp_path / "tensorboard" / run)).Reload().Scalars("losses/entropy")
        assert [(event.step, event.wall_time) for event in events] == [(40, began + 40), (80, began + 80)]


def test_on_a_terminal_a_note_and_the_display_never_wait_for_each_other(tmp_path: Path) -> None:
    """Either could hold what the other needs, if the display drew itself from a thread of its own."""
    settings = settings_of("--seeds", "2", "--processes", "2")
    said = io.StringIO()
    console = Console(file=said, width=80, force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"})
    events: list[Event] = [(0, "ready", {})]
    ends = time.monotonic() + 1.5

    def tell() -> None:
        with Board(RunFolder(tmp_path), settings, console, settings.groups()) as it:
            for event in events:
                it.handle(*event)
            number = 0
            while time.monotonic() < ends:
                it.handle(0, "warn", {"text": f"note {number}"})
                it.handle(1, "progress", {"env_step": 40, "phase": "evaluating"})
                number += 1

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    teller.join(20)
    assert not teller.is_alive()
    assert "evaluating" in said.getvalue()
    assert "note 1" in said.getvalue()


def test_a_seed_that_ended_early_is_waited_for_no_longer(tmp_path: Path) -> None:
    settings = settings_of("--seeds", "2", "--processes", "2")
    first, second = (told_by(group, seeds) for group, seeds in enumerate(settings.groups()))
    with board(tmp_path, settings) as it:
        for event in [*second[:2], (1, "ended", {"stop": Stop("it broke", 1)}), *first[:-2]]:
            it.handle(*event)
        assert [step for step, _ in read(tmp_path / "tensorboard/mean")["eval/mean_reward"]] == [20, 40, 60]


def test_the_mean_of_a_run_in_two_processes_is_that_of_its_csv_files(runs: Runs) -> None:
    run = runs.finish(
        "r", "--env", "Acrobot-v1", "--agent", "random", "--seeds", "3", "--processes", "2",
        "--total-timesteps", "1000", "--eval-every", "200", "--eval-episodes", "2", "--log-every", "100",
    )  # fmt: skip
    points: dict[int, list[float]] = defaultdict(list)
    for step, _, _, values in metric_points(RunFolder(run), range(3)):
        points[step] += [values["eval/mean_reward"]] if "eval/mean_reward" in values else []
    expected = [(step, pytest.approx(np.mean(values))) for step, values in points.items() if values]
    assert len(expected) == 5
    assert read(run / "tensorboard/mean")["eval/mean_reward"] == expected


@pytest.mark.parametrize("broken", ["open", "add", "flush", "finish", "close"])
def test_a_full_disk_costs_the_curves_and_not_the_run(broken: str, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's files are a view; those that count are written by the workers, who tell of a full disk."""

    class Full(progress.Curves):
        def __init__(self, *arguments: Any) -> None:
            if broken == "open":
                raise OSError(28, "No space left on device")
            super().__init__(*arguments)

    def fail(self: object, *arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    if broken != "open":
        monkeypatch.setattr(Full, broken, fail, raising=False)
    monkeypatch.setattr(progress, "Curves", Full)
    outcome = runs.begin("r", "--agent", "random", "--seeds", "2")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.count("No space left on device") == 1
    assert RunFolder(runs.folder / "r").read_json("run.json")["status"] == "finished"


def test_a_folders_brackets_are_no_markup(tmp_path: Path) -> None:
    said = io.StringIO()
    it = board(tmp_path / "runs[ppo]" / "x[/red]", settings_of("--seeds", "2"), said)
    result = {"episodes": 1, "training_return": 1.0, "eval_return": 1.0, "eval_std": 0.0, "eval_length": 1.0}
    it.results = dict.fromkeys((0, 1), result)
    it.summary()
    assert f"run folder   {tmp_path}/runs[ppo]/x[/red]\n" in said.getvalue()


def test_the_summary_of_a_narrow_terminal_has_every_digit(tmp_path: Path) -> None:
    said = io.StringIO()
    it = Board(RunFolder(tmp_path), settings_of("--seeds", "1"), Console(file=said, width=36), [(0,)])
    returns = {"training_return": -123456.78, "eval_return": 1.25e12, "eval_std": 0.5, "eval_length": 17.0}
    it.results = {0: {"episodes": 98765, **returns}}
    it.summary()
    table, _, below = said.getvalue().partition("training return: the last episodes, 100 at most; evaluation: ")
    assert below
    assert "…" not in table
    digits = "".join("".join(line.split("│")[4:5]).strip() for line in table.splitlines())
    assert "1.25e+12±0.50" in digits.replace(" ", ""), table
    assert "-123456.78" in table


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, width=200, force_terminal=True, _environ={"TERM": "dumb"})
    settings = settings_of("--seeds", "2", "--processes", "2")
    with Board(RunFolder(tmp_path), settings, console, settings.groups(), brief=True) as it:
        for group, seeds in enumerate(settings.groups()):
            for event in told_by(group, seeds):
                it.handle(*event)
    assert "env step" in said.getvalue()


@pytest.mark.parametrize(
    ("seconds", "env_step", "told"),
    [
        (0.0, 40, " 75%          ? steps/s  return none yet  ? left"),
        (100.0, 80, " 0.4 steps/s "),
        (0.01, 80, " 4,000 steps/s "),
    ],
)
def test_what_an_earlier_process_did_says_nothing_of_the_pace(
    seconds: float, env_step: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("rlrepro.progress.time.monotonic", lambda: now)
    said = io.StringIO()
    with board(tmp_path, settings_of("--seeds", "2", "--processes", "2"), said) as it:
        it.begin(0, 80)
        it.begin(1, 40)
        it.handle(1, "ready", {})
        now = seconds
        it.handle(1, "progress", {"env_step": env_step, "phase": "training"})
    assert told in said.getvalue()
