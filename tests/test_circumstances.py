"""What is said of the code that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rlrepro import circumstances

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, which holds the code that runs."""
    package = tmp_path / "rlrepro"
    package.mkdir()
    (package / "loop.py").write_text("train = 1\n")
    monkeypatch.setattr(circumstances, "__file__", str(package / "circumstances.py"))
    monkeypatch.setattr(circumstances, "_git", circumstances._git.__wrapped__)  # type: ignore[attr-defined]
    who = "-c", "user.name=n", "-c", "user.email=e"
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_changes_are_those_since_the_commit(checkout: Path) -> None:
    assert circumstances.uncommitted_changes() == b""
    said = circumstances.circumstances(["train"])["git"]
    assert (len(said["commit"]), said["changed"]) == (40, False)
    (checkout / "rlrepro" / "loop.py").write_text("train = 2\n")
    assert b"+train = 2" in circumstances.uncommitted_changes()
    assert circumstances.circumstances(["train"])["git"]["changed"]
    subprocess.run(["git", "-C", str(checkout), "add", "."], check=True)
    assert b"+train = 2" in circumstances.uncommitted_changes()


def test_before_the_first_commit_there_is_none(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    subprocess.run(["git", "-C", str(checkout), "init", "-q"], check=True)
    assert circumstances.circumstances(["train"])["git"]["commit"] is None


def test_new_files_of_the_kit_are_named(checkout: Path) -> None:
    (checkout / "rlrepro" / "plugins").mkdir()
    (checkout / "rlrepro" / "plugins" / "mine.py").write_text("")
    (checkout / "notes.txt").write_text("")
    said = circumstances.circumstances(["train"])["git"]
    assert (said["changed"], said["new"]) == (True, ["rlrepro/plugins/mine.py"])


def test_files_as_new_as_the_index_are_read_once(checkout: Path) -> None:
    """As all of them are after a clone, and git cannot tell by their times that nobody has written since."""
    file, index = checkout / "rlrepro" / "loop.py", checkout / ".git" / "index"
    os.utime(index, ns=(file.stat().st_mtime_ns, file.stat().st_mtime_ns))
    assert circumstances.uncommitted_changes() == b""
    assert index.stat().st_mtime_ns > file.stat().st_mtime_ns


def test_without_a_checkout_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circumstances, "__file__", str(tmp_path / "rlrepro" / "circumstances.py"))
    monkeypatch.setattr(circumstances, "_git", circumstances._git.__wrapped__)  # type: ignore[attr-defined]
    assert circumstances.uncommitted_changes() == b""
    assert circumstances.circumstances(["train"])["git"] == {"commit": None, "changed": False}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu fma avx2\n\nmodel name\t: another\nflags\t: avx512f\n",
         {"cpu": "AMD EPYC", "instructions": "avx2 fma"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", {"cpu": "x", "instructions": "asimd"}),
        ("", {"cpu": "x"}),
    ],
    ids=["x86", "Arm", "untold"],
)  # fmt: skip
def test_a_processor_is_told_by_its_name_and_its_vector_instructions(
    told: str, found: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(circumstances, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.processor", lambda: "x")
    monkeypatch.setattr(circumstances, "_git", lambda *arguments: b"")
    hardware = circumstances.circumstances(["train"])["hardware"]
    assert {name: hardware[name] for name in ("cpu", "instructions") if name in hardware} == found
