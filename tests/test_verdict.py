"""Verdicts of results that were made up, so that the right answer is known."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro.errors import Problem
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.pages.page import render
from rlrepro.papers.pages.report import markdown
from rlrepro.papers.scoring import History
from rlrepro.papers.stats import aggregates
from rlrepro.papers.stats.power import seeds_needed
from rlrepro.papers.units.results import Results, UnitResults
from rlrepro.papers.units.unit import claimed, measured_settings, settings_of, shared, units_of
from rlrepro.papers.verdicts.verdict import Judgement, Verdict, judge, reported
from rlrepro.papers.verdicts.verdict_json import as_json

CARD = """
format = 1
[paper]
title = "Made up"
authors = "Nobody"
year = 2024
url = "https://example.org"
[environment.cart]
paper = "CartPole-v1"
random = 20
best = 500
[environment.acro]
paper = "Acrobot-v1"
random = -500
best = -100
[implementation.a]
agent = "random"
hyperparameters."paper: Table 3" = { total_timesteps = 1000, num_envs = 1 }
[implementation.b]
like = "a"
[protocol.training]
returns = "training"
last = 2
[protocol.agent]
returns = "evaluation"
statistic = "one agent"
"""
DEFAULTS = {"implementation": "a", "protocol": "training", "where": "Table 1", "margin": 20, "margin_why": "small"}


def claim(**fields: object) -> str:
    given = {**DEFAULTS, "seeds": 10, "spread": 5.0, "spread_kind": "sample sd", **fields}
    lines = [f"{k} = {v!r}".replace("'", '"') for k, v in given.items() if v is not None]
    return "\n".join(["[[claim]]", *lines, ""])


def order(**fields: object) -> str:
    given = {"id": "order", "better": "a", "worse": "b", "protocol": "training", "where": "Table 1", **fields}
    return "\n".join(["[[order]]", *(f"{k} = {v!r}".replace("'", '"') for k, v in given.items()), ""])


def history(seed: int, level: float, **others: object) -> History:
    """Two last episodes with the mean `level`."""
    episodes = np.array([(100, 0.0), (500, level - 1), (1000, level + 1)])
    one = History(seed, episodes, np.empty((0, 2)), np.array([level]), 1000)
    return dataclasses.replace(one, **others)  # type: ignore[arg-type]


TASKS = ("cart", "acro")
Levels = dict[tuple[str, str], list[float]]


def judged(tmp_path: Path, text: str, levels: Levels, scale: float = 1.0, **others: object) -> Judgement:
    file = tmp_path / "card.toml"
    file.write_text(CARD + text, encoding="utf-8")
    card = load_card(str(file))
    return judge(card, Results(scale, units(card, levels, scale, **others)))


def units(card: Card, levels: Levels, scale: float, **others: object) -> dict[str, UnitResults]:
    made = {}
    for unit in units_of(card, card.claims, card.orders):
        values = levels.get((unit.implementation, unit.environment))
        if values is not None:
            histories = tuple(history(seed, value, **others) for seed, value in enumerate(values))
            made[unit.name] = UnitResults(shared(settings_of(card, unit, (0,), scale)), (), histories)
    return made


def spread(mean: float, n: int = 12, sd: float = 5.0) -> list[float]:
    """n values with exactly this mean and sample standard deviation."""
    x = np.linspace(-1, 1, n)
    return (mean + sd * (x - x.mean()) / x.std(ddof=1)).tolist()


def word(judgement: Judgement, name: str) -> str:
    return verdict(judgement, name).word


def verdict(judgement: Judgement, name: str) -> Verdict:
    return next(v for v in judgement.verdicts if v.claim.id == name)


def test_the_four_words(tmp_path: Path) -> None:
    text = "".join(
        claim(id=name, environment="cart", reported=reported)
        for name, reported in (("equal", 200.0), ("near", 202.0), ("high", 300.0), ("low", 100.0), ("edge", 210.0))
    )
    found = judged(tmp_path, text, {("a", "cart"): spread(200)})
    assert {v.claim.id: v.word for v in found.verdicts} == {
        "equal": "reproduced",
        "near": "reproduced",
        "high": "below",
        "low": "above",
        "edge": "inconclusive",
    }
    assert "; about 28 seeds would decide it; " in verdict(found, "edge").why
    assert found.count("reproduced") == 2
    assert verdict(found, "equal").score.mean == pytest.approx(200)  # type: ignore[union-attr]


def test_where_no_number_of_seeds_decides_it_that_is_said_in_place_of_one(tmp_path: Path) -> None:
    text = claim(id="edge", environment="cart", reported=201.0, margin=4.0, seeds=3, spread=5.0)
    found = verdict(judged(tmp_path, text, {("a", "cart"): spread(200)}), "edge")
    assert found.word == "inconclusive"
    assert "; no number of our seeds decides it: the paper's own uncertainty is too large" in found.why
    assert "would decide it" not in found.why


@pytest.mark.parametrize(
    ("number", "kind", "sharing", "seeds"), [(210.0, "equivalence", 3, 28), (211.0, "difference", 4, 40)]
)
def test_the_seeds_that_decide_a_claim_share_the_error_with_those_alone_that_are_open(
    number: float, kind: Any, sharing: int, seeds: int, tmp_path: Path
) -> None:
    """Of six claims three are equal and two are different: 3 share the error of equality, 4 that of difference."""
    numbers = {"one": 200.0, "two": 201.0, "three": 199.0, "high": 300.0, "low": 100.0, "open": number}
    text = "".join(claim(id=name, environment="cart", reported=printed) for name, printed in numbers.items())
    judgement = judged(tmp_path, text, {("a", "cart"): spread(200)})
    assert [v.word for v in judgement.verdicts] == ["reproduced"] * 3 + ["below", "above", "inconclusive"]
    found = verdict(judgement, "open")
    paper = reported(found.claim)  # type: ignore[arg-type]

    def alone(share: int) -> int | None:
        return seeds_needed(5.0, paper, 20.0, 200 - number, kind, alpha=0.05 / share, from_printed=True).seeds

    assert found.seeds_needed is not None
    assert found.seeds_needed.seeds == alone(sharing) == seeds
    assert seeds not in (alone(6), alone(sharing - 1), alone(sharing + 1))


def test_holm_counts_all_claims_that_a_test_decides_run_or_not(tmp_path: Path) -> None:
    one = claim(id="one", environment="cart", reported=200.0)
    many = one + "".join(claim(id=f"far {i}", environment="cart", reported=300.0 + i) for i in range(5))
    levels: Levels = {("a", "cart"): spread(200)}
    alone, among = (verdict(judged(tmp_path, text, levels), "one") for text in (one, many))
    assert alone.test == among.test
    assert alone.decision is not None
    assert among.decision is not None
    assert alone.decision.p_equivalence == alone.test.p_equivalence  # type: ignore[union-attr]
    assert among.decision.p_equivalence == pytest.approx(min(1, 6 * alone.decision.p_equivalence))
    later = many.replace('environment = "cart"\nreported = 30', 'environment = "acro"\nreported = 30')
    assert verdict(judged(tmp_path, later, levels), "one").decision == among.decision
    assert word(judged(tmp_path, later, levels), "far 0") == "not run"


def test_what_the_best_policy_meets_is_any_solver_s(tmp_path: Path) -> None:
    for margin, loose in ((29.9, False), (30.1, True)):  # best is 500
        text = claim(id="one", environment="cart", reported=470.0, margin=margin)
        found = verdict(judged(tmp_path, text, {("a", "cart"): spread(470)}), "one")
        assert (found.is_loose, found.is_control) == (loose, False)
        assert any("to be equal is to have solved the task" in note for note in found.notes) is loose


def test_where_nothing_was_tested_the_seeds_that_lack_are_said_and_no_p(tmp_path: Path) -> None:
    text = claim(id="far", environment="cart", reported=2000.0) + claim(id="near", environment="cart", reported=201.0)
    few = judged(tmp_path, text + order(environments=["cart"], at_least=1), {
        ("a", "cart"): spread(200, 3), ("b", "cart"): spread(100, 3)
    })  # fmt: skip
    assert (verdict(few, "far").word, verdict(few, "near").word) == ("below", "inconclusive")
    assert "by 3 seeds; to be equal, 10 are needed" in verdict(few, "near").why
    assert verdict(few, "order").why == "ahead by 100 (3 seeds on a side: to be shown, 10 are needed)"
    # by what the contrary is shown, however few seeds the claim itself would need: of four, 1 of C(8, 4) = 70 deals
    for n, p in ((4, "p = 0.014"), (12, "p < 0.001")):
        levels: Levels = {("a", "cart"): spread(100, n), ("b", "cart"): spread(900, n)}
        below = verdict(judged(tmp_path, order(environments=["cart"], at_least=1), levels), "order")
        assert below.word == "below"
        assert below.why.startswith(f"behind by 800 ({p})")
    alone = verdict(judged(tmp_path, text, {("a", "cart"): [200.0]}), "near")
    assert alone.why.startswith("1 seed of ours: a verdict needs 10")


def test_few_seeds_never_reproduce(tmp_path: Path) -> None:
    text = claim(id="equal", environment="cart", reported=200.0)
    assert word(judged(tmp_path, text, {("a", "cart"): spread(200, 9, 0.1)}), "equal") == "inconclusive"
    assert word(judged(tmp_path, text, {("a", "cart"): spread(200, 10, 0.1)}), "equal") == "reproduced"


def test_an_unknown_spread_is_said_wherever_it_is_reproduced(tmp_path: Path) -> None:
    text = claim(id="bare", environment="cart", reported=200.0, spread=None, spread_kind="none", seeds=30, margin=150)
    bare = verdict(judged(tmp_path, text, {("a", "cart"): spread(200)}), "bare")
    assert bare.word == "reproduced"
    assert "unknown" in bare.qualified
    assert bare.qualified in bare.why


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([50.0] * 9 + [200.0] * 3, "reproduced"),
        ([50.0] * 11 + [200.0], "inconclusive"),
        ([199.0] * 18, "inconclusive"),
        ([199.0] * 19, "below"),
    ],
)
def test_one_published_agent_is_accepted_where_enough_seeds_reach_it(
    tmp_path: Path, values: list[float], expected: str
) -> None:
    text = claim(id="one", environment="cart", reported=200.0, protocol="agent", seeds=1, spread=3.0,
                 spread_kind="over episodes", margin=0.5)  # fmt: skip
    found = verdict(judged(tmp_path, text, {("a", "cart"): values}), "one")
    assert (found.word, found.kind) == (expected, "one-sided")
    assert f"of {len(values)} seeds" in found.why


def test_claims_of_order(tmp_path: Path) -> None:
    text = order(environments=["cart", "acro"], at_least=2)
    wins: Levels = {("a", "cart"): spread(300), ("a", "acro"): spread(-100)}
    loses: Levels = {("b", "cart"): spread(200), ("b", "acro"): spread(-200)}
    assert word(judged(tmp_path, text, wins | loses), "order") == "reproduced"
    swapped = text.replace('better = "a"\nworse = "b"', 'better = "b"\nworse = "a"')
    assert word(judged(tmp_path, swapped, wins | loses), "order") == "below"
    half: Levels = wins | {("b", "cart"): spread(200), ("b", "acro"): spread(-100)}
    assert word(judged(tmp_path, text, half), "order") == "inconclusive"
    assert word(judged(tmp_path, order(environments=["cart", "acro"], at_least=1), half), "order") == "reproduced"
    assert word(judged(tmp_path, text, wins), "order") == "not run"


LENGTH = '[protocol.length]\nreturns = "training"\nof = "length"\nlast = 2\n'


def lengths(length: int, count: int) -> list[History]:
    """Seeds all of whose episodes have about this many steps."""
    steps = [np.arange(1, 60) * (length + seed % 3) for seed in range(count)]
    return [
        History(seed, np.column_stack([ends, -ends]).astype(float), np.empty((0, 2)), np.empty(0), int(ends[-1]))
        for seed, ends in enumerate(steps)
    ]


def test_of_lengths_is_not_known_which_is_better(tmp_path: Path) -> None:
    """So seeds that crashed are no argument either way, and no claim says which is ahead."""
    text = LENGTH + claim(id="steps", environment="cart", protocol="length", reported=40, margin=5)
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    (unit,) = units_of(card, card.claims, card.orders)

    def judged_with(length: int, crashed: int = 0) -> Verdict:
        histories = lengths(length, 12)
        for seed in range(crashed):
            histories[seed] = dataclasses.replace(histories[seed], stopped="it crashed", broke=True)
        made = UnitResults(shared(settings_of(card, unit, (0,))), (), tuple(histories))
        return judge(card, Results(1.0, {unit.name: made})).verdicts[0]

    assert [judged_with(17).word, judged_with(90).word] == ["below", "above"]
    assert [judged_with(17, 2).word, judged_with(90, 2).word] == ["inconclusive"] * 2
    assert "seeds without a score leave it open" in judged_with(17, 2).why
    refused = {
        "an order is of returns": order(environments=["cart"], at_least=1, protocol="length"),
        "an agent cannot reach one": claim(
            id="one", environment="cart", protocol="length", reported=40, margin=5, spread_kind="over episodes"
        ),
    }
    for why, more in refused.items():
        (tmp_path / "card.toml").write_text(CARD + LENGTH + more, encoding="utf-8")
        with pytest.raises(Problem, match=why):
            load_card(str(tmp_path / "card.toml"))


STEPS = '[protocol.soon]\nreturns = "training"\nof = "steps"\nthreshold = 100\nlast = 1\n'


def climbing(reached: list[int | None], total: int = 1000) -> list[History]:
    """Seeds whose episodes of 10 env steps have a return of 200 from a given one on, or never, and 0 before."""
    ends = np.arange(10, total + 1, 10)
    return [
        History(
            seed,
            np.column_stack([ends, np.where(ends >= (total + 1 if first is None else first), 200.0, 0.0)]),
            np.empty((0, 2)),
            np.empty(0),
            total,
        )
        for seed, first in enumerate(reached)
    ]


def judged_steps(tmp_path: Path, text: str, **sides: list[int | None]) -> Verdict:
    (tmp_path / "card.toml").write_text(CARD + STEPS + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = {
        unit.name: UnitResults(
            shared(settings_of(card, unit, (0,))), (), tuple(climbing(sides.get(unit.implementation, [])))
        )
        for unit in units_of(card, card.claims, card.orders)
    }
    return judge(card, Results(1.0, made)).verdicts[0]


def test_fewer_env_steps_to_a_threshold_are_better_and_a_seed_that_never_got_there_is_as_slow_as_can_be(
    tmp_path: Path,
) -> None:
    text = claim(id="soon", environment="cart", protocol="soon", reported=300, spread=20.0, margin=60)
    near: list[int | None] = [280, 290, 300, 310, 320] * 3
    assert judged_steps(tmp_path, text, a=near).word == "reproduced"
    assert judged_steps(tmp_path, text, a=[one - 200 for one in near if one]).word == "below"
    slow = judged_steps(tmp_path, text, a=[one + 300 for one in near if one])
    assert slow.word == "above"
    assert slow.claim.less_is_better  # type: ignore[union-attr]
    # thirteen as the paper's and two that never: their mean is more than it looks
    open_ = judged_steps(tmp_path, text, a=[*near[:13], None, None])
    assert open_.word == "inconclusive"
    assert open_.score is not None
    assert open_.score.least == {13: 1000.0, 14: 1000.0}
    assert "2 of 15 seeds never reached 100, and what they had decides nothing: train for longer" in open_.why
    assert "count against it (seed 13: it had not reached 100 at env step 1,000; seed 14" in open_.why
    assert open_.seeds_needed is None
    assert open_.interval is not None
    assert (open_.interval.high, open_.interval.value) == (None, pytest.approx((2000 + 13 * 300 - 30) / 15, abs=10))
    # those that never got there confirm that it is slower; none that did would leave nothing to test
    assert judged_steps(tmp_path, text, a=[*(one + 300 for one in near[:12] if one), None, None, None]).word == "above"
    never = judged_steps(tmp_path, text, a=[None] * 12)
    assert never.word == "above"
    assert as_json(Judgement(load_card(str(tmp_path / "card.toml")), Results(1.0, {}), (never,), (), (), ()))[
        "verdicts"
    ][0]["at_least"] == dict.fromkeys(map(str, range(12)), 1000.0)
    fast = judged_steps(tmp_path, text, a=[*(one - 200 for one in near[:13] if one), None])
    assert fast.word == "inconclusive"  # "below" is not what the seed that never got there confirms


def test_who_reaches_a_threshold_first_is_ahead(tmp_path: Path) -> None:
    text = order(environments=["cart"], at_least=1, protocol="soon")
    early: list[int | None] = [280, 290, 300, 310, 320] * 2
    late: list[int | None] = [one + 300 for one in early if one]
    assert judged_steps(tmp_path, text, a=early, b=late).word == "reproduced"
    assert judged_steps(tmp_path, text, a=late, b=early).word == "below"
    assert judged_steps(tmp_path, text, a=early, b=[*late[:8], None, None]).word == "reproduced"
    assert judged_steps(tmp_path, text, a=[*late[:8], None, None], b=early).word == "below"
    assert judged_steps(tmp_path, text, a=[*early[:8], None, None], b=late).word == "inconclusive"
    never = judged_steps(tmp_path, text, a=early, b=[None] * 10)
    assert never.word == "reproduced"
    assert any("count with the env steps that they had" in note for note in never.notes)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"less_is_better": "false"}, "is true of env steps to a threshold"),
        ({"spread_kind": "over episodes"}, "are a number of each seed"),
        ({"environment": None, "environments": ["cart", "acro"], "aggregate": "mean"}, "is of returns"),
    ],
)
def test_what_a_claim_of_steps_cannot_be(tmp_path: Path, fields: dict[str, object], why: str) -> None:
    given = {"id": "soon", "environment": "cart", "protocol": "soon", "reported": 300, **fields}
    text = claim(**given).replace('"false"', "false")
    (tmp_path / "card.toml").write_text(CARD + STEPS + text, encoding="utf-8")
    with pytest.raises(Problem, match=why):
        load_card(str(tmp_path / "card.toml"))


def test_the_seeds_that_decide_it_are_counted_from_the_printed_number(tmp_path: Path) -> None:
    """It does not vary any more: with as many seeds, and a mean and spread as they look, it is decided."""
    wide = {"spread": 30.0, "seeds": 25, "reported": 200, "margin": 28}
    text = claim(id="near", environment="cart", **wide)
    found = verdict(judged(tmp_path, text, {("a", "cart"): spread(202, 12, 40.0)}), "near")
    assert found.word == "inconclusive"
    assert found.seeds_needed is not None
    assert found.seeds_needed.seeds == 107
    paper = reported(found.claim)  # type: ignore[arg-type]
    assert seeds_needed(40.0, paper, 28.0, 2.0).seeds is None  # before the paper: its mean is a draw too
    enough = spread(202, found.seeds_needed.seeds, 40.0)
    assert word(judged(tmp_path, text, {("a", "cart"): enough}), "near") == "reproduced"


def test_results_that_are_older_than_a_setting_did_what_its_default_does(tmp_path: Path) -> None:
    text = claim(id="near", environment="cart", reported=200)
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(200)}, 1.0)
    (name, unit), *_ = made.items()

    def older(*absent: str, **other: object) -> Results:
        settings = {key: value for key, value in unit.settings.items() if key not in absent} | other
        return Results(1.0, {name: dataclasses.replace(unit, settings=settings)})

    assert judge(card, older("normalise_obs")).verdicts[0].word == "reproduced"
    normalised = CARD.replace("num_envs = 1 }", "num_envs = 1, normalise_obs = true }") + text
    (tmp_path / "card.toml").write_text(normalised, encoding="utf-8")
    with pytest.raises(Problem, match="normalise_obs = False, but the card says True"):
        judge(load_card(str(tmp_path / "card.toml")), older("normalise_obs"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ""),
        ({"total_timesteps": 7}, "total_timesteps = 7"),
        ({"num_envs": 99}, "num_envs = 99"),
        ({"env": "Other-v0"}, "env = 'Other-v0'"),
        ({"env_kwargs": {"gravity": 1}}, "env_kwargs = {'gravity': 1}"),
        ({"normalise_obs": True}, ""),  # of which the card says nothing
    ],
)
def test_where_its_environment_is_not_installed_what_a_card_states_is_held_against_its_results(
    changed: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object) -> None:
        raise Problem("no such environment")

    (tmp_path / "card.toml").write_text(CARD + claim(id="near", environment="cart", reported=200), encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    (name, unit), *_ = units(card, {("a", "cart"): spread(200)}, 1.0).items()
    other = Results(1.0, {name: dataclasses.replace(unit, settings={**unit.settings, **changed})})
    monkeypatch.setattr("rlrepro.papers.verdicts.verdict.settings_of", nowhere)
    if told:
        with pytest.raises(Problem, match=re.escape(told)):
            judge(card, other)
    else:
        judge(card, other)


def test_a_claim_over_several_tasks_is_of_each_seeds_normalised_scores(tmp_path: Path) -> None:
    text = claim(id="mean", environments=["cart", "acro"], reported=0.6, aggregate="mean", margin=0.3, spread=0.1)
    cart, acro = spread(260), spread(-220)
    found = verdict(judged(tmp_path, text, {("a", "cart"): cart, ("a", "acro"): acro}), "mean")
    by_hand = [((c - 20) / 480 + (a + 500) / 400) / 2 for c, a in zip(cart, acro, strict=True)]
    assert found.score is not None
    np.testing.assert_allclose(found.score.values, by_hand)
    assert found.word == "reproduced"
    short = verdict(judged(tmp_path, text, {("a", "cart"): cart, ("a", "acro"): acro[:-1]}), "mean")
    assert short.score is not None
    assert short.score.missing == {11: "no score on acro"}
    assert short.word == "inconclusive"


@pytest.mark.parametrize(
    "broken", [{"stopped": "it crashed", "broke": True, "steps": 300}, {"episodes": np.array([(10, np.nan)] * 3)}]
)
def test_a_seed_without_a_score_is_never_dropped(tmp_path: Path, broken: dict[str, object]) -> None:
    file = tmp_path / "card.toml"
    file.write_text(CARD + claim(id="equal", environment="cart", reported=200.0), encoding="utf-8")
    card = load_card(str(file))
    ((name, unit),) = units(card, {("a", "cart"): spread(200)}, 1.0).items()
    bad = dataclasses.replace(unit.histories[3], **broken)  # type: ignore[arg-type]
    histories = (*unit.histories[:3], bad, *unit.histories[4:])
    found = judge(card, Results(1.0, {name: dataclasses.replace(unit, histories=histories)}))
    (one,) = found.verdicts
    assert one.word == "inconclusive"
    assert "seeds without a score count against it (seed 3: " in one.why
    assert as_json(found)["verdicts"][0]["missing"]["3"]


@pytest.mark.parametrize(
    ("reported", "less_is_better", "rule", "word", "effect"),
    [
        (300.0, False, None, "below", "count against it"),
        (300.0, True, None, "inconclusive", "count against it"),  # so low, if the others had come as far
        (100.0, True, None, "above", "count against it"),
        (100.0, False, None, "inconclusive", "count against it"),
        (300.0, False, "at most", "reproduced", "count for it"),
        (300.0, True, "at most", "inconclusive", "count against it"),
        (100.0, True, "at least", "reproduced", "count for it"),
        (100.0, False, "at least", "inconclusive", "count against it"),
    ],
)
def test_a_crash_is_the_worst_of_scores_on_the_side_that_is_worse(
    reported: float, less_is_better: bool, rule: str | None, word: str, effect: str, tmp_path: Path
) -> None:
    fields: dict[str, object] = {}
    if rule:
        fields = {"rule": rule, "margin": None, "margin_why": None, "spread": None, "spread_kind": None}
    text = claim(id="one", environment="cart", reported=reported, **fields)
    if less_is_better:
        text += "less_is_better = true\n"
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(200, 12)}, 1.0)
    made["a-cart"] = crash(made["a-cart"], 2, **CRASHED)
    (found,) = judge(card, Results(1.0, made)).verdicts
    assert found.word == word, found.why
    assert f"without a score {effect}" in found.why


def test_seeds_that_diverged_are_scored_and_said(tmp_path: Path) -> None:
    text = claim(id="one", environment="cart", reported=200.0)
    assert verdict(judged(tmp_path, text, {("a", "cart"): spread(200)}), "one").word == "reproduced"
    found = verdict(judged(tmp_path, text, {("a", "cart"): spread(200)}, diverged=True), "one")
    assert found.word == "reproduced"
    said = "diverged (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)"
    assert f"; 12 seeds {said}: their networks hold NaN or infinity" in found.why
    levels = {(side, task): spread(200) for side in "ab" for task in ("cart", "acro")}
    many = verdict(
        judged(tmp_path, order(id="two", environments=["cart", "acro"], at_least=1), levels, diverged=True), "two"
    )
    assert many.why.count(said) == 4
    assert f"12 seeds of b-acro {said}" in many.why


def test_a_return_whose_square_is_no_number_is_that_of_a_broken_seed(tmp_path: Path) -> None:
    """One seed must not take the page, or what the others show, with it."""
    (tmp_path / "card.toml").write_text(CARD + claim(id="one", environment="cart", reported=300.0), encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    ((name, unit),) = units(card, {("a", "cart"): spread(200, 12)}, 1.0).items()
    gone = dataclasses.replace(unit.histories[2], episodes=np.array([(10, -1e200)] * 100))
    histories = (*unit.histories[:2], gone, *unit.histories[3:])
    (found,) = judge(card, Results(1.0, {name: dataclasses.replace(unit, histories=histories)})).verdicts
    assert found.word == "below"
    assert "its return is -1e+200" in found.why


def test_a_smaller_scale_is_not_comparable_whatever_the_numbers(tmp_path: Path) -> None:
    text = claim(id="equal", environment="cart", reported=200.0) + order(environments=["cart"], at_least=1)
    levels: Levels = {("a", "cart"): spread(200), ("b", "cart"): spread(100)}
    assert {v.word for v in judged(tmp_path, text, levels, 0.5).verdicts} == {"not comparable"}


MEASURED = """
[measurement.arm]
function = "best_arm"
what = "The best arm's value"
hyperparameters."paper: Table 3" = { arms = 10 }
[[claim]]
id = "arm"
measurement = "arm"
environment = "cart"
where = "Table 1"
reported = 1.54
rule = "exact"
"""


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_function_measures_is_of_no_scale(tmp_path: Path, alone: bool) -> None:
    text = MEASURED + ("" if alone else claim(id="trained", environment="cart", reported=200.0))
    (tmp_path / "card.toml").write_text(CARD + text)
    card = load_card(str(tmp_path / "card.toml"))
    made = {} if alone else units(card, {("a", "cart"): spread(200)}, 0.1)
    (unit,) = (unit for unit in units_of(card, card.claims, []) if unit.is_measured)
    number = History(0, np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 0, measured=np.array([1.5388]))
    made[unit.name] = UnitResults(measured_settings(card, unit), (), (number,))
    found = judge(card, Results(0.1, made))
    assert word(found, "arm") == "reproduced"
    assert "of the paper's steps" not in verdict(found, "arm").why
    assert as_json(found)["scale"] == found.scale == (1.0 if alone else 0.1)
    assert ("NOT COMPARABLE" in markdown(found)) is not alone
    page = render(found)[0]
    assert ("NOT COMPARABLE" in page) is not alone
    assert ("reproduced, but for what functions measure." in page) is not alone
    if not alone:
        assert word(found, "trained") == "not comparable"


def test_a_smaller_scale_without_scores_is_not_comparable(tmp_path: Path) -> None:
    """Not left open by too short a run: no run of that length could have answered."""
    text = claim(id="one", environment="cart", reported=200.0) + order(environments=["cart"], at_least=1)
    levels: Levels = {(name, "cart"): spread(200) for name in "ab"}
    found = judged(tmp_path, text, levels, 0.5, episodes=np.empty((0, 2)))
    assert [v.word for v in found.verdicts] == ["not comparable"] * 2
    assert all(v.why.startswith("run at 0.5 of the paper's steps; ") for v in found.verdicts)
    assert "; no seed has a score (" in found.verdicts[0].why
    assert "; an order needs at least two seeds with a score of each (a on cart, seed 0: " in found.verdicts[1].why
    found = judged(tmp_path, text, levels, 1.0, episodes=np.empty((0, 2)))
    assert [v.word for v in found.verdicts] == ["inconclusive"] * 2


def test_agents_are_compared_over_the_tasks_that_both_have(tmp_path: Path) -> None:
    text = "".join(claim(id=e, environment=e, reported=1.0) for e in ("cart", "acro"))
    found = judged(tmp_path, text, {("a", "cart"): spread(260), ("a", "acro"): spread(-300)})
    (one,) = found.aggregates
    assert one.tasks == ("cart", "acro")
    scores = [
        [found.card.environments[t].normalised_score(v) for v in spread(m)] for t, m in (("cart", 260), ("acro", -300))
    ]
    assert one.estimates["iqm"].value == pytest.approx(float(aggregates.iqm([np.array(s) for s in scores])))
    assert found.improvements == ()


@pytest.mark.parametrize(("seeds", "shown"), [(1, ["b"]), (2, ["a", "b"])])
def test_an_agent_with_one_seed_on_a_task_has_no_aggregate(tmp_path: Path, seeds: int, shown: list[str]) -> None:
    """Drawn again, one seed is always itself: its interval would have no width."""
    text = "".join(claim(id=f"{i} {e}", environment=e, implementation=i, reported=1.0) for i in "ab" for e in TASKS)
    levels = {(i, e): spread(100 if e == "cart" else -200) for i in "ab" for e in TASKS}
    levels["a", "acro"] = [-200.0, -190.0][:seeds]
    found = judged(tmp_path, text, levels)
    assert [one.agent for one in found.aggregates] == shown
    assert [(one.better, one.worse) for one in found.improvements] == [("a", "b")] * (seeds > 1)


def test_the_same_results_give_the_same_judgement(tmp_path: Path) -> None:
    text = claim(id="equal", environment="cart", reported=200.0)
    one, two = (judged(tmp_path, text, {("a", "cart"): spread(200)}) for _ in range(2))
    assert as_json(one) == as_json(two)
    assert one.aggregates[0].estimates == two.aggregates[0].estimates


def test_versions_that_differ_between_runs_are_said(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    file.write_text(CARD + claim(id="equal", environment="cart", reported=200.0), encoding="utf-8")
    card = load_card(str(file))
    ((name, unit),) = units(card, {("a", "cart"): spread(200)}, 1.0).items()
    runs = tuple({"seeds": [s], "versions": {"torch": v}} for s, v in ((0, "2.5"), (1, "2.6")))
    found = judge(card, Results(1.0, {name: dataclasses.replace(unit, runs=runs)}))
    assert any("torch" in note and "2.5, 2.6" in note for note in found.notes)


@pytest.mark.parametrize(
    ("kind", "value", "seeds", "sd"),
    [
        ("sample sd", 6.0, 3, 6.0),
        ("population sd", 6.0, 3, 6 * (3 / 2) ** 0.5),
        ("standard error", 6.0, 4, 12.0),
        ("unknown", 6.0, 4, None),
        ("over episodes", 6.0, 4, None),
        ("none", None, 4, None),
    ],
)
def test_what_a_spread_says_of_the_paper(kind: str, value: float | None, seeds: int, sd: float | None) -> None:
    one = Claim("c", "a", ("cart",), "training", 1.0, 2.0, "", "", value, kind, seeds)
    found = reported(one).sample_sd
    assert found == (None if sd is None else pytest.approx(sd))


def test_results_of_another_card_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    file.write_text(CARD + claim(id="equal", environment="cart", reported=200.0), encoding="utf-8")
    made = units(load_card(str(file)), {("a", "cart"): spread(200)}, 1.0)
    file.write_text(file.read_text().replace("total_timesteps = 1000", "total_timesteps = 2000"))
    with pytest.raises(Problem, match="total_timesteps = 1000, but the card says 2000"):
        judge(load_card(str(file)), Results(1.0, made))


@pytest.mark.parametrize(("reported", "control"), [(200.0, False), (30.0, True), (31.0, False)])
def test_a_number_that_a_random_policy_meets_is_a_control(tmp_path: Path, reported: float, control: bool) -> None:
    text = claim(id="one", environment="cart", reported=reported, margin=10.0)  # random policy: 20
    judgement = judged(tmp_path, text, {("a", "cart"): spread(reported)})
    found = verdict(judgement, "one")
    assert found.is_control is control
    assert any("is not to have learnt" in note for note in found.notes) is control
    assert as_json(judgement)["verdicts"][0].get("control", False) is control


RANDOM_MEETS = [  # a random policy has 20 on the cart
    ({"rule": "about", "reported": 25.0, "margin": 5.0}, True),
    ({"rule": "about", "reported": 25.1, "margin": 5.0}, False),
    ({"rule": "at least", "reported": 20.0, "margin": None, "margin_why": None}, True),
    ({"rule": "at least", "reported": 20.5, "margin": None, "margin_why": None}, False),
    ({"rule": "at most", "reported": 20.0, "margin": None, "margin_why": None}, True),
    ({"rule": "at most", "reported": 19.5, "margin": None, "margin_why": None}, False),
    ({"protocol": "agent", "reported": 30.0, "margin": 10.0}, True),
    ({"protocol": "agent", "reported": 31.0, "margin": 10.0}, False),
]


@pytest.mark.parametrize(("fields", "control"), RANDOM_MEETS)
def test_by_each_rule_a_number_that_a_random_policy_meets_is_a_control(
    tmp_path: Path, fields: dict[str, object], control: bool
) -> None:
    text = claim(id="one", environment="cart", spread=None, spread_kind="none", seeds=None, **fields)
    assert verdict(judged(tmp_path, text, {("a", "cart"): spread(20)}), "one").is_control is control


@pytest.mark.parametrize(("rule", "random", "control"), [
    ("at least", 20.6, False), ("at least", 21.0, True), ("at most", 21.4, False), ("at most", 21.0, True),
])  # fmt: skip
def test_of_a_bound_a_random_policy_meets_the_number_itself_alone(
    tmp_path: Path, rule: str, random: float, control: bool
) -> None:
    """Half a unit of its last digit, 21 ± 0.5, is the scale of the guards and no room of the bound."""
    text = f'[environment.near]\npaper = "CartPole-v1"\nrandom = {random}\nbest = 500\n'
    text += claim(id="one", environment="near", reported=21.0, rule=rule, margin=None, margin_why=None, spread=None,
                  spread_kind="none", seeds=None)  # fmt: skip
    found = verdict(judged(tmp_path, text, {("a", "near"): spread(21)}), "one")
    assert found.is_control is control
    assert isinstance(found.claim, Claim)
    assert found.claim.margin == 0.5


def test_few_seeds_that_decide_say_how_few_they_are(tmp_path: Path) -> None:
    text = claim(id="one", environment="cart", reported=300.0)
    five, ten = (verdict(judged(tmp_path, text, {("a", "cart"): spread(200, n)}), "one") for n in (5, 10))
    assert (five.word, five.is_early) == ("below", True)
    assert five.why.endswith("; decided by fewer than 10 seeds")
    assert (ten.word, ten.is_early) == ("below", False)
    assert "fewer" not in ten.why
    crashed = {"steps": 100, "stopped": "it crashed", "broke": True, "episodes": np.empty((0, 2))}
    made = judged(tmp_path, text, {("a", "cart"): spread(200, 10)})
    name, unit = next(iter(made.results.units.items()))
    lost = tuple(dataclasses.replace(h, **crashed) for h in unit.histories[:5])  # type: ignore[arg-type]
    unit = dataclasses.replace(unit, histories=(*lost, *unit.histories[5:]))
    assert not verdict(judge(made.card, Results(1.0, {name: unit})), "one").is_early  # all ten were run
    levels: Levels = {("a", "cart"): spread(200, 10), ("b", "cart"): spread(300, 10)}
    ahead = judged(tmp_path, order(environments=["cart"]), levels)
    units = {name: dataclasses.replace(u, histories=(dataclasses.replace(u.histories[0], **crashed), *u.histories[1:]))  # type: ignore[arg-type]
             for name, u in ahead.results.units.items() if name == "b-cart"}  # fmt: skip
    lost_one = judge(ahead.card, Results(1.0, {**ahead.results.units, **units}))
    assert (verdict(lost_one, "order").is_early, "fewer" in verdict(lost_one, "order").why) == (False, False)
    assert verdict(
        judged(tmp_path, order(environments=["cart"]), {k: v[:5] for k, v in levels.items()}), "order"
    ).is_early


def test_a_claim_that_is_taken_off_the_card_keeps_its_share_of_the_correction(tmp_path: Path) -> None:
    one = claim(id="one", environment="cart", reported=200.0)
    more = claim(id="two", environment="cart", reported=204.0)
    reached = claim(id="reached", environment="cart", implementation="b", reported=300.0, protocol="agent", seeds=1,
                    spread=None, spread_kind="none")  # fmt: skip
    levels: Levels = {("a", "cart"): spread(200), ("b", "cart"): spread(200)}
    whole = judged(tmp_path, one + more + reached, levels)
    results = Results(1.0, {
        unit.name: dataclasses.replace(whole.results.units[unit.name], claimed=claimed(whole.card, unit))
        for unit in units_of(whole.card, whole.card.claims, whole.card.orders)
    })  # fmt: skip
    bare = Results(1.0, {name: dataclasses.replace(unit, claimed={}) for name, unit in results.units.items()})
    (tmp_path / "card.toml").write_text(CARD + one, encoding="utf-8")
    cut, alone = (judge(load_card(str(tmp_path / "card.toml")), some) for some in (results, bare))
    p = [verdict(made, "one").decision.p_equivalence for made in (whole, cut, alone)]  # type: ignore[union-attr]
    assert p[0] == p[1] == pytest.approx(2 * p[2])  # of one published agent nothing is corrected
    gone = [note.partition(" was on")[0] for note in cut.notes if "no longer is" in note]
    assert gone == ["Claim reached", "Claim two"]


def test_what_was_computed_and_is_taken_off_the_card_had_no_share_of_the_correction(tmp_path: Path) -> None:
    one = claim(id="one", environment="cart", reported=200.0)
    (tmp_path / "card.toml").write_text(CARD + one + MEASURED, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    number = History(0, np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 0, measured=np.array([1.5388]))
    made = units(card, {("a", "cart"): spread(200)}, 1.0)
    for unit in units_of(card, card.claims, card.orders):
        if unit.is_measured:
            made[unit.name] = UnitResults(measured_settings(card, unit), (), (number,))
        made[unit.name] = dataclasses.replace(made[unit.name], claimed=claimed(card, unit))
    whole = judge(card, Results(1.0, made))
    (tmp_path / "card.toml").write_text(CARD + one, encoding="utf-8")
    cut = judge(load_card(str(tmp_path / "card.toml")), Results(1.0, made))
    assert any(note.startswith("Claim arm was on the card") for note in cut.notes)
    for found in (verdict(whole, "one"), verdict(cut, "one")):
        assert found.decision is not None
        assert isinstance(found.test, stats.ClaimTest)
        assert found.decision.p_equivalence == found.test.p_equivalence


def test_what_the_correction_alone_leaves_open_is_said(tmp_path: Path) -> None:
    single = claim(id="one", environment="cart", reported=205.0, margin=4.0)
    levels: Levels = {("a", "cart"): spread(200, sd=5.0), ("b", "cart"): spread(200, sd=50.0)}
    assert word(judged(tmp_path, single, levels), "one") == "below"
    others = "".join(
        claim(id=f"other {n}", environment="cart", implementation="b", reported=200.0 + n) for n in range(9)
    )
    found = verdict(judged(tmp_path, single + others, levels), "one")
    assert found.word == "inconclusive"
    assert "below if it were the card's only claim: the correction for 10 leaves it open" in found.why


def test_a_claim_that_lacks_a_seed_is_open_for_that_alone(tmp_path: Path) -> None:
    text = claim(id="one", environment="cart", reported=205.0, margin=4.0)
    found = verdict(judged(tmp_path, text, {("a", "cart"): [*spread(200, 11), float("nan")]}), "one")
    assert "only claim" not in found.why


CRASHED = {"steps": 100, "stopped": "it crashed", "broke": True}


def crash(unit: UnitResults, count: int, **how: object) -> UnitResults:
    """The same with one episode of its first seeds, which stopped after it, or what `how` says."""
    bad = {"episodes": np.array([(100, 0.0)]), **(how or CRASHED)}
    crashed = [dataclasses.replace(h, **bad) if h.seed < count else h for h in unit.histories]  # type: ignore[arg-type]
    return dataclasses.replace(unit, histories=tuple(crashed))


NO_FAULT = [
    {"steps": 1000},  # its one episode was as long as the two of others
    {"steps": 100, "stopped": "interrupted: stopped at env step 100"},
]


@pytest.mark.parametrize(
    ("how", "expected"), [(CRASHED, "below"), *((how, "inconclusive") for how in NO_FAULT)], ids=str
)
def test_only_a_seed_that_broke_counts_against_a_claim(tmp_path: Path, how: dict[str, object], expected: str) -> None:
    """A seed that has fewer episodes than are asked for may be the best one: its episodes were the longest."""
    text = claim(id="one", environment="cart", reported=300.0) + claim(
        id="both", environments=["cart", "acro"], aggregate="mean", reported=0.9, margin=0.05, margin_why="small",
        spread=None, spread_kind=None, per_seed=[0.9 + i / 1000 for i in range(10)],
    )  # fmt: skip
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(200, 12), ("a", "acro"): spread(-300, 12)}, 1.0)
    made["a-cart"] = crash(made["a-cart"], 2, **how)
    found = judge(card, Results(1.0, made)).verdicts
    assert [v.word for v in found] == [expected] * 2
    assert all(
        f"without a score {'count against it' if expected == 'below' else 'leave it open'}" in v.why for v in found
    )


@pytest.mark.parametrize("how", NO_FAULT, ids=str)
def test_seeds_cut_short_do_not_speak_for_the_other_side_of_an_order(tmp_path: Path, how: dict[str, object]) -> None:
    (tmp_path / "card.toml").write_text(CARD + order(environments=["cart"], at_least=1), encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(300, 12), ("b", "cart"): spread(200, 12)}, 1.0)
    made["b-cart"] = crash(made["b-cart"], 2, **how)
    (found,) = judge(card, Results(1.0, made)).verdicts
    assert found.word == "inconclusive"


@pytest.mark.parametrize(
    ("better", "crashed", "expected", "effect"),
    [
        (300.0, {"a": 2}, "inconclusive", "count against it"),
        (300.0, {"b": 2}, "reproduced", "count for it"),
        (300.0, {"a": 2, "b": 2}, "inconclusive", "leave it open"),
        (100.0, {"a": 2}, "below", "count against it"),
        (100.0, {"b": 2}, "inconclusive", "count for it"),
        (100.0, {"b": 9}, "inconclusive", "count for it"),
    ],
)
def test_crashed_seeds_of_an_order_speak_against_their_own_side(
    tmp_path: Path, better: float, crashed: dict[str, int], expected: str, effect: str
) -> None:
    (tmp_path / "card.toml").write_text(CARD + order(environments=["cart"], at_least=1), encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(better, 12), ("b", "cart"): spread(200, 12)}, 1.0)
    for name, count in crashed.items():
        made[f"{name}-cart"] = crash(made[f"{name}-cart"], count)
    (found,) = judge(card, Results(1.0, made)).verdicts
    assert found.word == expected
    assert f"seeds without a score {effect}" in found.why


@pytest.mark.parametrize("few", [2, 9])
def test_an_order_of_few_seeds_is_not_reproduced(tmp_path: Path, few: int) -> None:
    text = order(environments=["cart"], at_least=1)
    far: Levels = {("a", "cart"): spread(500, few, 1e-3), ("b", "cart"): spread(9, few, 1e-3)}
    found = verdict(judged(tmp_path, text, far), "order")
    assert found.word == "inconclusive"
    assert f"{few} seeds on a side: reproduced needs at least 10." in found.notes


def test_one_agent_s_episodes_give_no_rule_and_no_measurement(tmp_path: Path) -> None:
    """How many seeds reach it would be asked of a number of which is not known which way is better."""
    text = claim(id="bound", environment="cart", reported=100.0, rule="at most", spread_kind="over episodes",
                 margin=None, margin_why=None)  # fmt: skip
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    with pytest.raises(Problem, match="rule: is for a mean over seeds"):
        load_card(str(tmp_path / "card.toml"))


def test_the_test_that_needs_fewer_seeds_says_how_many(tmp_path: Path) -> None:
    """Near the margin no number makes it equal, and many make it different."""
    near = {"spread": 18.0, "seeds": 10, "reported": 200, "margin": 28}
    text = claim(id="near", environment="cart", **near)
    found = verdict(judged(tmp_path, text, {("a", "cart"): spread(178, 10, 20.0)}), "near")
    assert found.word == "inconclusive"
    paper = reported(found.claim)  # type: ignore[arg-type]
    assert seeds_needed(20.0, paper, 28.0, -22.0, from_printed=True).seeds is None
    assert found.seeds_needed is not None
    assert found.seeds_needed.seeds == 71
    enough = spread(178, 71, 20.0)
    assert word(judged(tmp_path, text, {("a", "cart"): enough}), "near") == "below"


def test_a_printed_number_is_decided_with_ten_seeds_at_least(tmp_path: Path) -> None:
    text = claim(id="band", environment="cart", reported=100.0, rule="about", margin=5, spread=None, spread_kind=None,
                 seeds=None)  # fmt: skip
    found = verdict(judged(tmp_path, text, {("a", "cart"): spread(202, 5, 2.0)}), "band")
    assert found.word == "inconclusive"
    assert found.seeds_needed is not None
    assert found.seeds_needed.seeds == 10


def test_a_task_with_crashed_seeds_is_in_no_aggregate(tmp_path: Path) -> None:
    """Those that survived would speak for all."""
    text = "".join(claim(id=name, environment="cart", implementation=name, reported=200.0) for name in "ab")
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    made = units(card, {("a", "cart"): spread(480, 12), ("b", "cart"): spread(400, 12)}, 1.0)
    (ahead,) = judge(card, Results(1.0, made)).improvements
    assert (ahead.better, ahead.worse, ahead.estimate.value) == ("a", "b", 1.0)  # each seed of a is above each of b
    made["a-cart"] = crash(made["a-cart"], 9)
    found = judge(card, Results(1.0, made))
    assert found.improvements == ()
    assert [one.agent for one in found.aggregates] == ["b"]
    assert any(note.startswith("a-cart is in no aggregate: seed 0: it stopped at env step 100") for note in found.notes)


@pytest.mark.parametrize("crashed_at", [100, 700])
def test_an_earlier_milestone_does_not_stand_in_an_aggregate_for_the_end(tmp_path: Path, crashed_at: int) -> None:
    """Of two claims on a task the one that looks further counts, whether its seeds have a score or not."""
    early = '[protocol.early]\nreturns = "training"\nlast = 1\nto_step = 500\n'
    text = early + claim(id="end", environment="cart", reported=200.0)
    text += claim(id="early", environment="cart", protocol="early", reported=200.0)
    (tmp_path / "card.toml").write_text(CARD + text, encoding="utf-8")
    card = load_card(str(tmp_path / "card.toml"))
    ((name, unit),) = units(card, {("a", "cart"): spread(480, 12)}, 1.0).items()
    assert judge(card, Results(1.0, {name: unit})).aggregates
    stopped = dataclasses.replace(unit.histories[0], steps=crashed_at, stopped="it crashed")
    histories = (stopped, *unit.histories[1:])
    found = judge(card, Results(1.0, {name: dataclasses.replace(unit, histories=histories)}))
    assert found.aggregates == ()
    assert sum("is in no aggregate" in note for note in found.notes) == 1


def test_verdicts_json_is_json(tmp_path: Path) -> None:
    text = claim(id="one", environment="cart", reported=200.0, spread=None, spread_kind="none", seeds=None)
    row = as_json(judged(tmp_path, text, {("a", "cart"): [200.0]}))
    json.dumps(row, allow_nan=False)
    assert row["verdicts"][0]["interval_95"] == [None, None]


def test_verdicts_json_has_each_test_s_numbers(tmp_path: Path) -> None:
    agent = claim(id="agent", environment="cart", reported=201.0, protocol="agent", seeds=1, spread=3.0,
                  spread_kind="over episodes", margin=2.0)  # fmt: skip
    levels: Levels = {("a", "cart"): [199.5] * 3 + [202.0] * 2 + [50.0] * 7, ("b", "cart"): spread(20)}
    found = judged(tmp_path, agent + order(environments=["cart"]), levels)
    first, second = as_json(found)["verdicts"]
    assert {k: first[k] for k in ("threshold", "reached", "reached_outright", "seeds")} == {
        "threshold": 199.0,
        "reached": 5,
        "reached_outright": 2,
        "seeds": 12,
    }
    test = verdict(found, "order").test
    assert isinstance(test, stats.OrderTest)
    assert (second["ahead_on"], second["tasks"], second["p_holds"]) == (1, 1, test.p_holds)
    assert second["differences"] == list(test.differences)


def test_no_verdict_falls_before_every_planned_seed_has_run(tmp_path: Path) -> None:
    """To look at fewer and stop where they please would be to choose the seeds by what they gave."""
    text = claim(id="equal", environment="cart", reported=200.0) + claim(id="far", environment="cart", reported=900.0)
    text += claim(id="agent", environment="cart", reported=199.0, protocol="agent", spread=None, spread_kind="none")
    text += order(environments=["cart"], at_least=1)
    levels: Levels = {("a", "cart"): spread(200), ("b", "cart"): spread(100)}
    whole = judged(tmp_path, text, levels)
    assert [verdict.word for verdict in whole.verdicts] == ["reproduced", "below", "reproduced", "reproduced"]

    def planned(seeds: int) -> Judgement:
        units = {n: dataclasses.replace(u, planned=tuple(range(seeds))) for n, u in whole.results.units.items()}
        return judge(whole.card, dataclasses.replace(whole.results, units=units))

    assert [one.why for one in planned(12).verdicts] == [one.why for one in whole.verdicts]
    waiting = planned(20)
    assert {verdict.word for verdict in waiting.verdicts} == {"inconclusive"}
    for one in waiting.verdicts:
        assert "8 of 20 seeds have not run yet" in one.why
    assert as_json(waiting)["verdicts"][0]["missing"]["19"] == "it has not run yet"
    assert "12 seeds, 8 without a score" in " ".join(markdown(waiting).split())
    assert any("is in no aggregate: 8 of 20 seeds have not run yet" in note for note in waiting.notes)
    added = {name: dataclasses.replace(unit, added=(10, 11)) for name, unit in planned(12).results.units.items()}
    more = judge(whole.card, dataclasses.replace(whole.results, units=added))
    assert [verdict.word for verdict in more.verdicts] == [verdict.word for verdict in whole.verdicts]
    assert verdict(more, "equal").why.endswith("; 2 seeds came after others were judged")
    assert all(one.is_joined for one in more.verdicts)
    assert not any(one.is_joined for one in whole.verdicts)
    assert verdict(more, "order").why.endswith(
        "; 2 seeds of a-cart came after others were judged; 2 seeds of b-cart came after others were judged"
    )


def test_a_seed_that_waits_on_one_task_of_several_has_not_run(tmp_path: Path) -> None:
    text = claim(id="both", environment=None, environments=["cart", "acro"], reported=0.5, margin=0.3,
                 spread=None, spread_kind="none", aggregate="mean")  # fmt: skip
    whole = judged(tmp_path, text, {("a", "cart"): spread(260), ("a", "acro"): spread(-300)})
    units = dict(whole.results.units)
    units["a-acro"] = dataclasses.replace(
        units["a-acro"], histories=units["a-acro"].histories[:5], planned=tuple(range(12))
    )
    (found,) = judge(whole.card, dataclasses.replace(whole.results, units=units)).verdicts
    assert "7 of 12 seeds have not run yet" in found.why
    assert found.is_early
    assert not whole.verdicts[0].is_early
