"""Every command and every file of the documentation, run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
# The commands of these take long.
WITH_COMMANDS = [name for name in PAGES if name not in ("agents.md", "calibration.md", "measured.md", "scoreboard.md")]
SHORT = "--total-timesteps 600 --final-eval-episodes 2 --eval-episodes 1 --processes 1"


def blocks(text: str) -> list[tuple[str, str, str]]:
    """(language, title, body) of each fenced block."""
    return re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_work(page: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    ran = 0
    for language, title, body in blocks((DOCS / page).read_text(encoding="utf-8")):
        if title:
            (tmp_path / title).write_text(body)
        elif language == "bash":
            for line in body.splitlines():
                trains = line.startswith("python -m rlrepro.train") and "--help" not in line
                command = f"{line} {SHORT}" if trains else line
                done = subprocess.run(
                    command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
                ran += 1
    assert ran > 0


def test_the_links_between_pages_lead_somewhere() -> None:
    readme = DOCS.parent / "README.md"
    for page in [readme, *(DOCS / name for name in PAGES)]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
