"""Code of a person's own: what was run is told by its bytes, moves with its card, and is never mixed with another."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rlrepro import loop
from rlrepro.errors import Problem
from rlrepro.papers.cards.reader import load_card, read_card
from rlrepro.papers.pages.report import write_report
from rlrepro.papers.sharing import bundle
from rlrepro.papers.units.results import read_results
from rlrepro.plugins import importing, own_code
from rlrepro.plugins.agents import find_agent
from rlrepro.record import RunFolder
from tests.conftest import Command, in_a_fork

AGENT = """
import dataclasses
from types import SimpleNamespace
import numpy as np
import torch
from rlrepro.agent import hyper

class Mine:
    @dataclasses.dataclass(frozen=True)
    class Config:
        bias: int = hyper(0, "the one action", "ours")

    def __init__(self, setup, config):
        self.bias, self.seeds = config.bias, setup.num_seeds
        self.memory = SimpleNamespace(
            add=lambda transition: None, ready=lambda step: iter(()), cut=lambda: None,
            get_state=dict, set_state=lambda state: None,
        )

    def act(self, obs, step):
        return np.full(obs.shape[:2], self.bias), {}

    def predict(self, obs, streams, deterministic):
        return np.full(obs.shape[:2], self.bias)

    def update(self, batch, step):
        return {}

    def get_policy(self):
        return {"bias": torch.full((self.seeds,), self.bias)}

    def set_policy(self, policy):
        pass

    get_state = dict

    def set_state(self, state):
        pass
"""
ENV = """
import gymnasium

class Late(gymnasium.Wrapper):
    pass
"""
CARD = """
format = 1
[paper]
title = "Mine"
authors = "Nobody"
year = 2024
url = "https://example.org"
[environment.pole]
paper = "CartPole-v1"
wrappers = ["parts/late.py:Late"]
[implementation.mine]
agent = "mine.py:Mine"
hyperparameters."ours: small" = { total_timesteps = 200, num_envs = 1, bias = 1 }
[protocol.training]
returns = "training"
last = 5
[[claim]]
id = "one"
implementation = "mine"
environment = "pole"
protocol = "training"
reported = 9.4
margin = 1
margin_why = "made up"
where = "nowhere"
"""


def write_card(folder: Path) -> Path:
    """A card with an agent and a wrapper beside it."""
    (folder / "parts").mkdir(parents=True)
    (folder / "mine.py").write_text(AGENT)
    (folder / "parts" / "late.py").write_text(ENV)
    (folder / "card.toml").write_text(CARD)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The card's; the working directory is another."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return write_card(tmp_path / "paper")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of two seeds; its card and code, which were elsewhere, are gone."""
    place = tmp_path_factory.mktemp("finished")
    assert reproduce(write_card(place / "paper"), "--seeds", 2, "--into", place / "made", folder=place)[0] == 0
    shutil.rmtree(place / "paper")
    return place / "made"


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    """The same, moved."""
    shutil.copytree(finished, tmp_path / "moved")
    return tmp_path / "moved"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process imported, as if the next command had a process of its own."""
    importing.ran.clear()
    for name in [name for name in sys.modules if name.startswith("rlrepro_file_")]:
        monkeypatch.delitem(sys.modules, name)


def reproduce(*arguments: object, folder: Path) -> tuple[int, str]:
    """In a process of its own: a file that was edited is imported anew."""
    return in_a_fork(["reproduce", *arguments, "--processes", 1], folder)


@pytest.mark.parametrize(
    ("name", "file", "whole"),
    [
        ("mine.py:Mine", "mine.py", "/card/mine.py:Mine"),
        ("a/b.py", "a/b.py", "/card/a/b.py"),
        ('late.py:Late(by=3, of="x.py:y")', "late.py", '/card/late.py:Late(by=3, of="x.py:y")'),
        ("./mine.py:Mine", "./mine.py", "/card/mine.py:Mine"),
        ("/abs/mine.py:Mine", "/abs/mine.py", "/abs/mine.py:Mine"),
        ("ppo", None, "ppo"),
        ("package.py_things:Mine", None, "package.py_things:Mine"),
        ("sb3:ppo", None, "sb3:ppo"),
        ("ALE/Pong-v5", None, "ALE/Pong-v5"),
    ],
)
def test_names_of_files(name: str, file: str | None, whole: str) -> None:
    assert own_code.file_of(name) == file
    assert own_code.from_folder(name, Path("/card")) == whole
    if file is not None and own_code.is_inside(file):
        assert own_code.to_folder(whole, Path("/card")) == name.removeprefix("./")


def test_what_is_installed_has_a_version_and_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(AGENT)
    (tmp_path / "my_module.py").write_text(AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"{tmp_path}/mine.py:Mine", "my_module:Mine", "ppo", "sb3:ppo", "gymnasium.wrappers:ClipAction(a=1)"]
    found = own_code.hashes(own_code.sources(names))
    assert list(found) == [f"{tmp_path}/mine.py", "my_module"]
    assert len(set(found.values())) == 1
    assert list(own_code.copies([*found, "/other/mine.py"]).values()) == ["mine.py", "my_module.py", "mine-2.py"]


def test_a_card_s_code_lies_beside_it_and_both_can_be_moved(made: Path) -> None:
    assert (made / "mine.py").read_text() == AGENT
    assert (made / "parts" / "late.py").read_text() == ENV
    settings = json.loads((made / "results" / "results.json").read_text())["units"]["mine-pole"]["settings"]
    assert settings["agent"] == "mine.py:Mine"
    assert settings["wrappers"] == ["parts/late.py:Late"]
    judgement = write_report(made)
    assert judgement.verdicts[0].score is not None
    assert len(judgement.verdicts[0].score.per_seed) == 2
    (run,) = judgement.results.units["mine-pole"].runs
    assert run["code"] == {
        "mine.py": digest(AGENT),
        "parts/late.py": digest(ENV),
    }
    status, printed = reproduce(made, "--seeds", 3, "--into", made, folder=made.parent)
    assert status == 0, printed
    assert sorted(write_report(made).results.units["mine-pole"].seeds) == [0, 1, 2]


def test_runs_of_edited_code_are_not_pooled(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)[0] == 0
    (folder / "mine.py").write_text(AGENT.replace("self.bias, self.seeds = config.bias", "self.bias, self.seeds = 0"))
    status, line = reproduce(folder, "--seeds", 3, "--into", made, folder=tmp_path)
    assert status == 2
    assert line.endswith("was made with another mine.py: put that back, or choose another --into\n")
    assert line.count("\n") == 1
    assert (made / "mine.py").read_text() == AGENT
    # a comment is another file too; the runs that were begun count as the results do
    (folder / "mine.py").write_text(AGENT + "# a comment\n")
    for file in (made / "results").iterdir():
        file.unlink()
    status, line = reproduce(folder, "--seeds", 3, "--into", made, folder=tmp_path)
    assert status == 2
    assert "was made with another mine.py" in line


def test_a_unit_without_a_score_begins_anew_with_mended_code(folder: Path, tmp_path: Path) -> None:
    made, acts = tmp_path / "made", "return np.full(obs.shape[:2], self.bias), {}"
    (folder / "mine.py").write_text(AGENT.replace(acts, "raise RuntimeError('boom')"))
    status, printed = reproduce(folder, "--seeds", 3, "--into", made, folder=tmp_path)
    assert status == 1
    assert "seed 1 stopped: RuntimeError: boom (mine.py:" in printed
    assert "begin it anew" not in printed
    assert read_results(made / "results").units["mine-pole"].runs
    (folder / "mine.py").write_text(AGENT)
    status, printed = reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)
    assert status == 0, printed
    assert "mine-pole begins anew: mine.py was changed, and none of its seeds had a score" in printed
    unit = read_results(made / "results").units["mine-pole"]
    assert [h.stopped for h in unit.histories] == ["", ""]  # of three that are planned
    assert [run["code"]["mine.py"] for run in unit.runs] == [digest(AGENT)]
    assert unit.planned == (0, 1, 2)
    assert "its runs are kept in " in printed
    assert (made / "before-mending" / "mine-pole-1").is_dir()
    assert (made / "mine.py").read_text() == AGENT


def test_what_was_only_interrupted_or_is_written_to_is_not_set_aside(folder: Path, tmp_path: Path) -> None:
    made, acts = tmp_path / "made", "return np.full(obs.shape[:2], self.bias), {}"
    stop = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (folder / "mine.py").write_text(AGENT.replace(acts, f"{stop}; {acts}"))
    assert reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)[0] == 130
    (folder / "mine.py").write_text(AGENT)
    status, line = reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)
    assert (status, "was made with another mine.py: put that back" in line) == (2, True)
    assert (made / "runs" / "mine-pole").is_dir()
    shutil.rmtree(made)
    (folder / "mine.py").write_text(AGENT.replace(acts, "raise RuntimeError('boom')"))
    assert reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)[0] == 1
    (folder / "mine.py").write_text(AGENT)
    writer = RunFolder(next((made / "runs" / "mine-pole").glob("seeds-*")))
    writer.lock()
    status, line = reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)
    writer.unlock()
    assert (status, "another process is writing to " in line) == (2, True)
    assert not (made / "before-mending").exists()


def test_a_bundle_has_the_code_and_runs_it_when_trusted(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bundle.pack(made, tmp_path / "mine.rlrepro.zip")
    assert {"mine.py", "parts/late.py"} <= set(bundle.read_files(file))
    (made / "mine.py").write_text(AGENT + "# edited\n")
    forget(monkeypatch)
    with pytest.raises(Problem, match=r"is not the mine\.py that the results were made with"):
        bundle.pack(made, tmp_path / "other.rlrepro.zip")
    with pytest.raises(Problem, match="say --trust to run it"):
        bundle.open_bundle(file, tmp_path / "opened")
    shutil.rmtree(made)
    status, printed = in_a_fork(["verify", file, "--trust", "--seeds", 1], tmp_path)
    assert status == 0, printed
    assert "bit for bit" in printed


def test_code_that_lies_elsewhere_is_in_no_bundle(made: Path, tmp_path: Path, command: Command) -> None:
    (made / "mine.py").rename(tmp_path / "mine.py")
    for file in (made / "card.toml", made / "results" / "results.json"):
        file.write_text(file.read_text().replace("mine.py:Mine", f"{tmp_path}/mine.py:Mine"))
    outcome = command("bundle", made, "--into", tmp_path / "mine.rlrepro.zip")
    assert outcome.out.endswith(f"to check it: rlrepro verify {tmp_path}/mine.rlrepro.zip --trust\n")
    assert f"note: {tmp_path}/mine.py is not packed: only files in the card's folder" in outcome.out
    assert "parts/late.py" in bundle.read_files(tmp_path / "mine.rlrepro.zip")
    assert not any(path.endswith("mine.py") for path in bundle.read_files(tmp_path / "mine.rlrepro.zip"))


def test_a_card_without_its_code_says_where_it_is_looked_for(folder: Path) -> None:
    (folder / "mine.py").rename(folder / "mined.py")
    with pytest.raises(Problem, match=r"agent: there is no file .*/paper/mine\.py; did you mean .*/paper/mined\.py"):
        load_card(str(folder / "card.toml"))


def test_a_run_goes_on_with_the_code_that_it_began_with_alone(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = itertools.count()
    add = loop.EpisodeCounter.add

    def stopped(self: loop.EpisodeCounter, reward: np.ndarray) -> None:
        if next(steps) == 700:
            os.kill(os.getpid(), signal.SIGTERM)
        add(self, reward)

    agent = folder / "mine.py"
    brief = ("--agent", f"{agent}:Mine", "--seeds", "2", "--processes", "1", "--total-timesteps", "2000")
    with monkeypatch.context() as patch:
        patch.setattr(loop.EpisodeCounter, "add", stopped)
        assert command("train", *brief, "--name", "one", "--run-dir", "runs").status == 130
    run = Path("runs/one")
    assert (run / "code" / "mine.py").read_text() == AGENT
    assert json.loads((run / "run.json").read_text())["code"] == {str(agent): digest(AGENT)}
    agent.write_text(AGENT + "# edited\n")
    forget(monkeypatch)
    refused = command("train", "--resume", run)
    assert refused.status == 2
    assert refused.err == (
        f"rlrepro: {agent} was changed since {run} began: put it back (a copy is {run}/code/mine.py), "
        "or begin a new run\n"
    )
    agent.write_text(AGENT)
    forget(monkeypatch)
    assert command("train", "--resume", run).status == 0
    assert command("evaluate", run, "--episodes", "2").status == 0
    (first,) = run.glob("evaluation-*.json")
    kept = first.read_bytes()
    agent.write_text(AGENT + "# edited\n")
    forget(monkeypatch)
    told = command("evaluate", run, "--episodes", "2")
    assert told.status == 0
    copy = f"(as it was: {run}/code/mine.py)"
    assert f"warning: {agent} was changed since {run} was trained with it {copy}" in told.err
    (second,) = set(run.glob("evaluation-*.json")) - {first}  # by other code: the first is not written over
    assert first.read_bytes() == kept
    codes = [json.loads(file.read_text())["code"] for file in (first, second)]
    assert codes == [{str(agent): digest(AGENT)}, {str(agent): digest(AGENT + "# edited\n")}]
    agent.unlink()
    (run / "run.json").write_text(
        (run / "run.json").read_text().replace('"code": {', '"code": {"/gone/helper.py": "x",')
    )
    gone = command("evaluate", run, "--episodes", "2").problem
    assert gone == f"{agent} is gone since {run} began: put it back (a copy is {run}/code/mine.py)"


def test_what_is_recorded_is_what_ran(folder: Path, command: Command) -> None:
    """A file that is edited after it was imported is not the one that trains."""
    agent = folder / "mine.py"
    find_agent(f"{agent}:Mine").load()
    agent.write_text("raise SystemExit\n")
    brief = ("--agent", f"{agent}:Mine", "--seed", "0", "--total-timesteps", "60", "--name", "one", "--run-dir", "runs")
    assert command("train", *brief).status == 0
    assert Path("runs/one/code/mine.py").read_text() == AGENT
    assert json.loads(Path("runs/one/run.json").read_text())["code"] == {str(agent): digest(AGENT)}


def test_what_it_imports_from_its_folder_goes_with_it(folder: Path, tmp_path: Path) -> None:
    (folder / "helping").mkdir()
    (folder / "helping" / "__init__.py").write_text("")
    (folder / "helping" / "deep.py").write_text("import other_helper_of_mine\n")
    (folder / "other_helper_of_mine.py").write_text("ONE = 1\n")
    (folder / "unused.py").write_text("")
    (folder / "mine.py").write_text("from helping import deep\nimport json\n" + AGENT)
    made = tmp_path / "made"
    status, printed = reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)
    assert status == 0, printed
    helpers = {"mine.py", "helping/__init__.py", "helping/deep.py", "other_helper_of_mine.py"}
    assert {str(file.relative_to(made)) for file in made.rglob("*.py") if "runs" not in file.parts} == helpers | {
        "parts/late.py"
    }
    packed = in_a_fork(["bundle", made, "--into", tmp_path / "mine.rlrepro.zip"], tmp_path)
    assert packed[0] == 0, packed[1]
    assert helpers < set(bundle.read_files(tmp_path / "mine.rlrepro.zip"))
    (folder / "other_helper_of_mine.py").write_text("ONE = 2\n")
    status, line = reproduce(folder, "--seeds", 3, "--into", made, folder=tmp_path)
    assert status == 2
    assert "was made with another other_helper_of_mine.py" in line


def test_a_link_to_code_that_was_edited_is_noticed(folder: Path, tmp_path: Path) -> None:
    (folder / "mine.py").rename(tmp_path / "shared.py")
    (folder / "mine.py").symlink_to(tmp_path / "shared.py")
    made = tmp_path / "made"
    assert reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)[0] == 0
    (tmp_path / "shared.py").write_text(AGENT + "# edited\n")
    status, line = reproduce(folder, "--seeds", 3, "--into", made, folder=tmp_path)
    assert status == 2
    assert "was made with another mine.py" in line


def test_the_page_of_a_card_that_is_not_the_kit_s_names_the_file_beside_it(made: Path, folder: Path) -> None:
    """Whatever lies in the working directory."""
    shutil.copytree(made, folder.parent / "elsewhere" / "moved")
    write_report(made)
    assert "python -m rlrepro.reproduce card.toml --seeds 2" in (made / "report.md").read_text()


def test_a_new_card_names_code_from_its_folder(folder: Path, command: Command) -> None:
    assert command("card", "new", "--agent", folder / "mine.py:Mine", "--into", folder / "new.toml").status == 0
    assert 'agent = "mine.py:Mine"' in (folder / "new.toml").read_text()


def test_a_refusal_changes_nothing(folder: Path, made: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in made.rglob("*") if file.is_file() and file.name != ".lock"}
    (folder / "card.toml").write_text(CARD.replace("total_timesteps = 200", "total_timesteps = 300"))
    status, line = reproduce(folder, "--seeds", 2, "--into", made, folder=tmp_path)
    assert status == 2
    assert "total_timesteps = 200, and the card now says 300" in line
    assert {file: file.read_bytes() for file in made.rglob("*") if file.is_file() and file.name != ".lock"} == before


def test_what_is_unfinished_cannot_go_on_elsewhere(made: Path, tmp_path: Path) -> None:
    about = next(made.glob("runs/*/*/run.json"))
    about.write_text(about.read_text().replace('"finished"', '"running"'))
    for file in (made / "results").iterdir():
        file.unlink()
    status, line = reproduce(made, "--seeds", 2, "--into", made, folder=tmp_path)
    assert status == 2
    assert "was begun elsewhere, with " in line


def test_a_path_that_leads_out_of_the_card_s_folder_is_a_fault(folder: Path) -> None:
    text = CARD.replace("mine.py:Mine", "../mine.py:Mine").replace("parts/late", "../late")
    (folder / "card.toml").write_text(text)
    card, faults = read_card(folder / "card.toml")
    assert card is None
    assert [fault.field for fault in faults] == ["environment.pole.wrappers", "implementation.mine.agent"]
    assert all("leads out of the card's folder: lay it beside the card" in fault.text for fault in faults)


def test_results_whose_code_is_another_are_no_bundle(made: Path, tmp_path: Path) -> None:
    file = bundle.pack(made, tmp_path / "mine.rlrepro.zip")
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["mine.py"] += b"# doctored\n"
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["mine.py"] = {
        "sha256": hashlib.sha256(files["mine.py"]).hexdigest(),
        "bytes": len(files["mine.py"]),
    }
    files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(Problem, match=r"is not the mine\.py that the results were made with"):
        bundle.open_bundle(file, tmp_path / "opened", trust=True)
