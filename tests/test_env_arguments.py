"""Arguments of environments: what is refused before one is made, and what must not be."""

from __future__ import annotations

import enum
from typing import Any, Literal

import gymnasium
import pytest

from rlrepro.errors import BadArgument
from rlrepro.plugins.env_source import EnvSource

Size = int | str


class Level(enum.IntEnum):
    EASY = 1


class Constraint:
    """Its name has `str` in it."""


class Task(gymnasium.Env[Any, Any]):
    def __init__(
        self, *, plain=8, slippery=False, on: bool = True, few: int = 1, scale: float | None = None, size: Size = 8,
        anything: Any = 8, level: Level = Level.EASY, stress: Constraint = 1.0, choice: Literal[0, 1] = 0,
        rule: "Lacking" = 1,  # noqa: F821, UP037
    ) -> None: ...  # fmt: skip


class Known(gymnasium.Env[Any, Any]):
    def __init__(self, *, on: bool = True, few: int = 1, scale: float | None = None, size: Size = 8) -> None: ...


def check(task: type[Any], **kwargs: object) -> None:
    EnvSource("task.py:Task", task, None, kwargs, ()).check_arguments()


@pytest.mark.parametrize(
    ("task", "name", "text", "wanted"),
    [
        (Known, "on", "maybe", "true or false"),
        (Known, "few", "many", "a number"),
        (Known, "scale", "big", "a number"),
        *((Task, "slippery", word, "true or false") for word in ("no", "NO", "off", "yes", "On", "n", "y")),
    ],
)
def test_a_text_that_is_no_value_is_refused(task: type[Any], name: str, text: str, wanted: str) -> None:
    with pytest.raises(BadArgument, match=rf"^--env-kwargs: {name} of task\.py:Task is {wanted}, not '{text}'$"):
        check(task, **{name: text})


@pytest.mark.parametrize(
    ("task", "kwargs"),
    [
        (Task, {"plain": "large"}),
        (Task, {"slippery": "film.mp4"}),
        (Task, {"anything": "large"}),
        (Task, {"level": "HARD"}),
        (Task, {"stress": "high"}),
        (Task, {"choice": "first"}),
        (Task, {"rule": "no"}),
        (Task, {"unknown": "no"}),
        (Known, {"size": "large"}),
        (Known, {"on": False, "few": 3, "scale": 2}),
    ],
)
def test_a_value_that_may_be_meant_is_not(task: type[Any], kwargs: dict[str, object]) -> None:
    check(task, **kwargs)


def test_a_module_that_ends_the_process_is_left_to_the_making() -> None:
    class Exits(EnvSource):
        def _creator(self) -> Any:
            raise SystemExit("no licence")

    Exits("Exits-v0", Task, "Exits-v0", {"mode": "a"}, ()).check_arguments()


def test_long_arguments_are_cut_in_what_is_told() -> None:
    told = EnvSource("Task", Task, None, {"desc": ["SFFF"] * 500, "on": True}, ()).described
    assert told.startswith("Task with desc=['SFFF', 'SFFF', ")
    assert len(told) < 120
    assert EnvSource("Task", Task, None, {}, ()).described == "Task"
