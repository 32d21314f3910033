"""Where standard output is full, closed or left by its reader, no traceback comes and nothing else is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
LOST = "rlrepro: standard output cannot be written: No space left on device; its rest is lost"
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def rlrepro(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m rlrepro …`, redirected as a shell does it."""
    command = [sys.executable, "-m", "rlrepro", *map(str, arguments)]
    return subprocess.run(["sh", "-c", f'"$@" {redirection}', "sh", *command], capture_output=True, text=True)


@pytest.mark.parametrize("what", [("list", "agents"), ("published", "--env", "CartPole-v1", "--json")])
def test_what_a_full_disk_does_not_take_is_one_line_and_status_1(what: tuple[str, ...]) -> None:
    done = rlrepro("> /dev/full", *what)
    assert (done.returncode, done.stderr.splitlines()) == (1, [LOST])
    assert rlrepro("> /dev/null", *what).returncode == 0


def test_a_problem_keeps_its_status_where_standard_output_is_full_too() -> None:
    done = rlrepro("> /dev/full", "lits")
    assert (done.returncode, done.stderr.splitlines()[0][:40]) == (2, "rlrepro: unknown command 'lits'; did you")


@pytest.mark.parametrize(("redirection", "status", "error"), [("> /dev/full", 1, LOST), (">&-", 0, "")])
def test_a_run_goes_on_to_its_end_without_standard_output(
    redirection: str, status: int, error: str, tmp_path: Path
) -> None:
    train = ("train", "--env", "CartPole-v1", "--agent", "random", "--seeds", 1, "--total-timesteps", 100)
    done = rlrepro(redirection, *train, "--run-dir", tmp_path, "--name", "r")
    assert (done.returncode, done.stderr.strip()) == (status, error)
    assert rlrepro("", "evaluate", tmp_path / "r").returncode == 0, "the run is whole"


def test_standard_output_may_be_closed_from_the_start() -> None:
    done = rlrepro(">&-", "list", "agents")
    assert (done.returncode, done.stderr) == (0, "")
