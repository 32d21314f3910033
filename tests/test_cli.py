"""The command table: every command is there and explains itself."""

from __future__ import annotations

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
