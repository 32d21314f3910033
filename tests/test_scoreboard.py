"""The scoreboard of several reproductions."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_report import CLAIMS, HEAD, like, nasty, ten

from rlrepro.errors import Problem
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.markdown import insert
from rlrepro.papers.pages.scoreboard import BEGIN, END, judged, scoreboard
from rlrepro.papers.stats import acceptance, bound_test, order_test
from rlrepro.papers.stats.power import OpenBy, SeedsNeeded
from rlrepro.papers.units.results import open_reproduction, write_results
from rlrepro.papers.units.unit import claimed, units_of
from rlrepro.papers.verdicts.verdict import Verdict, judge
from tests.conftest import Command

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reproductions and a card that was never run."""
    root = tmp_path_factory.mktemp("checkout")
    like(root / "experiments" / "one", HEAD + CLAIMS, ten)
    like(root / "experiments" / "two (b)", nasty("x = (y_1)"), ten)
    (root / "experiments" / "three").mkdir()
    (root / "experiments" / "three" / "card.toml").write_text(HEAD + CLAIMS)
    return root


def test_a_row_for_each_claim_and_totals(checkout: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(checkout)
    lines = command("scoreboard").out.strip().splitlines()
    assert lines[0] == "| card | claim | environment | reported | measured | reproduced means | verdict |"
    assert lines[14] == ""
    assert lines[2].startswith("| one | equal | CartPole-v1 | 200 ± 6 | ")
    assert lines[2].endswith("(10 seeds) | equal within ± 20 | [✓ reproduced](experiments/one/report.md) |")
    assert "(10 of 10 seeds reach it within 50, 0 outright) | reached by one seed in 20 or more |" in lines[6]
    assert lines[3].endswith("[▼ below](experiments/one/report.md) |")
    assert lines[4].endswith(r"[✓ reproduced](experiments/one/report.md) \* |")
    assert r"x = (y\_1)" in lines[10]
    assert "(experiments/two%20%28b%29/report.md)" in lines[10]
    assert lines[15:] == [
        "12 claims of 2 reproductions: **7 reproduced, 2 below, 2 inconclusive, 1 not run**.",
        "",
        "| *reproduced* means | claims | reproduced by the kit's agents | by a library's (`sb3:`) "
        "| by a card's functions | of these |",
        "| --- | --- | --- | --- | --- | --- |",
        "| equal within a margin | 8 | 3 | 0 | 0 | — |",
        "| reached by one seed in 20 or more | 2 | 2 | 0 | 0 | 2 within the card's tolerance, by seeds of which "
        "too few reach it outright |",
        "| ahead as claimed | 2 | 2 | 0 | 0 | — |",
        "",
        "Of the 2 inconclusive:",
        "",
        "- 2: no number of seeds does: what was published leaves too much open (few seeds, a wide spread or none)",
        "",
        r"\* rests on an assumption.",
        "",
        "Nothing was trained yet for the claims of three (8).",
    ]
    assert "<" not in "".join(lines)
    (checkout / "link").symlink_to("experiments/one")
    twice = command("scoreboard", "experiments/one", "link", f"../{checkout.name}/experiments/one").out
    assert "8 claims of 1 reproduction:" in twice


def test_a_claim_that_was_changed_after_its_results_is_marked(tmp_path: Path, command: Command) -> None:
    folder = like(tmp_path / "one", HEAD + CLAIMS, ten)
    card, results = open_reproduction(folder)
    units = {
        unit.name: dataclasses.replace(results.units[unit.name], claimed=claimed(card, unit))
        for unit in units_of(card, card.claims, card.orders)
        if unit.name in results.units
    }
    write_results(folder / "results", dataclasses.replace(results, units=units))
    assert "†" not in scoreboard(judged([folder]), tmp_path)
    text = (folder / "card.toml").read_text()
    (folder / "card.toml").write_text(text.replace("margin = 20\n", "margin = 30\n", 1))
    lines = scoreboard(judged([folder]), tmp_path).splitlines()
    assert lines[2].endswith("[✓ reproduced](one/report.md) † |")  # as each that has the default margin
    assert sum("† |" in line for line in lines) == 3
    assert [line for line in lines if line.startswith("†")] == [
        "† changed on the card after results for it were kept: 3."
    ]
    told = "; margin was 20 when results for it were first kept"
    assert told.removeprefix("; ") in " ".join(command("report", folder).out.split())
    assert told in (folder / "report.md").read_text()
    assert told in (folder / "report.html").read_text()
    assert json.loads((folder / "verdicts.json").read_text())["verdicts"][0]["changed"] == told.removeprefix("; ")


def test_a_claim_some_of_whose_seeds_came_after_a_look_is_marked(tmp_path: Path) -> None:
    folder = like(tmp_path / "one", HEAD + CLAIMS, ten)
    card, results = open_reproduction(folder)
    assert "‡" not in scoreboard(judged([folder]), tmp_path)
    units = {**results.units, "a-CartPole-v1": dataclasses.replace(results.units["a-CartPole-v1"], added=(8, 9))}
    write_results(folder / "results", dataclasses.replace(results, units=units))
    lines = scoreboard(judged([folder]), tmp_path).splitlines()
    marked = [line.split(" | ")[1] for line in lines if line.endswith(" ‡ |")]
    assert marked
    verdicts = judge(card, open_reproduction(folder)[1]).verdicts
    assert marked == [one.claim.id for one in verdicts if "came after" in one.why]
    told = "‡ seeds came after others were judged, and the test knows of no such look: "
    assert [line for line in lines if line.startswith("‡")] == [f"{told}{len(marked)}."]


def test_a_summary_has_a_row_for_each_reproduction(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(checkout)
    lines = command("scoreboard", "--summary").out.strip().splitlines()
    assert lines[0] == "| reproduction | agents | environments | verdicts |"
    assert lines[4] == ""
    assert lines[2].startswith("| [one](experiments/one/report.md) | ")
    assert "CartPole-v1" in lines[2]
    counts = [
        int(number) for line in lines[2:4] for number in re.findall(r"(\d+) (?:repr|above|below|incon|not)", line)
    ]
    assert sum(counts) == 12
    assert lines[5:] == command("scoreboard").out.strip().splitlines()[15:]


def test_it_says_which_equalities_tell_no_two_agents_apart_and_whose_algorithms_reproduced(
    tmp_path: Path, command: Command
) -> None:
    like(tmp_path / "a", HEAD.replace("best = 500", "best = 210") + CLAIMS, ten)
    like(tmp_path / "b", HEAD + CLAIMS, ten)
    alone = command("scoreboard", tmp_path / "a").out.splitlines()
    (equal,) = [line for line in alone if line.startswith("| equal within a margin | ")]
    of = int(equal.split(" | ")[2])
    (count,) = map(int, re.findall(r"(\d+) any solver's \(the best return known would do too\)", equal))
    assert 0 < count <= of
    assert equal.endswith(": none tells apart two agents that solve the task |") == (count == of)
    both = command("scoreboard", tmp_path / "a", tmp_path / "b").out
    assert f"{count} any solver's" in both
    assert "none tells apart" not in both
    assert re.search(r"^\| equal within a margin \| \d+ \| [1-9]\d* \| 0 \| 0 \| ", both, re.MULTILINE)
    peers = command("scoreboard", EXPERIMENTS / "rl-zoo3-td3").out
    assert "| reached by one seed in 20 or more | 2 | 1 | 1 | 0 | — |" in peers
    functions = command("scoreboard", EXPERIMENTS / "gymnasium-optima").out
    assert "| by the rule of a printed number | 3 | 0 | 0 | 2 | " in functions
    book = load_card(str(EXPERIMENTS / "sutton-barto"))
    agents = {one.id for one in book.claims if one.measurement and book.measurements[one.measurement].agent}
    (judgement,) = judged([EXPERIMENTS / "sutton-barto"]).values()
    met = [one for one in judgement.verdicts if one.word == "reproduced"]
    trained = sum(one.claim.id in agents or bool(getattr(one.claim, "implementation", "")) for one in met)
    assert agents
    assert f" | {trained} | 0 | {len(met) - trained} | " in command("scoreboard", EXPERIMENTS / "sutton-barto").out


Totals = Callable[..., list[str]]


@pytest.fixture
def totals(checkout: Path) -> Totals:
    """The lines below the table, of one reproduction that came out by these verdicts."""
    (one,) = judged([checkout / "experiments" / "one"]).values()

    def made(*verdicts: Verdict, card: Card = one.card) -> list[str]:
        lines = scoreboard({Path("one"): dataclasses.replace(one, card=card, verdicts=verdicts)}, Path()).splitlines()
        return lines[lines.index("") + 1 :]

    return made


def test_a_control_is_counted_once(checkout: Path, totals: Totals) -> None:
    """As an equality or among the others; and an equality that any solver meets too as a control alone."""
    claim = load_card(str(checkout / "experiments" / "one" / "card.toml")).claims[0]
    equal = Verdict(claim, "reproduced", "equivalence", "")
    control, loose = (
        dataclasses.replace(equal, is_control=True, is_loose=True),
        dataclasses.replace(equal, is_loose=True),
    )
    reached = Verdict(claim, "reproduced", "one-sided", "", is_control=True)
    too = "1 control (a random policy's return would do too)"
    solver = "1 any solver's (the best return known would do too)"
    assert totals(equal, control, loose, reached)[4:] == [
        f"| equal within a margin | 3 | 3 | 0 | 0 | {too}; {solver} |",
        f"| reached by one seed in 20 or more | 1 | 1 | 0 | 0 | {too} |",
    ]
    none = ": none tells apart two agents that solve the task |"
    assert totals(control, loose)[-1] == f"| equal within a margin | 2 | 2 | 0 | 0 | {too}; {solver}{none}"
    assert totals(reached)[-1].endswith(f"{too} |")


def test_what_leaves_claims_open_is_counted_once(checkout: Path, totals: Totals) -> None:
    claim = load_card(str(checkout / "experiments" / "one" / "card.toml")).claims[0]

    def left(open_by: OpenBy, **more: Any) -> Verdict:
        return Verdict(
            claim, "inconclusive", "equivalence", "", seeds_needed=SeedsNeeded(None, 0.5, "", open_by), **more
        )

    early = [left("paper", is_early=True)] * 3
    alone = [left("correction", alone="reproduced"), left("guards", alone="above")]
    others = [left("correction"), left("paper"), left("guards"), left("guards"), left("")]
    more = Verdict(claim, "inconclusive", "equivalence", "", seeds_needed=SeedsNeeded(34, 0.8, ""))
    agent = Verdict(claim, "inconclusive", "one-sided", "", test=acceptance([1.0] * 10, 2.0))
    bound = Verdict(claim, "inconclusive", "at least", "", test=bound_test([1.0, 2.0] * 5, 1.5, "at least", 1.0))
    none = Verdict(claim, "inconclusive", "at least", "no numbers are to be compared")
    lost = [dataclasses.replace(one, is_lacking=True) for one in (more, agent, bound, none)]
    order = Verdict(claim, "inconclusive", "order", "", test=order_test([[1.0, 2.0]], [[1.0, 2.0]], 1))
    assert totals(*early, *alone, *others, more, more, agent, bound, none, *lost, order) == [
        "20 claims of 1 reproduction: **20 inconclusive**.",
        "",
        "Of the 20 inconclusive:",
        "",
        "- 4: seeds that were run have no score",
        "- 3: fewer than 10 seeds were run yet",
        "- 2: more seeds would decide it",
        "- 2: decided by these seeds, but for the correction for the card's other claims",
        "- 1: more seeds would decide it, but for that correction",
        "- 1: no number of seeds does: what was published leaves too much open (few seeds, a wide spread or none)",
        "- 2: none does by the guards of the test, by which a small spread counts for more",
        "- 1: shown neither that enough seeds reach the published agent, nor that too few do",
        "- 1: shown neither that a bound is kept, nor that it is not",
        "- 1: shown neither that an order holds, nor that it does not",
        "- 2: something else, which the verdict says",
    ]


def test_an_order_is_a_library_s_where_both_its_sides_are(checkout: Path, totals: Totals) -> None:
    card = load_card(str(checkout / "experiments" / "one" / "card.toml"))
    verdicts = [Verdict(one, "reproduced", "order", "") for one in card.orders]
    for peers, counted in ((("a",), "1 | 0"), (("a", "b"), "0 | 1")):
        agents = {
            name: dataclasses.replace(one, agent="sb3:ppo") if name in peers else one
            for name, one in card.implementations.items()
        }
        own = dataclasses.replace(card, implementations=agents)
        assert f"| ahead as claimed | 1 | {counted} | 0 | — |" in totals(*verdicts, card=own)


def test_a_claim_that_was_not_run_has_nothing_to_keep_of_what_was_claimed(checkout: Path, totals: Totals) -> None:
    claim = load_card(str(checkout / "experiments" / "one" / "card.toml")).claims[0]
    changed = Verdict(claim, "below", "equivalence", "", changed="margin was 5", is_held=True)
    waits = Verdict(claim, "not run", "equivalence", "")
    older = Verdict(claim, "below", "equivalence", "")
    told = "† changed on the card after results for it were kept: 1"
    assert totals(changed, waits)[-1] == f"{told}."
    assert totals(changed, older)[-1] == f"{told}, of 1 whose results keep what was claimed."


def test_of_numbers_of_which_less_is_better_it_is_said_which_are_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    said = "Above and below are higher and lower: of numbers of which less is better, 1 "
    for reported, word in (("400.5", "below better"), ("100.5", "above worse")):
        claims = CLAIMS.replace('id = "lower"\n', 'id = "lower"\nless_is_better = true\n').replace("400.5", reported)
        like(tmp_path / "experiments" / word, HEAD + claims, ten)
        folder = Path("experiments", word)
        assert f"{said}{word}." in command("scoreboard", folder).out.splitlines()
        assert command("report", folder).status == 0
        assert "higher than the paper&#39;s number" in (folder / "report.html").read_text()
    claims = CLAIMS.replace('id = "agent"\n', 'id = "agent"\nless_is_better = true\n')
    Path("card.toml").write_text(HEAD + claims)
    assert "less_is_better: is of a mean over seeds" in command("card", "check", "card.toml").out


def test_a_file_is_written_between_its_markers(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "docs" / "README.md"
    file.parent.mkdir()
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    folder = checkout / "experiments" / "one"
    assert "written" in command("scoreboard", folder, "--write", file).out
    text = file.read_text()
    assert text == f"before\n{BEGIN}\n{scoreboard(judged([folder]), file.parent)}\n{END}\nafter\n"
    assert "old" not in text
    assert "up to date" in command("scoreboard", folder, "--write", file).out
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_file_without_its_markers_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)
    with pytest.raises(Problem, match="needs a line"):
        insert(tmp_path / "a.md", "new", BEGIN, END)
    assert (tmp_path / "a.md").read_text() == text


def test_nothing_to_show_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no folder of experiments/ has results" in command("scoreboard").problem
    assert "has no card.toml" in command("scoreboard", tmp_path).problem
    with pytest.raises(Problem, match="No such file"):
        insert(tmp_path / "no.md", "new", BEGIN, END)
