"""`rlrepro proofs`: the table of what has been shown of each agent."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro.errors import Problem
from rlrepro.papers.cards.card import Value
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.pages.proofs import (
    BEGIN,
    END,
    HEAD,
    LEARNING_HEAD,
    Learned,
    Shown,
    agreement,
    described,
    is_peer,
    learning_table,
    reproductions,
    table,
)
from rlrepro.plugins.importing import installed
from tests.conftest import Command

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


def test_a_row_says_what_the_agent_serves() -> None:
    assert described("dqn")[2:] == ["discrete", "yes", "stacked"]
    assert described("ppo")[2:] == ["discrete, continuous", "yes", "stacked"]
    assert described("ppo_split")[2:] == ["discrete, continuous", "no: observations that are vectors", "stacked"]
    assert described("dqn")[1].startswith("Deep Q-networks (Mnih et al., 2015")


def test_every_agent_has_a_row_and_no_cell_is_empty() -> None:
    lines = table(list(installed("agents")), {}, {}, {}).splitlines()
    assert len(lines) == 2 + len(installed("agents"))
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == len(HEAD)
        assert all(cells)


def cells_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()[2:]]


def test_learning_and_claims_come_from_the_committed_results() -> None:
    found = reproductions(EXPERIMENTS)
    (row,) = cells_of(table(["dqn"], found, {"dqn": {"Stable-Baselines3's train()": 3.9e-6}}, {}))
    assert row[HEAD.index("equal to")] == "Stable-Baselines3's train() (4e-06)"
    told = r"(\d+) tasks, above random on (\d+)(?: of \d+)?; \d+ beside Stable-Baselines3, none below"
    trained = re.fullmatch(told, row[HEAD.index("trained on")])
    assert trained
    assert int(trained[2]) <= int(trained[1])
    (pqn,) = cells_of(table(["pqn"], found, {}, {}))  # on MountainCar it has what a random policy has
    assert re.fullmatch(r"\d+ tasks, above random on (\d+) of (?!\1)\d", pqn[HEAD.index("trained on")])
    assert re.search(r"\d+ reproduced", row[HEAD.index("claims")])
    rows = cells_of(learning_table(["dqn"], found, Path("docs")))
    assert len({row[1] for row in rows}) == len(rows) >= 5
    (car,) = [dict(zip(LEARNING_HEAD, row, strict=True)) for row in rows if row[1] == "MountainCar-v0"]
    assert (car["env steps"], car["returns"]) == ("120,000", "evaluation")
    assert re.fullmatch(r"−1\d\d\.\d \[−1\d\d\.\d, −1\d\d\.\d\] \(20\)", car["ours"])
    assert re.fullmatch(r"−1\d\d\.\d \[−1\d\d\.\d, −1\d\d\.\d\] \(10\)", car["Stable-Baselines3"])
    assert car["reproduction"].startswith("[rl-zoo3-dqn](")


def test_a_peer_is_the_same_algorithm_trained_as_long() -> None:
    """Several agents of a card may answer one number."""
    card = load_card(str(EXPERIMENTS / "minatar-breakout"))

    def peers() -> set[tuple[str, str]]:
        return {(one.id, other.id) for one in card.claims for other in card.claims if is_peer(card, other, one)}

    assert peers() == {("dqn-learns", "sb3-dqn-learns"), ("ppo-learns", "sb3-ppo-learns")}
    theirs = card.implementations["sb3-dqn"]
    longer = {**theirs.hyperparameters, "total_timesteps": Value(10**6, "ours: longer")}
    others = {**card.implementations, "sb3-dqn": dataclasses.replace(theirs, hyperparameters=longer)}
    card = dataclasses.replace(card, implementations=others)
    assert peers() == {("ppo-learns", "sb3-ppo-learns")}


def test_a_task_has_one_row_with_the_peer_first_and_what_is_below_is_said() -> None:
    good, bad = np.array([9.0, 9.5, 9.1]), np.array([1.0, 1.5, 1.2])
    alone = Learned("CartPole-v1", Path("e/alone"), 5, "training", good, np.empty(0))
    beside = Learned("CartPole-v1", Path("e/beside"), 5000, "evaluation", bad, good)
    other = Learned("Acrobot-v1", Path("e/alone"), 5, "training", np.array([1.0]), np.array([1.0]))
    found = {"dqn": [Shown("above", alone), Shown("below", beside), Shown("inconclusive", other)]}
    rows = cells_of(learning_table(["dqn"], found, Path("e")))
    # The interval is that of scipy.stats.ttest_ind(bad, good, equal_var=False).
    assert rows == [
        ["`dqn`", "Acrobot-v1", "5", "training", "1.000 (1)", "1.000 (1)", "0.000", "[alone](alone/report.md)"],
        ["`dqn`", "CartPole-v1", "5,000", "evaluation", "1.233 [0.608, 1.858] (3)", "9.200 [8.543, 9.857] (3)",
         "−7.967 [−8.553, −7.381] **below**", "[beside](beside/report.md)"],
    ]  # fmt: skip
    assert cells_of(table(["dqn"], found, {}, {}))[0][-2:] == [
        "2 tasks; 2 beside Stable-Baselines3, **below** on 1",
        "1 above, 1 below, 1 inconclusive",
    ]


def test_what_is_trained_is_held_against_a_random_policy() -> None:
    def told(*learned: Learned) -> str:
        return cells_of(table(["dqn"], {"dqn": [Shown("inconclusive", one) for one in learned]}, {}, {}))[0][-2]

    def of(task: str, *values: float, **more: Any) -> Learned:
        return Learned(task, Path("e"), 5, "training", np.array(values), more.pop("peer", np.empty(0)), **more)

    clear, near = of("a", 9.0, 9.5, 9.1, random=5.0), of("b", 4.0, 9.0, 6.0, random=5.0)
    stuck, unknown = of("c", -200.0, -200.0, random=-200.0), of("d", 1.0, 2.0)
    assert told(clear) == "1 task, above random on 1"
    assert told(clear, near, stuck) == "3 tasks, above random on 1"
    assert told(clear, stuck, unknown) == "3 tasks, above random on 1 of 2"
    assert told(unknown) == "1 task"
    assert told(of("a", 5.0, 5.0, random=4.0)) == "1 task, above random on 1"
    assert told(of("a", 5.0, random=4.0)) == "1 task, above random on 0"
    lost = of("a", 9.0, 9.5, peer=np.array([1.0, 2.0]), peer_lost=1)
    assert told(lost) == "1 task; 1 beside Stable-Baselines3, 1 not tested"
    both = told(lost, of("b", 9.0, 9.5, peer=np.array([1.0, 2.0])))
    assert both == "2 tasks; 2 beside Stable-Baselines3, none below, 1 not tested"


def test_a_peer_that_explores_as_ours_goes_before_one_that_explores_otherwise(tmp_path: Path) -> None:
    """gSDE is named where it is all that there is."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "card.toml").write_text(load_card("rl-zoo3-a2c").text)
    returns = {"a2c-pendulum": -700.0, "sb3-a2c-pendulum": -250.0, "sb3-a2c-pendulum-gaussian": -710.0}

    def shown(*ids: str) -> list[str]:
        rows = [
            {"claim": i, "verdict": "inconclusive", "per_seed": {"0": returns[i], "1": returns[i] + 2}} for i in ids
        ]
        (tmp_path / "one" / "verdicts.json").write_text(json.dumps({"verdicts": rows}))
        (row,) = cells_of(learning_table(["a2c"], reproductions(tmp_path), tmp_path))
        return row[5:7]

    plain = shown(*returns)
    assert plain[0].startswith("−709.0 [")
    assert "below" not in plain[1]
    other = shown("a2c-pendulum", "sb3-a2c-pendulum")
    assert other[0].startswith("−249.0 [")
    assert other[0].endswith("(2) with gSDE")
    assert other[1].endswith("**below**")


def test_without_a_peer_it_is_said_whether_there_is_one() -> None:
    one = Shown("reproduced", Learned("CartPole-v1", Path("e/card"), 5, "training", np.array([1.0, 2.0]), np.empty(0)))
    rows = cells_of(learning_table(["dqn", "c51"], {"dqn": [one], "c51": [one]}, Path("e")))
    assert [row[5:7] for row in rows] == [["not trained", "—"], ["has none", "—"]]


def test_of_one_curve_the_latest_point_is_shown_and_not_the_best() -> None:
    values = np.array([9.0, 9.5]), np.array([7.0, 7.5])
    curve = [
        Learned("Pendulum-v1", Path("e/card"), 1000 * at, "evaluation", values[at - 1], np.empty(0)) for at in (1, 2)
    ]
    for order in (curve, curve[::-1]):
        (row,) = cells_of(learning_table(["td3"], {"td3": [Shown("reproduced", one) for one in order]}, Path()))
        assert row[2:5] == ["2,000", "evaluation", "7.250 [4.073, 10.427] (2)"]


def test_probes_that_apply_are_counted_and_failures_named() -> None:
    cells = {}
    for solved in ({}, {"A": True, "B": True, "C": None}, {"A": True, "B": False}, {"A": None}):
        ((*_, probes, _, _, _),) = cells_of(table(["dqn"], {}, {}, {"dqn": solved}))
        cells[len(cells)] = probes
    assert cells == {0: "not probed yet", 1: "2 of 2", 2: "1 of 2 (**not** B)", 3: "none applies"}


@pytest.mark.parametrize(
    ("ours", "theirs", "below"),
    [
        ([1.0, 1.1, 0.9], [5.0, 5.1, 4.9], True),
        ([5.0, 5.1, 4.9], [1.0, 1.1, 0.9], False),
        ([1.0, 9.0, 5.0], [2.0, 9.5, 6.0], False),
        ([1.0, 1.0], [1.0, 1.0], False),
        ([-200.0, -200.0], [-100.0, -100.0], True),
        ([-100.0, -100.0], [-200.0, -200.0], False),
        ([1.0], [5.0, 5.0], False),
        ([1.0, 2.0], [], False),
    ],
)
def test_below_its_peer_is_said_where_it_is_significant(ours: list[float], theirs: list[float], below: bool) -> None:
    learned = Learned("CartPole-v1", Path("a card"), 5, "training", np.array(ours), np.array(theirs))
    assert learned.is_below is below


@pytest.mark.parametrize(("lost", "peer_lost"), [(2, 0), (0, 2)])
def test_where_seeds_are_lost_nothing_is_tested_and_they_are_counted(lost: int, peer_lost: int) -> None:
    values = np.array([1.0, 1.1, 0.9]), np.array([5.0, 5.1, 4.9])
    one = Learned("CartPole-v1", Path("e/card"), 5, "training", *values, lost=lost, peer_lost=peer_lost)
    assert (one.test, one.is_below) == (None, False)
    (row,) = cells_of(learning_table(["dqn"], {"dqn": [Shown("below", one)]}, Path("e")))
    assert row[4].endswith("(3 of 5)") is bool(lost)
    assert row[5].endswith("(3 of 5)") is bool(peer_lost)
    assert row[6] == "−4.000, not tested: seeds are lost, or have not run"
    (cells,) = cells_of(table(["dqn"], {"dqn": [Shown("below", one)]}, {}, {"dqn": {"ProbeValue-v0": True}}))
    assert cells[7] == "1 task; 1 beside Stable-Baselines3, 1 not tested"  # and not that it is not below it


def test_agreement_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    assert agreement(tmp_path / "nothing.json") == {}
    for number, text in enumerate(("[1]", "{", '{"dqn": 3}', '{"dqn": {"x": "y"}}')):
        file = tmp_path / f"{number}.json"
        file.write_text(text)
        with pytest.raises(Problem, match="is no record of agreement"):
            agreement(file)


def test_the_command_writes_between_its_marks(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "agents.md"
    page.write_text("before\n<!-- proofs -->\n<!-- /proofs -->\nafter\n")
    record = tmp_path / "agreement.json"
    record.write_text(json.dumps({"random": {"nothing": 0.0}}))
    arguments = ("proofs", "random", "--experiments", tmp_path, "--agreement", record, "--write", page)
    assert "written" in command(*arguments).out
    assert "| `random` |" in page.read_text()
    assert "nothing (exactly)" in page.read_text()
    assert "up to date" in command(*arguments).out
    assert "unknown agent 'dqm'" in command("proofs", "dqm").problem


def test_the_page_of_the_agents_is_what_the_command_makes(command: Command, tmp_path: Path) -> None:
    docs, page = EXPERIMENTS.parent / "docs", tmp_path / "docs" / "agents.md"
    shutil.copytree(docs, page.parent)
    files = ("--experiments", EXPERIMENTS, "--agreement", docs / "agreement.json", "--probes", docs / "probes.json")
    made = command("proofs", *files)
    links = str(Path(os.path.relpath(EXPERIMENTS)).as_posix())
    text = page.read_text(encoding="utf-8")
    shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert shown == made.out.strip().replace(f"]({links}/", "](../experiments/"), "make pages"
