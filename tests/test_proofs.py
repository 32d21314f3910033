"""`rlrepro proofs`: the table of what has been shown of each agent."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rlrepro.errors import Problem
from rlrepro.importing import installed
from rlrepro.papers.proofs import HEAD, Learned, agreement, described, table
from tests.conftest import Command

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"


def test_a_row_says_what_the_agent_serves() -> None:
    assert described("dqn")[2:] == ["discrete", "yes", "stacked"]
    assert described("ppo")[2:] == ["discrete, continuous", "yes", "stacked"]
    assert described("ppo_split")[2:] == ["discrete, continuous", "no", "stacked"]
    assert described("dqn")[1].startswith("Deep Q-networks (Mnih et al., 2015")


def test_every_agent_has_a_row_and_no_cell_is_empty(tmp_path: Path) -> None:
    lines = table(list(installed("agents")), tmp_path, {}, {}).splitlines()
    assert len(lines) == 2 + len(installed("agents"))
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == len(HEAD)
        assert all(cells)


def test_learning_and_claims_come_from_the_committed_results() -> None:
    row = table(["dqn"], EXPERIMENTS, {"dqn": {"Stable-Baselines3's train()": 3.9e-6}}, {}).splitlines()[-1]
    assert "Stable-Baselines3's train() (4e-06)" in row
    assert re.search(r"MountainCar-v0 -1\d\d\.\d \[-1.*?, -1.*?\] \(\d+ seeds, rl-zoo3-dqn\), sb3 -1\d\d\.\d", row)
    assert re.search(r"\d+ reproduced", row)


def test_probes_that_apply_are_counted_and_failures_named(tmp_path: Path) -> None:
    cells = {}
    for solved in ({}, {"A": True, "B": True, "C": None}, {"A": True, "B": False}, {"A": None}):
        line = table(["dqn"], tmp_path, {}, {"dqn": solved}).splitlines()[-1]
        cells[len(cells)] = line.strip("|").split(" | ")[HEAD.index("probes")]
    assert cells == {0: "not probed yet", 1: "2 of 2", 2: "1 of 2 (**not** B)", 3: "none applies"}


@pytest.mark.parametrize(
    ("ours", "theirs", "below"),
    [
        ([1.0, 1.1, 0.9], [5.0, 5.1, 4.9], True),
        ([5.0, 5.1, 4.9], [1.0, 1.1, 0.9], False),
        ([1.0, 9.0, 5.0], [2.0, 9.5, 6.0], False),
        ([1.0, 1.0], [1.0, 1.0], False),
        ([1.0], [5.0, 5.0], False),
        ([1.0, 2.0], [], False),
    ],
)
def test_below_its_peer_is_said_where_it_is_significant(ours: list[float], theirs: list[float], below: bool) -> None:
    assert Learned("CartPole-v1", "a card", np.array(ours), np.array(theirs)).is_below is below


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
