"""The command table: every command is there and explains itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlrepro.cli import COMMANDS
from tests.conftest import Command


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rlrepro.cli import main

    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_help_names_every_command(command: Command) -> None:
    out = command("--help").out
    assert all(f"  {name} " in out for name in COMMANDS)


def test_a_command_that_is_not_there(command: Command) -> None:
    assert "did you mean 'reproduce'?" in command("reproduc").problem


def test_the_script_finds_modules_of_the_working_folder_as_python_m_does(tmp_path: Path) -> None:
    (tmp_path / "walk.py").write_text("from gymnasium.envs.classic_control import CartPoleEnv as Walk\n")
    (tmp_path / "numpy.py").write_text("raise RuntimeError('in place of the installed one')\n")
    script = Path(sys.executable).with_name("rlrepro")
    run = [script, "train", "--env", "walk:Walk", "--agent", "random", "--total-timesteps", "20", "--name", "w"]

    def status(*command: str | Path, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert status(*run, "--seeds", "2", "--processes", "2") == (0, "")
    assert status(script, "evaluate", "runs/w", "--episodes", "1") == (0, "")
    code, said = status(*run, "--seed", "0", PYTHONSAFEPATH="1")
    assert (code, "there is no module 'walk'" in said) == (2, True)


def test_a_terminal_that_has_no_plus_minus_is_no_error() -> None:
    script = Path(sys.executable).with_name("rlrepro")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [script, "published", "--env", "CartPole-v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "481.2 ? 20.53" in done.stdout
