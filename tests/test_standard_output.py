"""Where standard output is full, closed or left by its reader, no traceback comes and nothing else is lost."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlrepro import cli
from rlrepro.errors import Problem, told

LOST = "rlrepro: standard output cannot be written: No space left on device; its rest is lost"
full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
TRAIN = ("train", "--env", "CartPole-v1", "--agent", "random", "--total-timesteps", 100, "--seeds")


def rlrepro(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m rlrepro …`, redirected as a shell does it."""
    command = [sys.executable, "-m", "rlrepro", *map(str, arguments)]
    return subprocess.run(["sh", "-c", f'"$@" {redirection}', "sh", *command], capture_output=True, text=True)


def python(code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program that imports `told` and `os`."""
    whole = f"import os, sys\nfrom rlrepro.errors import told\n{code}"
    command = [sys.executable, *flags, "-c", whole]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@full_disk
@pytest.mark.parametrize("what", [("list", "agents"), ("published", "--env", "CartPole-v1", "--json"), ("--help",)])
def test_what_a_full_disk_does_not_take_is_one_line_and_status_1(what: tuple[str, ...]) -> None:
    done = rlrepro("> /dev/full", *what)
    assert (done.returncode, done.stderr.splitlines()) == (1, [LOST])
    assert rlrepro("> /dev/null", *what).returncode == 0


@full_disk
def test_help_of_a_command_into_a_full_disk_is_one_line_and_status_1() -> None:
    done = rlrepro("> /dev/full", "train", "--help")
    assert (done.returncode, done.stderr.splitlines()) == (1, [LOST])


@full_disk
def test_a_problem_keeps_its_status_where_standard_output_is_full_too() -> None:
    done = rlrepro("> /dev/full", "lits")
    assert (done.returncode, done.stderr.splitlines()[0][:40]) == (2, "rlrepro: unknown command 'lits'; did you")


@pytest.mark.parametrize(
    ("redirection", "seeds", "status", "error"),
    [
        pytest.param("> /dev/full", 1, 1, LOST, marks=full_disk),
        pytest.param("> /dev/full", 2, 1, LOST, marks=full_disk),
        (">&-", 1, 0, ""),
    ],
)
def test_a_run_goes_on_to_its_end_without_standard_output(
    redirection: str, seeds: int, status: int, error: str, tmp_path: Path
) -> None:
    done = rlrepro(redirection, *TRAIN, seeds, "--run-dir", tmp_path, "--name", "r")
    assert (done.returncode, done.stderr.strip()) == (status, error)
    assert cli.main(["evaluate", str(tmp_path / "r")]) == 0, "the run is whole"


@full_disk
def test_a_live_display_may_lose_its_output_on_the_way() -> None:
    """While it is shown, what is written to `sys.stderr` is printed to standard output."""
    done = python(
        "from rich.console import Console\nfrom rich.live import Live\n"
        "def command():\n"
        "    with Live('begun', console=Console(force_terminal=True), auto_refresh=False) as live:\n"
        "        os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "        live.update('lost', refresh=True)\n"
        "    os.write(2, b'done ')\n"
        "    return 0\n"
        "sys.exit(told(command))"
    )
    assert (done.returncode, done.stderr) == (1, f"{LOST}\ndone ")


def test_standard_output_may_be_closed_from_the_start() -> None:
    done = rlrepro(">&-", "list", "agents")
    assert (done.returncode, done.stderr) == (0, "")
    ascii_alone = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    code = "os.close(1); sys.stdout = None\nsys.exit(told(lambda: print(chr(177)) or 0))"
    assert python(code, **ascii_alone).returncode == 0


def test_what_is_printed_unbuffered_comes_at_once() -> None:
    code = "told(lambda: (print('first'), os.write(1, b'second\\n'), 0)[2])"
    assert python(code, "-u").stdout == "first\nsecond\n"
    assert python("print('before'); " + code, PYTHONUNBUFFERED="").stdout == "before\nsecond\nfirst\n", (
        "the one before is kept in order"
    )


def test_a_reader_who_has_left_is_nothing_to_tell_of() -> None:
    code = (
        "reading, writing = os.pipe()\nos.dup2(writing, 1)\nos.close(reading)\n"
        "status = told(lambda: print('x' * 100_000) or 0)\nos.write(2, str(status).encode())"
    )
    assert python(code).stderr == "0"


def test_a_callers_own_stream_is_left_as_it_was(tmp_path: Path) -> None:
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept):
        assert told(lambda: print("±") or 0) == 0
        assert sys.stdout is kept
    encoded = io.TextIOWrapper(io.BytesIO(), "ascii")
    with contextlib.redirect_stdout(encoded):
        assert told(lambda: told(lambda: print("±") or 0)) == 0
        encoded.flush()
    assert encoded.buffer.getvalue() == b"?\n"  # type: ignore[attr-defined]
    with open(tmp_path / "log", "w") as log, contextlib.redirect_stdout(log):
        print("one")
        assert told(lambda: print("two") or 0) == 0
        print("three")
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\n"


@full_disk
def test_a_callers_stream_is_tried_again_by_the_next_command() -> None:
    with open("/dev/full", "w") as log, contextlib.redirect_stdout(log):
        assert [told(lambda: print("lost") or 0) for _ in range(2)] == [1, 1]


def test_what_a_command_raises_leaves_standard_output_as_it_was() -> None:
    def fails() -> int:
        raise ZeroDivisionError

    def refuses() -> int:
        raise Problem("no")

    before = sys.stdout
    with pytest.raises(ZeroDivisionError):
        told(fails)
    assert told(refuses) == 2
    assert sys.stdout is before
