"""The reproductions that come with the kit: every card without faults, every page made of its committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlrepro.papers.book.published import load_book
from rlrepro.papers.cards.measurements import find_measurement
from rlrepro.papers.cards.reader import load_card, read_card
from rlrepro.papers.pages import figures
from rlrepro.papers.pages.report import write_report
from rlrepro.papers.pages.scoreboard import BEGIN, END, scoreboard
from rlrepro.papers.units.results import open_reproduction, read_results
from rlrepro.papers.units.unit import check_unit, settings_of, units_of
from rlrepro.papers.verdicts.verdict import Judgement, judge

ROOT = Path(__file__).resolve().parent.parent
CARDS = sorted(path.parent for path in (ROOT / "experiments").glob("*/card.toml"))
NOT_IN_THE_BOOK = {"minatar-breakout": "0.5"}  #: what the README of MinAtar prints
DONE = [folder for folder in CARDS if (folder / "results").is_dir()]
JUDGED: dict[Path, Judgement] = {}  #: by one test for another, as it takes a second


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_the_card_has_no_fault_and_can_run(folder: Path) -> None:
    card, faults = read_card(folder / "card.toml")
    assert faults == []
    assert card is not None
    for unit in units_of(card, card.claims, card.orders):
        check_unit(card, unit)
        assert unit.is_measured or settings_of(card, unit, (0, 1)).seeds == (0, 1)


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_its_numbers_are_those_of_the_book(folder: Path) -> None:
    book = load_book()
    card = load_card(str(folder))
    for claim in card.claims:
        if folder.name in NOT_IN_THE_BOOK:
            assert (str(claim.reported), claim.published) == (NOT_IN_THE_BOOK[folder.name], "")
            assert "README" in claim.where
            continue
        row = book.get(claim.published)
        assert (claim.reported, claim.seeds) == (row.mean, row.seeds), claim.id
        assert claim.per_seed in ((), row.per_seed), claim.id
        if claim.spread_kind != "none":
            assert (claim.spread, claim.spread_kind) == (row.spread, row.spread_kind), claim.id
        assert card.environments[claim.environments[0]].paper == row.env, claim.id
        assert claim.values == () or claim.reported in claim.values
        if not claim.measurement:
            hyperparameters = card.implementations[claim.implementation].hyperparameters
            assert hyperparameters["total_timesteps"].value >= (row.steps or 0)


@pytest.mark.parametrize("folder", DONE, ids=lambda folder: folder.name)
def test_its_pages_are_made_of_its_results(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = folder.name == "cleanrl-ppo"
    if not drawn:  # figures take most of the time
        monkeypatch.setattr(figures, "draw", lambda *_: figures.Drawing(b"<svg></svg>", b""))
    JUDGED[folder] = write_report(folder, into=tmp_path)
    for name in ("report.md", "verdicts.json", "badge.svg", *(("report.html",) if drawn else ())):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), f"{name}: make pages"


@pytest.mark.parametrize("folder", DONE, ids=lambda folder: folder.name)
def test_what_its_results_tell_of_where_they_were_made(folder: Path) -> None:
    units = read_results(folder / "results").units
    for name, unit in units.items():
        function = unit.settings.get("function")
        planned = {*unit.seeds, *unit.planned}  # no verdict falls before all have run
        assert len(planned) >= 10 or (function and not find_measurement(function).takes_seeds), name
        for run in unit.runs:
            assert run["command"].startswith("python -m rlrepro.reproduce ")
            assert {"started", "versions", "git", "hardware"} <= set(run)
            assert not re.search(r"(^|\s|=)/", run["command"]), "a path of some machine"
    assert all(not h.stopped for unit in units.values() for h in unit.histories)


def test_the_scoreboards_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    judgements = {Path("experiments") / one.name: JUDGED.get(one) or judge(*open_reproduction(one)) for one in DONE}
    idle = [file.parent for file in sorted(Path("experiments").glob("*/card.toml")) if file.parent not in judgements]
    for page, summary in ((Path("README.md"), True), (Path("docs/scoreboard.md"), False)):
        text = page.read_text(encoding="utf-8")
        shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
        assert shown == scoreboard(judgements, page.parent, summary, idle).strip(), f"{page}: make pages"
