"""The file of a unit's results: what is written is read, and what is no row is told of."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from rlrepro.errors import Problem
from rlrepro.papers.scoring import History
from rlrepro.papers.units.results import Results, UnitResults, open_reproduction, read_results, write_results

NONE = np.empty((0, 2))
EPISODES = np.array([[10.0, 1.5], [20.0, -np.inf]])
WHOLE = History(3, EPISODES, np.array([[20.0, 0.1 + 0.2]]), np.array([2.0, 4.0]), 20, "")
STOPPED = History(5, NONE, NONE, np.empty(0), 0, "it diverged", broke=True)


def written(folder: Path, *histories: History) -> Path:
    write_results(folder, Results(1.0, {"unit": UnitResults({"agent": "dqn"}, (), histories)}))
    return folder / "unit.csv.gz"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path, WHOLE, STOPPED)
    found = read_results(tmp_path).units["unit"].histories
    for ours, theirs in zip(found, (WHOLE, STOPPED), strict=True):
        for name in ("seed", "steps", "stopped", "broke"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for name in ("episodes", "evaluations", "final"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_a_unit_whose_seeds_all_stopped_at_once_has_no_row(tmp_path: Path) -> None:
    written(tmp_path, STOPPED)
    assert read_results(tmp_path).units["unit"].histories[0].episodes.shape == (0, 2)


@pytest.mark.parametrize(("gap", "fits"), [(10, True), (19, True), (20, False), (21, False)])
def test_a_gap_lies_before_the_end_of_the_last_episode(tmp_path: Path, gap: int, fits: bool) -> None:
    written(tmp_path, dataclasses.replace(WHOLE, gaps=(gap,)))
    if fits:
        assert read_results(tmp_path).units["unit"].histories[0].gaps == (gap,)
        return
    with pytest.raises(Problem, match="gaps of seed 3 that lie between no episodes"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "row",
    ["", "#", "3,episode,10,2#x", "3,episode,10", "3,episode,10,1,1", "3,episodes,10,1", "3,evaluations,10,1",
     "3.5,episode,10,1", "3,episode,ten,1", "3,final,,1"],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_a_row_that_is_none_is_one_line(tmp_path: Path, row: str) -> None:
    file = written(tmp_path, WHOLE)
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    data = gzip.compress("\n".join([*lines[:2], row, *lines[2:]]).encode())
    file.write_bytes(data)
    about = json.loads((tmp_path / "results.json").read_text())
    about["units"]["unit"]["sha256"] = hashlib.sha256(data).hexdigest()
    (tmp_path / "results.json").write_text(json.dumps(about))
    with pytest.raises(Problem, match="is damaged") as problem:
        read_results(tmp_path)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("versions", None), ("versions", []), ("versions", {"torch": 2}), ("versions", {"torch": ["2"]}), ("code", 3),
     ("code", ["mine.py"]), ("git", "0123"), ("hardware", None), ("seeds", 3)],
)  # fmt: skip
def test_what_is_told_of_a_run_is_as_it_is_written(tmp_path: Path, name: str, value: object) -> None:
    written(tmp_path, WHOLE)
    file = tmp_path / "results.json"
    about = json.loads(file.read_text())
    about["units"]["unit"]["runs"] = [{"seeds": [3], "versions": {"torch": "2"}, "code": None, "git": None}]
    file.write_text(json.dumps(about))
    read_results(tmp_path)
    about["units"]["unit"]["runs"][0][name] = value
    file.write_text(json.dumps(about))
    with pytest.raises(Problem, match=f"results.json is damaged: ValueError a run whose {name} are no"):
        read_results(tmp_path)


@pytest.mark.parametrize("settings", [[], "agent", None, {"hyperparameters": 3}])
def test_settings_that_are_no_table(tmp_path: Path, settings: object) -> None:
    written(tmp_path, WHOLE)
    file = tmp_path / "results.json"
    about = json.loads(file.read_text())
    about["units"]["unit"]["settings"] = settings
    file.write_text(json.dumps(about))
    with pytest.raises(Problem, match="settings that are no table"):
        read_results(tmp_path)


def test_a_folder_without_a_card_is_no_reproduction(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"is no reproduction: it has no card\.toml"):
        open_reproduction(tmp_path)
