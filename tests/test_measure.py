"""What functions measure: cards that name them, results that are kept, verdicts of printed numbers, each by hand."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rlrepro.errors import Problem
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.measurements import MeasurementSource, call, find_measurement
from rlrepro.papers.cards.reader import load_card, read_card
from rlrepro.papers.pages.report import write_report
from rlrepro.papers.pages.rows import commands
from rlrepro.papers.pages.scoreboard import judged, scoreboard
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.reproduce.reproduction import Reproduction
from rlrepro.papers.reproduce.reproduction import main as reproduce
from rlrepro.papers.scoring import History, score
from rlrepro.papers.sharing import bundle, verify
from rlrepro.papers.units.results import Results, read_results, write_results
from rlrepro.papers.units.unit import choose, seeds_of, units_of
from rlrepro.papers.verdicts.verdict import Verdict, judge
from tests.conftest import Command

FUNCTIONS = """
from pathlib import Path
CALLS = Path(__file__).with_suffix(".calls")

def tell(text):
    with CALLS.open("a") as file:
        print(text, file=file)

def draws(seeds, env, level: float, breaks: int):
    import numpy as np
    tell(f"draws {len(seeds)} from {seeds[0]}")
    if breaks in seeds:
        raise ValueError("no more")
    return np.array([level + np.random.default_rng(seed).normal() for seed in seeds])

def three(env, gamma: float):
    tell("three")
    return [gamma * n for n in (1, 2, 3)]

def one():
    tell("one")
    return 0.5858

def pair(seeds):
    return [[0.0, 1.0] for _ in seeds]

NUMBER = 3

def greedy(*things):
    return 0.0
"""
HEAD = """
format = 1
[paper]
title = "Printed numbers"
authors = "Nobody"
year = 2024
url = "https://example.org"
[environment.pole]
paper = "CartPole-v1"
[measurement.drawn]
function = "{file}:draws"
what = "Numbers that are drawn"
seeds = 40
hyperparameters."paper: Table 3" = {{ level = 5.0 }}
hyperparameters."ours: none" = {{ breaks = -1 }}
[measurement.asked]
like = "drawn"
what = "As many as are asked for"
[measurement.three]
function = "{file}:three"
what = "Three at once"
hyperparameters."paper: Table 3" = {{ gamma = 0.1 }}
[measurement.one]
function = "{file}:one"
what = "The best probability"
[claim_defaults]
environment = "pole"
where = "the text"
"""
CLAIMS = """
[[claim]]
id = "about"
measurement = "drawn"
rule = "about"
reported = 5.0
margin = 1.0
margin_why = "a whole one"
[[claim]]
id = "bound"
measurement = "drawn"
rule = "at most"
reported = 8.0
[[claim]]
id = "three"
measurement = "three"
rule = "exact"
reported = 0.1
values = [0.1, 0.2, 0.3]
[[claim]]
id = "one"
measurement = "one"
rule = "exact"
reported = 0.59
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    file = tmp_path / "numbers.py"
    file.write_text(FUNCTIONS, encoding="utf-8")
    return file


def card_text(functions: Path, claims: str = CLAIMS) -> str:
    return HEAD.format(file=functions) + claims


def card_of(functions: Path, claims: str = CLAIMS, **edits: str) -> Card:
    text = card_text(functions, claims)
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    file = functions.with_name("printed.toml")
    file.write_text(text, encoding="utf-8")
    return load_card(str(file))


def run(card: Card, folder: Path, seeds: int = 12, *claims: str) -> list[str]:
    one = Reproduction(folder, card, 1.0, ["python", "-m", "rlrepro.reproduce", "x"], 1)
    return one.run(units_of(card, *choose(card, claims)), tuple(range(seeds)))


def calls(functions: Path) -> list[str]:
    file = functions.with_suffix(".calls")
    return file.read_text().splitlines() if file.exists() else []


def verdicts(card: Card, folder: Path) -> dict[str, Verdict]:
    return {v.claim.id: v for v in judge(card, read_results(folder / "results")).verdicts}


# --- cards

FAULTS = {
    "an unknown function": (
        ':draws"',
        ':drows"',
        "measurement.drawn.function",
        "has no 'drows'; did you mean 'draws'?",
    ),
    "an unknown name": ('function = "{file}:one"', 'function = "best_arn"', "measurement.one.function", "'best_arm'?"),
    "a file that is not there": ("{file}:one", "nowhere.py:one", "measurement.one.function", "there is no file"),
    "a module that is not there": (
        "{file}:one",
        "nowhere.at:all",
        "measurement.one.function",
        "no module 'nowhere.at'",
    ),
    "no function": ("{file}:one", "{file}:NUMBER", "measurement.one.function", "is a int, not a function"),
    "a function of anything": ("{file}:one", "{file}:greedy", "measurement.one.function", "must name each"),
    "no words": ('what = "Three at once"\n', "", "measurement.three.what", "is missing"),
    "a hyperparameter too many": ("gamma = 0.1", "gamma = 0.1, gama = 1.0", "gama", "did you mean 'gamma'?"),
    "a hyperparameter too few": ("gamma = 0.1", "", "measurement.three.hyperparameters", "also needs gamma"),
    "a value of another kind": ("gamma = 0.1", 'gamma = "0.1"', "gamma", "'0.1' is no float"),
    "no source": (
        'hyperparameters."paper: Table 3" = {{ gamma',
        'hyperparameters."Table 3" = {{ gamma',
        "Table 3",
        "no source",
    ),
    "seeds of what is computed": (
        'what = "The best',
        'seeds = 9\nwhat = "The best',
        "measurement.one.seeds",
        "takes no seeds",
    ),
    "an unknown measurement": (
        'measurement = "one"',
        'measurement = "ane"',
        "claim[4].measurement",
        "did you mean 'one'?",
    ),
    "an agent beside it": (
        'measurement = "one"',
        'measurement = "one"\nprotocol = "p"',
        "claim[4].protocol",
        "one of the two",
    ),
    "no rule": ('rule = "exact"\nreported = 0.59', "reported = 0.59", "claim[4].rule", "is missing"),
    "an unknown rule": (
        'rule = "exact"\nreported = 0.59',
        'rule = "exakt"\nreported = 0.59',
        "claim[4].rule",
        "'exact'?",
    ),
    "exact over seeds": ('rule = "about"', 'rule = "exact"', "claim[1].rule", "over seeds nothing is"),
    "a margin of a bound": ("reported = 8.0", "reported = 8.0\nmargin = 1.0", "claim[2].margin", "a bound has none"),
    "several over seeds": (
        "reported = 8.0",
        "reported = 8.0\nvalues = [8.0]",
        "claim[2].values",
        "what a function computes",
    ),
    "one that is not among them": ("values = [0.1, ", "values = [0.4, ", "claim[3].values", "should hold 0.1"),
    "a margin without a reason": ('margin_why = "a whole one"\n', "", "claim[1].margin_why", "why that margin"),
    "about numbers of several sizes": (
        'rule = "exact"\nreported = 0.1',
        'rule = "about"\nreported = 0.1',
        "claim[3].margin",
        "of several sizes",
    ),
    "about nothing": (
        'reported = 5.0\nmargin = 1.0\nmargin_why = "a whole one"',
        "reported = 0.0",
        "claim[1].margin",
        "about 0",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_line_at_its_line(what: str, functions: Path, command: Command) -> None:
    old, new, field, text = FAULTS[what]
    file = functions.with_name("printed.toml")
    source = HEAD + CLAIMS.replace("{", "{{").replace("}", "}}")
    assert source.count(old) >= 1
    file.write_text(source.replace(old, new, 1).format(file=functions), encoding="utf-8")
    card, faults = read_card(file)
    assert card is None
    fault = next(one for one in faults if field in one.field)
    assert len(faults) == 1 + (what == "an unknown function")  # another measurement is like it
    assert text in fault.text, fault
    assert "\n" not in str(fault)
    table = field.split(".")[0]
    line = file.read_text().splitlines()[fault.line - 1]
    assert line.strip(), table
    outcome = command("card", "check", file)
    assert outcome.status == 1
    assert str(fault) in outcome.out


def test_margins_that_come_with_a_rule(functions: Path) -> None:
    claims = {c.id: c for c in card_of(functions).claims}
    assert claims["three"].margin == pytest.approx(0.05)
    assert claims["one"].margin == pytest.approx(0.005)
    text = CLAIMS.replace('margin = 1.0\nmargin_why = "a whole one"\n', "")
    assert card_of(functions, text).claims[0].margin == pytest.approx(0.25)
    zero_dropped = CLAIMS.replace('rule = "exact"\nreported = 0.1', 'rule = "exact"\nmargin = 0.005\nreported = 0.1', 1)
    three = {c.id: c for c in card_of(functions, zero_dropped).claims}["three"]
    assert (three.margin, three.margin_why) == (0.005, "half a unit of the last printed digit")


@pytest.mark.parametrize("given", [1 + 2j, [1.0, 2j], "1.5", ["1", "2"], None, {"value": 1.0}, [1.0, [2.0]]])
def test_only_real_numbers_are_taken(given: object) -> None:
    source = MeasurementSource("mine", lambda: given, {}, takes_seeds=False, takes_env=False)
    with pytest.raises(Problem, match="not real numbers"):
        call(source, {}, (0,))


@pytest.mark.parametrize("given", [3, True, [0.5, 2], np.float32(3), Fraction(7, 2), [Decimal("0.5")]])
def test_every_kind_of_real_number_is_taken(given: Any) -> None:
    source = MeasurementSource("mine", lambda: given, {}, takes_seeds=False, takes_env=False)
    assert call(source, {}, (0,)).tolist() == [[float(x) for x in np.atleast_1d(given)]]


def test_installed_functions_are_found_by_name() -> None:
    source = find_measurement("corridor_value")
    assert (source.takes_env, source.takes_seeds, dict(source.parameters)) == (True, False, {"p_right": "float"})
    assert find_measurement("left_excess").takes_seeds


# --- rules


@pytest.mark.parametrize(
    ("rule", "measured", "printed", "margin", "word"),
    [
        ("exact", 0.5858, 0.59, 0.005, "reproduced"),
        ("exact", 0.5951, 0.59, 0.005, "above"),
        ("exact", 0.585, 0.59, 0.005, "reproduced"),  # rounds half up
        ("exact", 7.93, 8.46, 0.005, "below"),
        ("exact", -11.657, -11.6, 0.05, "below"),  # rounds to −11.7
        ("exact", 3.1415926510, 3.1415926536, 5e-11, "below"),
        ("exact", 2_000_000_001.9, 2_000_000_000.0, 0.5, "above"),
        ("exact", 0.1 + 0.2, 0.3, 5e-17, "reproduced"),  # the arithmetic's own rounding
        ("about", -11.657, -11.6, 0.58, "reproduced"),
        ("about", 1786.0, 1700.0, 85.0, "above"),
        ("at most", -44.2, -44.0, 0.5, "reproduced"),
        ("at most", -44.0, -44.0, 0.5, "reproduced"),
        ("at most", -43.9, -44.0, 0.5, "above"),  # a bound has no margin
        ("at least", 15.0, 15.0, 0.5, "reproduced"),
        ("at least", 14.9, 15.0, 0.5, "below"),
    ],
)
def test_computed_numbers_are_compared(rule: str, measured: float, printed: float, margin: float, word: str) -> None:
    assert stats.ComputedTest((measured,), (printed,), margin, rule).verdict == word


def test_of_several_numbers_each_must_be_as_printed() -> None:
    test = stats.ComputedTest((0.14, 0.2, 0.36), (0.1, 0.2, 0.3), 0.05, "exact")
    assert (test.outside, test.worst, test.verdict) == ((2,), 2, "above")
    assert stats.ComputedTest((0.14, 0.2, 0.34), (0.1, 0.2, 0.3), 0.05, "exact").verdict == "reproduced"
    assert stats.ComputedTest((0.14, math.nan, 0.3), (0.1, 0.2, 0.3), 0.05, "exact").outside == (1,)


def test_a_band_by_hand() -> None:
    x = np.array([4.0, 5.0, 6.0, 5.5, 4.5, 5.2, 4.8, 5.1, 4.9, 5.3, 4.7, 5.4])
    n, margin = len(x), 0.8
    se = math.sqrt((x.var(ddof=1) + (0.5 * margin) ** 2) / n)
    test = stats.band_test(x, 5.2, margin)
    d = x.mean() - 5.2
    assert test.p_equivalence == pytest.approx(scipy_stats.t.cdf((abs(d) - margin) / se, n - 1), rel=1e-9)
    assert test.p_difference == 1.0  # it lies beyond neither end
    assert stats.decide([test])[0].verdict == "reproduced"
    assert stats.decide([stats.band_test(x, 7.0, margin)])[0].verdict == "below"
    assert stats.decide([stats.band_test(x + 5, 7.0, margin)])[0].verdict == "above"
    assert stats.decide([stats.band_test(x, 5.9, margin)])[0].verdict == "inconclusive"  # in the band, not shown to be
    beyond = (x.mean() - (7.0 - margin)) / se  # of its lower end; both ends are counted
    found = stats.band_test(x, 7.0, margin)
    assert found.p_difference == pytest.approx(2 * scipy_stats.t.cdf(beyond, n - 1), rel=1e-9)
    assert found.p_below == pytest.approx(found.p_difference / 2)
    assert found.p_above > 0.999
    assert stats.decide([stats.band_test(x, 5.2, 0.3)])[0].verdict == "inconclusive"
    assert stats.decide([stats.band_test(x[:9], 5.0, margin)])[0].verdict == "inconclusive"  # nine seeds


def test_a_band_is_calibrated_at_its_edge() -> None:
    """Where the truth lies on the edge of the band, it is called reproduced in one of twenty cases at most."""
    generator = np.random.default_rng(7)
    edge = [stats.band_test(generator.normal(6.0, 2.0, 30), 5.0, 1.0) for _ in range(2000)]
    assert np.mean([test.p_equivalence <= 0.05 for test in edge]) <= 0.065
    truth = [stats.band_test(generator.normal(5.0, 2.0, 30), 5.0, 1.0) for _ in range(2000)]
    assert np.mean([test.p_difference <= 0.05 for test in truth]) <= 0.065


def test_a_bound_by_hand() -> None:
    x = np.linspace(0.7, 0.9, 20)
    se = math.sqrt((x.var(ddof=1) + 0.0025**2) / 20)
    test = stats.bound_test(x, 0.91, "at most", 0.005)
    assert test.p_equivalence == pytest.approx(scipy_stats.t.cdf((0.8 - 0.91) / se, 19), rel=1e-9)
    assert stats.decide([test])[0].verdict == "reproduced"
    assert stats.decide([stats.bound_test(x, 0.7, "at most", 0.005)])[0].verdict == "above"
    assert stats.decide([stats.bound_test(x, 0.7, "at least", 0.005)])[0].verdict == "reproduced"
    assert stats.decide([stats.bound_test(x, 0.9, "at least", 0.005)])[0].verdict == "below"
    assert stats.decide([stats.bound_test(x, 0.8, "at most", 0.005)])[0].verdict == "inconclusive"


def test_lengths_are_told_by_where_episodes_end() -> None:
    ends = np.array([[30.0, 1.0], [47.0, 1.0], [62.0, 1.0]])
    history = History(0, ends, np.empty((0, 2)), np.empty(0), 70)
    protocol = Protocol.from_table({"returns": "training", "of": "length", "after_step": 30})
    assert score(protocol, [history]).per_seed == {0: 16.0}
    assert score(Protocol("training"), [history]).per_seed == {0: 1.0}
    assert "episode length in steps" in protocol.describe()
    with pytest.raises(Problem, match="training episodes"):
        Protocol.from_table({"returns": "evaluation", "of": "length"})


# --- results


def test_what_is_measured_is_kept_and_judged(functions: Path, tmp_path: Path) -> None:
    card = card_of(functions)
    assert run(card, tmp_path / "out") == []
    found = verdicts(card, tmp_path / "out")
    assert {name: v.word for name, v in found.items()} == dict.fromkeys(
        ("about", "bound", "three", "one"), "reproduced"
    )
    expected = [5 + np.random.default_rng(seed).normal() for seed in range(40)]
    assert found["about"].score is not None
    assert found["about"].score.values.tolist() == expected  # to the last bit, through the file
    family = [found[name].test.p_equivalence for name in ("about", "bound")]  # type: ignore[union-attr]
    corrected = [found[name].decision.p_equivalence for name in ("about", "bound")]  # type: ignore[union-attr]
    assert corrected == stats.holm(family)  # the computed ones are not counted
    assert found["three"].why == "3 of 3 numbers are as printed; the furthest off, number 3, is 0.3, printed 0.3"


def test_the_wrong_numbers_are_not_reproduced(functions: Path, tmp_path: Path) -> None:
    card = card_of(functions, CLAIMS, **{"gamma = 0.1": "gamma = 0.12", "level = 5.0": "level = 8.5"})
    run(card, tmp_path / "out")
    words = {name: v.word for name, v in verdicts(card, tmp_path / "out").items()}
    assert words == {"about": "above", "bound": "above", "three": "above", "one": "reproduced"}


def test_fewer_seeds_than_make_the_number_leave_it_open(functions: Path, tmp_path: Path) -> None:
    card = card_of(functions)
    run(card, tmp_path / "out")
    results = read_results(tmp_path / "out" / "results")
    unit = results.units["drawn-pole"]
    half = dataclasses.replace(unit, histories=unit.histories[:20])
    found = {v.claim.id: v for v in judge(card, dataclasses.replace(results, units={"drawn-pole": half})).verdicts}
    for name in ("about", "bound"):
        assert verdicts(card, tmp_path / "out")[name].word == "reproduced"
        assert found[name].word == "inconclusive"
        assert "20 of the 40 that make its number were measured" in found[name].why


def test_results_are_short_and_read_back(functions: Path, tmp_path: Path) -> None:
    card = card_of(
        functions, CLAIMS + '[[claim]]\nid = "more"\nmeasurement = "asked"\nrule = "about"\nreported = 5.0\n'
    )
    one = Reproduction(tmp_path / "out", card, 1.0, ["x"], 1)
    one.run(units_of(card, *choose(card, [])), (7, 3, 4, 5))
    about = json.loads((tmp_path / "out" / "results" / "results.json").read_text())["units"]
    assert about["asked-pole"]["seeds"] == [[3, 5], [7, 7]]
    assert about["asked-pole"]["runs"][0]["seeds"] == [[7, 7], [3, 5]]
    assert about["drawn-pole"]["seeds"] == [[0, 39]]
    read = read_results(tmp_path / "out" / "results").units
    assert read["asked-pole"].seeds == (3, 4, 5, 7)
    assert [h.measured.tolist() for h in read["asked-pole"].histories] == [
        [5 + np.random.default_rng(seed).normal()] for seed in (3, 4, 5, 7)
    ]
    assert read["three-pole"].histories[0].measured.tolist() == [0.1, 0.2, 0.1 * 3]
    write_results(tmp_path / "copy", Results(1.0, read))
    for file in (tmp_path / "out" / "results").iterdir():
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()
    broken = (tmp_path / "copy" / "results.json").read_text().replace("39", "39000000000")
    (tmp_path / "copy" / "results.json").write_text(broken)
    with pytest.raises(Problem, match="damaged"):
        read_results(tmp_path / "copy")


def test_what_is_there_is_never_measured_again(functions: Path, tmp_path: Path) -> None:
    card = card_of(functions)
    run(card, tmp_path / "out", 12, "one")
    assert calls(functions) == ["one"]
    run(card, tmp_path / "out")
    run(card, tmp_path / "out")
    assert sorted(calls(functions)) == ["draws 40 from 0", "one", "three"]
    text = CLAIMS + '[[claim]]\nid = "more"\nmeasurement = "asked"\nrule = "about"\nreported = 5.0\n'
    asked = card_of(functions, text)
    units = {unit.implementation: unit for unit in units_of(asked, asked.claims, ())}
    assert seeds_of(asked, units["drawn"], (4, 7)) == tuple(range(40))
    assert seeds_of(asked, units["asked"], (4, 7)) == (4, 7)
    run(asked, tmp_path / "asked", 3, "more")
    run(asked, tmp_path / "asked", 5, "more")
    assert calls(functions)[-2:] == ["draws 3 from 0", "draws 2 from 3"]


def test_a_stopped_measurement_goes_on(functions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlrepro.papers.units.measure.GROUP", 15)
    card = card_of(functions, CLAIMS, **{"breaks = -1": "breaks = 31"})
    assert run(card, tmp_path / "out") == ["drawn-pole"]
    assert len(read_results(tmp_path / "out" / "results").units["drawn-pole"].histories) == 30
    monkeypatch.setattr("rlrepro.papers.units.measure.GROUP", 4)  # what had failed is tried again, in other groups
    assert run(card, tmp_path / "out") == ["drawn-pole"]
    assert calls(functions)[-1] == "draws 4 from 30"
    functions.with_name("numbers2.py").write_text(FUNCTIONS.replace("if breaks in seeds", "if False"))
    later = functions.with_name("numbers2.py")
    whole = card_of(later, CLAIMS, **{"breaks = -1": "breaks = 31"})
    monkeypatch.setattr("rlrepro.papers.units.measure.GROUP", 7)
    assert run(whole, tmp_path / "whole") == []
    first, second = ((tmp_path / name / "results" / "drawn-pole.csv.gz") for name in ("whole", "again"))
    monkeypatch.setattr("rlrepro.papers.units.measure.GROUP", 1000)
    assert run(whole, tmp_path / "again") == []
    assert first.read_bytes() == second.read_bytes()
    for name in ("whole", "again"):
        (one,) = read_results(tmp_path / name / "results").units["drawn-pole"].runs
        assert list(one["seeds"]) == list(range(40))  # of all groups, not of the last
    again = commands(judge(whole, read_results(tmp_path / "whole" / "results")))
    assert [("--seeds" in one, "--claims" in one) for one in again] == [(False, False)]  # the card says how many


def test_a_function_s_number_is_no_published_agent(functions: Path) -> None:
    """Which seeds would reach it? Of what a function measures is not known which way is better."""
    with pytest.raises(Problem, match="a function's number is no agent that others reach"):
        card_of(functions, CLAIMS + '[[claim]]\nid = "agent"\nmeasurement = "asked"\nreported = 5.0\nspread = 1.0\n'
                'margin = 1\nmargin_why = "small"\nspread_kind = "over episodes"\nwhere = "p. 1"\n')  # fmt: skip


def test_a_page_is_made_of_what_was_measured(functions: Path, tmp_path: Path) -> None:
    card = card_of(functions)
    run(card, tmp_path / "out")
    for place in ("one", "two"):
        write_report(tmp_path / "out", into=tmp_path / place)
    pages = [{p.name: p.read_bytes() for p in (tmp_path / place).glob("*.*")} for place in ("one", "two")]
    assert pages[0] == pages[1]
    page = pages[0]["report.html"].decode()
    for text in ("Computed, and printed", "3:</span> 0.3000, printed 0.3", "at most: a bound: ours is not above it",
                 "The best probability", "half a unit of the last printed digit", "higher than the paper"):  # fmt: skip
        assert text in page, text
    assert "--seeds" not in page  # how many there are stands on the card
    rows = {row["claim"]: row for row in json.loads(pages[0]["verdicts.json"])["verdicts"]}
    assert (rows["three"]["kind"], rows["three"]["values"]) == ("exact", [0.1, 0.2, 0.3])
    assert rows["three"]["measured"] == pytest.approx([0.1, 0.2, 0.3])
    assert (rows["bound"]["kind"], len(rows["bound"]["per_seed"])) == ("at most", 40)
    assert "0.58580 (computed)" in scoreboard(judged([tmp_path / "out"]), tmp_path)


def test_the_card_s_change_is_noticed(functions: Path, tmp_path: Path) -> None:
    run(card_of(functions), tmp_path / "out")
    changed = card_of(functions, CLAIMS, **{"gamma = 0.1": "gamma = 0.2"})
    with pytest.raises(Problem, match="hyperparameters = "):
        run(changed, tmp_path / "out")
    with pytest.raises(Problem, match="run the card again"):
        verdicts(changed, tmp_path / "out")


def test_what_gives_no_number_is_told(functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(functions, CLAIMS.replace('"one"', '"pair"').replace("0.59", "0.5"), **{
        '[measurement.one]': f'[measurement.pair]\nfunction = "{functions}:pair"\nwhat = "Pairs"\n[measurement.one]',
        'measurement = "pair"\nrule = "exact"': 'measurement = "pair"\nrule = "about"',
    })  # fmt: skip
    assert run(card, tmp_path / "out") == ["pair-pole"]
    assert "numbers of shape (12, 2), not one for each of 12 seeds" in " ".join(capsys.readouterr().out.split())
    assert verdicts(card, tmp_path / "out")["pair"].word == "not run"


def test_the_command_and_its_plan(functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card_of(functions)
    file = str(functions.with_name("printed.toml"))
    assert reproduce([file, "--plan"]) == 0
    planned = capsys.readouterr().out
    assert "nothing to repeat" in planned
    assert "what it takes is not known" in " ".join(planned.split())
    assert calls(functions) == []
    assert reproduce([file, "--into", str(tmp_path / "out")]) == 0
    assert "✓ reproduced" in capsys.readouterr().out


def test_a_bundle_of_measurements(
    functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(card_of(functions), tmp_path / "out")
    file = bundle.pack(tmp_path / "out", tmp_path / "printed.rlrepro.zip")
    assert file.read_bytes() == bundle.pack(tmp_path / "out", tmp_path / "again.rlrepro.zip").read_bytes()
    with pytest.raises(Problem, match="names the function"):
        verify.verify(file, tmp_path / "closed")
    assert verify.verify(file, tmp_path / "opened", trust=True) == 0  # the cheapest is computed
    assert "three-pole: the same bit for bit" in capsys.readouterr().out
    assert verify.verify(file, tmp_path / "more", ["about"], seeds=3, trust=True) == 0
    assert "drawn-pole: the same bit for bit, 3 of 3 seeds" in capsys.readouterr().out
    functions.write_text(FUNCTIONS.replace("gamma * n", "gamma * n * (1 + 1e-12)").replace("normal()", "normal() + 3"))
    for name in [name for name in sys.modules if name.startswith("rlrepro_file_")]:
        monkeypatch.delitem(sys.modules, name)
    assert verify.verify(file, tmp_path / "close", ["three"], trust=True) == 0
    assert "three-pole: the same to nine digits" in capsys.readouterr().out
    assert verify.verify(file, tmp_path / "other", ["about"], trust=True) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENT" in printed
    assert f"{functions}: " in printed  # another SHA-256 than that of the bundle's runs


@pytest.mark.parametrize("breaks", ["raise ValueError('no more')", "raise SystemExit(0)"])
def test_a_function_that_ends_is_told_and_keeps_no_page_of_the_others(
    functions: Path, tmp_path: Path, command: Command, breaks: str
) -> None:
    functions.write_text(FUNCTIONS.replace('tell("one")\n', f'tell("one")\n    {breaks}\n'))
    card_of(functions)
    card, folder = functions.with_name("printed.toml"), tmp_path / "out"
    alone = command("reproduce", card, "--into", folder, "--claims", "one")
    assert alone.status == 1
    assert alone.problem == "1 of 1 units did not finish (one-pole); the same command tries again"
    assert "numbers.py:one raised" in alone.out
    assert not (folder / "report.html").exists()
    among = command("reproduce", card, "--into", folder, "--seeds", "12")
    assert among.status == 1
    assert (folder / "report.html").exists()


def test_a_function_that_computes_other_than_is_printed_leaves_the_other_claims(
    functions: Path, tmp_path: Path
) -> None:
    functions.write_text(FUNCTIONS.replace("for n in (1, 2, 3)]", "for n in (1, 2)]"))
    card = card_of(functions)
    assert run(card, tmp_path / "out") == []
    found = verdicts(card, tmp_path / "out")
    assert found["three"].word == "inconclusive"
    assert "three computed 2 numbers, and 3 are printed" in found["three"].why
    assert found["one"].word == "reproduced"
    write_report(tmp_path / "out")
