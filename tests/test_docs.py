"""Every command in a ```bash block of docs/ and every file there, run as a reader would.

Left out are the pages of `LONG`, and what is indented: it takes what only a reader has, or hours.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.stats

from rlrepro.papers.stats import ClaimTest
from rlrepro.papers.units.results import open_reproduction
from rlrepro.papers.verdicts.verdict import judge
from tests.conftest import in_a_fork

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
# The commands of these take long.
LONG = ("agents.md", "calibration.md", "measured.md", "scoreboard.md", "speed.md")
WITH_COMMANDS = [name for name in PAGES if name not in LONG]
SHORT = (
    "--total-timesteps 300 --eval-every 150 --final-eval-episodes 2 --eval-episodes 1 --checkpoint-every 150 "
    "--processes 1"
)
ONE_SEED = ("--agent sb3:", "--agent cem.py:", "rlrepro probe ")  # of these each seed costs seconds


def blocks(text: str) -> list[tuple[str, str, str]]:
    """(language, title, body) of each fenced block."""
    return re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


def run(line: str, folder: Path) -> tuple[int, str]:
    """A command of a page: its exit status, and what it printed."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    words = shlex.split(line, comments=True)
    if words[:2] == ["python", "-m"] and words[2].startswith("rlrepro."):
        words = ["rlrepro", words[2].removeprefix("rlrepro."), *words[3:]]
    if words[0] == "rlrepro" and ">" not in words:
        return in_a_fork(words[1:], folder, environment)
    done = subprocess.run(
        line, shell=True, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_work(page: str, tmp_path: Path) -> None:
    ran = 0
    for language, title, body in blocks((DOCS / page).read_text(encoding="utf-8")):
        if title:
            (tmp_path / title).write_text(body)
        elif language == "bash":
            for line in body.splitlines():
                trains = line.startswith("python -m rlrepro.train") and "--help" not in line
                evaluates = line.startswith("rlrepro evaluate") and "--episodes" not in line
                few = "" if re.search("--(seeds?|settings|name) ", line) else " --seeds 2"
                command = f"{line} {SHORT}{few}" if trains else f"{line} --episodes 5" if evaluates else line
                if "--help" not in line and any(words in line for words in ONE_SEED):
                    command += " --seeds 1"
                status, printed = run(command, tmp_path)
                assert status == 0, f"{command}\n{printed}"
                ran += 1
    assert ran > 0


def test_the_links_between_pages_lead_somewhere() -> None:
    readme = DOCS.parent / "README.md"
    for page in [readme, readme.parent / "CONTRIBUTING.md", *(DOCS / name for name in PAGES)]:
        for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                there = page.parent / target if target else page
                assert there.exists(), f"{page.name}: {target}"
                assert not section or section in sections(there), f"{page.name}: {target}#{section}"


def sections(page: Path) -> set[str]:
    """What links call the sections of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_statistics_worked_by_hand_are_those_of_the_verdict() -> None:
    """Step by step, from the seeds of a reproduction that comes with the kit."""
    judgement = judge(*open_reproduction(DOCS.parent / "experiments" / "cleanrl-ppo"))
    verdict = judgement.verdicts[0]
    test, decision, score = verdict.test, verdict.decision, verdict.score
    assert isinstance(test, ClaimTest)
    assert test.measured_sd is not None
    assert decision is not None
    assert score is not None
    theirs = 6.12 * math.sqrt(3 / 2)
    lent = 4 * (test.measured_sd**2 - theirs**2)
    of_ours, of_theirs = test.measured_sd**2 / 10 + lent / 3, theirs**2 / 3
    seen = of_ours + of_theirs
    whole = seen + 24**2 * (1 / 10 + 1 / 3)
    of_seen = seen**2 / (of_ours**2 / 9 + of_theirs**2 / 2)
    df = of_seen * (whole / seen) ** 2
    quantile, p = float(scipy.stats.t.ppf(0.95, df)), float(scipy.stats.t.sf((48 - test.difference) / whole**0.5, df))
    assert test.se == pytest.approx(math.sqrt(whole), rel=1e-9)
    assert test.df == pytest.approx(df, rel=1e-9)
    assert test.high_90 == pytest.approx(test.difference + quantile * test.se, rel=1e-9)
    assert test.p_equivalence == pytest.approx(p, rel=1e-9)
    smallest, next_one, largest = sorted(one.test.p_equivalence for one in judgement.verdicts)
    assert largest == test.p_equivalence
    assert decision.p_equivalence == max(3 * smallest, 2 * next_one, largest)
    texts = [
        f"x̄ = {score.mean:.2f} and s = {test.measured_sd:.3f}", f"6.12 √(3/2) = {theirs:.3f}; δ = {test.margin:.0f}",
        f"{score.mean:.3f} − 490.04", f"= {test.difference:.3f}\n", f"= {lent:.2f} ", f"= {of_ours:.2f} ",
        f"= {of_theirs:.2f} ", f"= {seen:.2f}\n", f"= {whole:.1f} ", f"= {test.se:.2f}\n", f"= {of_seen:.3f} ",
        f"{of_seen:.3f} ({whole:.1f} / {seen:.2f})²                 = {test.df:.0f} ",
        f"± {quantile:.3f} · {test.se:.2f}", f"[{test.low_90:.1f}, {test.high_90:.1f}]".replace("-", "−"),
        f"P(t₄₀₁ > (48 − {test.difference:.3f}) / {test.se:.2f})         = {p:.4f}\n",
        f"p = {smallest:.5f} and {next_one:.5f}", f"3 · {smallest:.5f} = {3 * smallest:.5f}",
        f"{next_one:.5f} = {2 * next_one:.5f}",
        f"no less than that: {decision.p_equivalence:.4f}.",
    ]  # fmt: skip
    page = (DOCS / "statistics.md").read_text(encoding="utf-8").partition("### By hand")[2]
    for text in texts:
        assert text in page, text


def test_what_there_is_to_build_with_is_there() -> None:
    text = (DOCS / "write-an-agent.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`rlrepro\..*?) \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 5
    for places, names in rows:
        modules = [importlib.import_module(name) for name in re.findall(r"`([\w.]+)`", places)]
        for name in re.findall(r"`(\w+)`", names):
            assert any(hasattr(module, name) for module in modules), name
