"""Statistics: numbers by hand, SciPy, statsmodels and rliable, properties, and the plain way shown to fail."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rliable import library as rly
from rliable import metrics
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from rlrepro.errors import Problem
from rlrepro.papers import stats
from rlrepro.papers.stats import Reported, aggregates, claim_test, decide, holm, power

PROPERTY = settings(deadline=None, derandomize=True, max_examples=60)
VALUES = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


def samples(least: int = 2, most: int = 12) -> st.SearchStrategy[list[float]]:
    return st.lists(VALUES, min_size=least, max_size=most).filter(lambda x: len(set(x)) > 1)


# --- what a paper printed


# 2, 4, 4, 4, 5, 5, 7, 9: mean 5, Σ(x − 5)² = 32, population sd 2, sample sd √(32 / 7).
EIGHT = (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)
SD = math.sqrt(32 / 7)
T_7 = 2.364624251592785  # 97.5 % quantile of t with 7 degrees of freedom, from tables


@pytest.mark.parametrize(
    "reported",
    [
        Reported(5, 2, "population sd", 8),
        Reported(5, SD, "sample sd", 8),
        Reported(5, SD / math.sqrt(8), "standard error", 8),
        Reported(5, T_7 * SD / math.sqrt(8), "interval 95", 8),
        Reported(5, kind="interval 95", seeds=8, low=5 - T_7 * SD / math.sqrt(8), high=5 + T_7 * SD / math.sqrt(8)),
        Reported(5, per_seed=EIGHT),
        Reported(5, SD, "sample sd"),
    ],
    ids=lambda reported: f"{reported.kind}, {reported.num_seeds}",
)
def test_every_kind_of_spread_gives_the_sample_sd(reported: Reported) -> None:
    assert reported.sample_sd == pytest.approx(SD, rel=1e-12)


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        (Reported(5), "does not print"),
        (Reported(5, math.nan, "sample sd", 8), "does not print"),
        (Reported(5, 2, "none", 8), "does not print"),
        (Reported(5, 2, "sample sd", 1), "one seed"),
        (Reported(5, per_seed=(5.0,)), "one seed"),
        (Reported(5, 2, "over episodes", 8), "episodes"),
        (Reported(5, 2, "population sd"), "without its number of seeds"),
        (Reported(5, 2, "standard error"), "without its number of seeds"),
        (Reported(5, 2, "interval 95"), "without its number of seeds"),
    ],
)
def test_an_unknown_spread_is_said_and_assumed(reported: Reported, said: str) -> None:
    spread = reported.sample_spread()
    assert spread.sd is None
    assert said in spread.note
    tested = claim_test(np.linspace(4, 6, 10), reported, 1.0)
    assert any(said in note for note in tested.notes)
    assert "times ours" in tested.assumed
    assert ("number of seeds" in tested.assumed) == (reported.num_seeds is None)


def test_a_zero_spread_is_said() -> None:
    spread = Reported(500, 0.0, "standard error", 3).sample_spread()
    assert spread == stats.Spread(0.0, "the paper prints a spread of zero")


def test_per_seed_values_stand_over_the_printed_mean_and_say_so() -> None:
    reported = Reported(6, 1, "population sd", 8, EIGHT)
    assert (reported.center, reported.num_seeds) == (5, 8)
    assert "their mean is 5, not the 6 printed" in reported.sample_spread().note
    assert "printed" not in Reported(5.001, per_seed=EIGHT).sample_spread().note


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "sample std"}, "did you mean 'sample sd'"),
        ({"mean": math.nan}, "reported mean"),
        ({"mean": math.inf}, "reported mean"),
        ({"spread": -1.0}, "reported spread"),
        ({"spread": math.inf}, "reported spread"),
        ({"seeds": 0}, "number of seeds"),
        ({"per_seed": (1.0, math.nan)}, "per-seed"),
        ({"per_seed": ()}, "per-seed"),
        ({"per_seed": (1.0, 2.0), "seeds": 3}, "2 per-seed values are reported, but 3 seeds"),
        ({"low": 1.0}, "both low and high"),
        ({"low": 1.0, "high": 9.0}, "interval 95"),
        ({"low": 6.0, "high": 9.0, "kind": "interval 95"}, "outside"),
    ],
)
def test_a_faulty_number_is_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Problem, match=said):
        Reported(**{"mean": 5.0} | fields)


# --- a p-value in print


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "< 0.001"),
        (1e-9, "< 0.001"),
        (0.0009, "< 0.001"),
        (0.000999, "< 0.001"),
        (0.001, "0.001"),
        (0.0014, "0.001"),
        (0.0099, "0.010"),
        (0.0123, "0.012"),
        (0.05, "0.050"),
        (0.0994, "0.099"),
        (0.0999, "0.100"),
        (0.1, "0.10"),
        (0.126, "0.13"),
        (0.5, "0.50"),
        (1.0, "1.00"),
    ],
)
def test_a_p_value_has_three_digits_below_a_tenth_and_none_below_a_thousandth(p: float, text: str) -> None:
    assert stats.p_text(p) == text


# --- plain tests equal the libraries


@PROPERTY
@given(samples(), samples())
def test_welch_equals_scipy(x: list[float], y: list[float]) -> None:
    ours = stats.welch(x, y)
    theirs = scipy.stats.ttest_ind(x, y, equal_var=False)
    assert ours.p_difference == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-300)
    assert ours.df == pytest.approx(theirs.df, rel=1e-9)
    for p, alternative in ((ours.p_above, "greater"), (ours.p_below, "less")):
        expected = scipy.stats.ttest_ind(x, y, equal_var=False, alternative=alternative).pvalue
        assert p == pytest.approx(expected, rel=1e-9, abs=1e-300)


@PROPERTY
@given(VALUES, st.floats(0.01, 50), st.integers(2, 40), VALUES, st.floats(0.01, 50), st.integers(2, 40))
def test_welch_from_summary_equals_scipy(a: float, s: float, n: int, b: float, r: float, m: int) -> None:
    theirs = scipy.stats.ttest_ind_from_stats(a, s, n, b, r, m, equal_var=False)
    assert stats.welch_from_summary(a, s, n, b, r, m).p_difference == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-300)


@PROPERTY
@given(samples(), samples(), st.floats(0.01, 500))
def test_two_one_sided_tests_equal_statsmodels(x: list[float], y: list[float], margin: float) -> None:
    expected, *_ = ttost_ind(np.array(x), np.array(y), -margin, margin, usevar="unequal")
    plain = stats.welch(x, y)
    assert stats.equivalence_p(plain.difference, plain.se, plain.df, margin) == pytest.approx(
        expected, rel=1e-8, abs=1e-300
    )


@settings(PROPERTY, max_examples=15)  # statsmodels takes long
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p: list[float]) -> None:
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12, atol=0)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04 × 3, 2, 1 = 0.03, 0.04, 0.04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []
    with pytest.raises(Problem):
        holm([0.1, math.nan])


# --- the guarded test


def test_guarded_se_by_hand() -> None:
    one = 1 / stats.IMAGINED  # a margin of which a variance of 1 is added
    # Ten seeds, s² = 4; five, s² = 3. The smaller counts as 4·4 − 3·3 = 7, of which 4 are lent: on our 9 degrees of
    # freedom rest 4/10 + 4/5 = 1.2, on theirs 3/5; what the margin adds, 1/10 + 1/5, is no estimate.
    se, df, *used = stats.guarded_se(4.0, 10, 3.0, 5, one)
    assert used == pytest.approx([5, 8])
    assert float(se) == pytest.approx(math.sqrt(2.1))
    assert float(df) == pytest.approx(2.1**2 / (1.2**2 / 9 + 0.6**2 / 4))
    # Our ten are the smaller: 2·7 − 4 = 10, of which 6 are lent: on theirs rest 7/5 + 6/10, on ours 4/10.
    se, df, *used = stats.guarded_se(4.0, 10, 7.0, 5, one)
    assert used == pytest.approx([11, 8])
    assert float(df) == pytest.approx(2.7**2 / (2.0**2 / 4 + 0.4**2 / 9))
    # Of a spread of none all is lent, and of equal ones nothing: the lender's degrees of freedom, and Welch's.
    for margin in (0.0, one):
        se, df, *_ = stats.guarded_se(0.0, 10, 7.0, 5, margin)
        assert float(df) * (7 / 5 + 14 / 10) ** 2 == pytest.approx(4 * float(se) ** 4)
    assert float(stats.guarded_se(4.0, 10, 4.0, 5, 0.0)[1]) == pytest.approx(stats.welch_se(4.0, 9, 10, 4.0, 4, 5)[1])
    # Fewer than ten of ours: a whole margin, and 4·7 − 3·4 = 16.
    assert stats.guarded_se(4.0, 9, 7.0, 5, 3.0)[2:] == pytest.approx((25, 16))
    # And degrees of freedom of the larger, the paper's, on which both rest; of no more seeds than ours are.
    assert float(stats.guarded_se(4.0, 9, 7.0, 5, 3.0)[1]) == 4
    assert float(stats.guarded_se(4.0, 3, 7.0, 5, 3.0)[1]) == 2
    assert float(stats.guarded_se(7.0, 3, 4.0, 50, 3.0)[1]) == 2
    # Unknown: three times ours, one and a quarter margins at least.
    assert stats.guarded_se(4.0, 10, None, 1, one)[2:] == pytest.approx((5, 36))
    assert stats.guarded_se(0.0, 10, None, 1, one)[2:] == pytest.approx((1, (1.25 * one) ** 2))


@PROPERTY
@given(samples(2, 14), VALUES, st.floats(0.1, 100), st.integers(2, 12), st.floats(0.1, 500))
def test_the_intervals_say_what_the_tests_say(x: list[float], mean: float, sd: float, m: int, margin: float) -> None:
    tested = claim_test(x, Reported(mean, sd, "sample sd", m), margin)
    assert tested.low <= tested.low_90 <= tested.difference <= tested.high_90 <= tested.high
    assert tested.p_difference == pytest.approx(min(1, 2 * min(tested.p_above, tested.p_below)))
    assume(min(abs(tested.low), abs(tested.high)) > 1e-6 * margin)
    assert (tested.p_difference <= 0.05) == (not tested.low <= 0 <= tested.high)
    inside = -margin < tested.low_90 and tested.high_90 < margin
    assert (tested.p_equivalence <= 0.05) == (inside and len(x) >= stats.MIN_SEEDS)


@PROPERTY
@given(samples(10, 14), VALUES, st.floats(0.1, 100), st.integers(2, 12), st.floats(0.1, 500))
def test_the_guards_never_make_more_certain_of_equality(
    x: list[float], mean: float, sd: float, m: int, margin: float
) -> None:
    tested = claim_test(x, Reported(mean, sd, "sample sd", m), margin)
    plain = stats.welch_from_summary(np.mean(x), np.std(x, ddof=1), len(x), mean, sd, m)
    assert tested.se >= plain.se
    assert tested.used_measured_sd >= tested.measured_sd
    assert tested.used_reported_sd >= sd


@PROPERTY
@given(samples(10, 14), st.floats(0.1, 100), st.integers(2, 12), st.floats(1, 500), st.floats(-1e3, 1e3))
def test_the_answer_turns_with_the_sign_and_moves_with_the_unit(
    x: list[float], sd: float, m: int, margin: float, mean: float
) -> None:
    one = claim_test(x, Reported(mean, sd, "sample sd", m), margin)
    turned = claim_test([-value for value in x], Reported(-mean, sd, "sample sd", m), margin)
    assert (turned.p_above, turned.p_below) == pytest.approx((one.p_below, one.p_above), rel=1e-6, abs=1e-12)
    scaled = claim_test([3 * value for value in x], Reported(3 * mean, 3 * sd, "sample sd", m), 3 * margin)
    assert scaled.p_equivalence == pytest.approx(one.p_equivalence, rel=1e-6, abs=1e-12)
    assert scaled.p_difference == pytest.approx(one.p_difference, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("sd", [None, 4.0, 40.0])
def test_more_seeds_and_a_smaller_difference_are_more_equal(sd: float | None) -> None:
    def p(copies: int, shift: float) -> float:
        reported = Reported(100 + shift, sd, "none" if sd is None else "sample sd", 10)
        return claim_test(np.tile([95.0, 100.0, 105.0], copies), reported, 30.0).p_equivalence

    by_seeds, by_shift = [p(copies, 0) for copies in (4, 8, 16)], [p(8, shift) for shift in (0, 5, 10, 20)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    assert by_shift == sorted(by_shift)


def test_fewer_than_ten_seeds_never_reproduce_and_say_how_many_do() -> None:
    reported = Reported(500, 0.0, "sample sd", 10)
    nine, ten = (claim_test([500.0] * n, reported, 25) for n in (9, 10))
    assert (decide([nine])[0].verdict, decide([ten])[0].verdict) == ("inconclusive", "reproduced")
    assert any("at least 10" in note for note in nine.notes)


def test_zero_spread_on_both_sides_is_not_certainty() -> None:
    reported = Reported(500, 0.0, "sample sd", 3)
    near, far = claim_test([500.0] * 10, reported, 25), claim_test([485.0] * 10, reported, 25)
    assert 0 < near.p_equivalence < 0.05 < far.p_equivalence
    assert claim_test([485.0] * 3, reported, 25).p_difference > 0.05  # plainly: 0 / 0, or p = 0
    assert claim_test([200.0] * 3, reported, 25).p_difference < 0.05
    assert any("gave the same" in note for note in near.notes)
    assert any("spread of zero" in note for note in near.notes)


def test_one_measured_seed_borrows_the_papers_spread_and_decides_nothing() -> None:
    tested = claim_test([100.0], Reported(0, 10, "sample sd", 10), 5)
    assert tested.measured_sd is None
    assert tested.used_measured_sd == tested.used_reported_sd
    assert tested.low > 0
    assert decide([tested])[0].verdict == "inconclusive"
    neither = claim_test([100.0], Reported(0), 5)
    assert (neither.p_equivalence, neither.p_difference, neither.se) == (1, 1, math.inf)
    assert any("nothing can be concluded" in note for note in neither.notes)


def test_one_measured_seed_varies_as_much_as_the_papers_do_by_hand() -> None:
    # 10² of the paper's spread and 5² of a margin; of one seed of ours and ten of theirs: se² = 125 · (1 + 1/10)
    tested = claim_test([100.0], Reported(0, 10, "sample sd", 10), 5)
    assert tested.used_measured_sd == pytest.approx(math.sqrt(125))
    assert tested.se == pytest.approx(math.sqrt(137.5))
    assert tested.df == 9
    half = scipy.stats.t(9).ppf(0.975) * math.sqrt(137.5)
    assert (tested.low, tested.high) == pytest.approx((100 - half, 100 + half))


def test_a_printed_spread_without_its_seeds_has_the_degrees_of_freedom_of_ours() -> None:
    reported = Reported(0, 10, "sample sd")
    # Ten of ours without any spread: 2 · 10² − 0 is lent, with the paper's degrees of freedom, for which our 9 stand.
    # Of what is estimated se² = 200/10 + 100/1 = 120; with half of a margin of 10 it is 120 + 25 · 1.1 = 147.5.
    tested = claim_test([500.0] * 10, reported, 10)
    assert tested.se == pytest.approx(math.sqrt(147.5))
    assert tested.df == pytest.approx(9 / (120 / 147.5) ** 2)  # all that is estimated rests on the printed spread
    # Of fewer than ten they are those of the larger spread, the paper's, for which ours stand too.
    assert [claim_test([500.0] * n, reported, 10).df for n in (2, 5, 9)] == [1, 4, 8]


def test_a_spread_of_less_than_half_the_other_is_said_and_whose_it_is() -> None:
    ten = np.array([-3.0, 3.0] * 5) * math.sqrt(0.9)  # Σ = 81, sample sd 3

    def said(sd: float) -> list[str]:
        notes = claim_test(ten, Reported(0, sd, "sample sd", 10), 5).notes
        return [note.partition(":")[0] for note in notes if "missed a mode" in note]

    assert stats.claim_test(ten, Reported(0, 3, "sample sd", 10), 5).measured_sd == pytest.approx(3)
    assert said(2.1 * 3) == ["Our spread is less than half the paper's"]
    assert said(3 / 2.1) == ["The paper's spread is less than half ours"]
    assert said(1.9 * 3) == said(3 / 1.9) == said(3.0) == []


@pytest.mark.parametrize(
    ("seeds", "chance"), [(1, None), (2, "49%"), (3, "34%"), (4, "24%"), (5, "17%"), (9, "4%"), (10, None)]
)
def test_how_often_fewer_than_ten_seeds_of_the_paper_hide_some_that_fail_is_said(
    seeds: int, chance: str | None
) -> None:
    notes = claim_test(np.linspace(-3, 3, 10), Reported(0, 2, "sample sd", seeds), 5).notes
    told = f"Were 30 % of the paper's seeds to fail, its {seeds} would not show it with probability {chance}: "
    assert [note for note in notes if "to fail" in note] == [told + "no test can see that."] * (chance is not None)


def test_an_unknown_spread_abstains_below_ten_seeds() -> None:
    reported = Reported(0, seeds=5)
    assert decide([claim_test([1000.0, 1001.0, 999.0], reported, 5)])[0].verdict == "inconclusive"
    assert decide([claim_test(np.linspace(990, 1010, 10), reported, 5)])[0].verdict == "above"


@pytest.mark.parametrize(
    ("measured", "margin", "said"),
    [
        ([1.0, math.nan], 1.0, "holds nan"),
        ([1.0, math.inf], 1.0, "holds inf"),
        ([], 1.0, "0 seeds"),
        ([[1.0]], 1.0, "shape"),
        ([1.0, 2.0], 0.0, "margin"),
        ([1.0, 2.0], -1.0, "margin"),
        ([1.0, 2.0], math.nan, "margin"),
    ],
)
def test_bad_values_are_one_line(measured: Any, margin: float, said: str) -> None:
    with pytest.raises(Problem, match=said):
        claim_test(measured, Reported(1.0, 1.0, "sample sd", 5), margin)


# --- verdicts


@dataclasses.dataclass
class Fake:
    p_equivalence: float
    p_difference: float
    direction: Any = "below"


def test_verdicts_by_hand() -> None:
    # equivalence: 0.01 × 4, 0.02 × 3 = 0.06 → no longer; difference: 0.001 × 4, 0.012 × 3 = 0.036, 0.03 × 2 = 0.06
    tests = [Fake(0.01, 0.001), Fake(0.02, 0.012, "above"), Fake(0.9, 0.03), Fake(1.0, 1.0)]
    decisions = decide(tests)
    assert [decision.verdict for decision in decisions] == ["reproduced", "above", "inconclusive", "inconclusive"]
    assert [decision.p_difference for decision in decisions] == pytest.approx([0.004, 0.036, 0.06, 1])
    assert decide([]) == []


_P = st.floats(0, 1)


@given(st.lists(st.tuples(_P, _P), min_size=1, max_size=8), st.integers(0, 8))
def test_to_test_more_of_a_card_s_claims_takes_no_verdict_away(pairs: list[tuple[float, float]], tested: int) -> None:
    """Claims that wait count with a p of 1: whatever they come to, the others' corrected p-values do not rise."""
    rows = [Fake(*pair) for pair in pairs]
    first = decide(rows[:tested], len(rows) - len(rows[:tested]))
    for before, after in zip(first, decide(rows), strict=False):
        assert after.p_equivalence <= before.p_equivalence
        assert after.p_difference <= before.p_difference
    assert decide(rows[:1], len(rows) - 1)[0].p_equivalence == min(1.0, len(rows) * pairs[0][0])


# --- how many seeds


@pytest.mark.parametrize(
    ("sd", "reported", "margin", "difference", "kind"),
    [
        (10.0, Reported(0, 10, "sample sd", 30), 8.0, 0.0, "equivalence"),
        (10.0, Reported(0, 8, "sample sd", 20), 11.0, 2.0, "equivalence"),
        (10.0, Reported(0, 10, "sample sd", 10), 10.0, 14.0, "difference"),
        (10.0, Reported(0, seeds=35), 19.0, 0.0, "equivalence"),
    ],
)
def test_seeds_needed_have_that_power(
    sd: float, reported: Reported, margin: float, difference: float, kind: Any
) -> None:
    needed = power.seeds_needed(sd, reported, margin, difference, kind)
    assert needed.seeds is not None
    n, repetitions, generator = needed.seeds, 20_000, np.random.default_rng(0)
    theirs, m = reported.sample_sd, reported.num_seeds
    assert m is not None
    x = generator.normal(difference, sd, (repetitions, n))
    y = generator.normal(0, theirs or stats.ASSUMED_SPREAD * sd, (repetitions, m)).mean(1)
    se, df, *_ = stats.guarded_se(x.var(1, ddof=1), n, None if theirs is None else theirs**2, m, margin)
    if kind == "equivalence":
        found = np.mean(stats.equivalence_p(x.mean(1) - y, se, df, margin) <= 0.05)
    else:
        found = np.mean(2 * np.minimum(*stats.one_sided(x.mean(1) - y, se, df)) <= 0.05)
    assert found == pytest.approx(needed.power, abs=0.012)
    assert found == pytest.approx(0.8, abs=0.03)
    assert n > stats.MIN_SEEDS
    assert power.power_at(n - 1, sd, reported, margin, difference, kind) < 0.8


@pytest.mark.parametrize(("kind", "difference"), [("equivalence", 3.0), ("difference", 7.0), ("difference", 9.5)])
def test_seeds_needed_for_a_printed_number_have_that_power(kind: Any, difference: float) -> None:
    """By `band_test`, whose degrees of freedom are those of our seeds, however much of a margin is counted."""
    alpha, repetitions = 0.05 / 20, 4_000
    needed = power.seeds_needed(1.0, None, 5.0, difference, kind, alpha=alpha, from_printed=True)
    assert needed.seeds is not None
    inside = power.seeds_needed(1.0, None, 5.0, 3.0, "difference", from_printed=True)
    assert (inside.seeds, inside.note) == (None, "there is no difference to be found")  # 3 lies in a band of ± 5
    draws = np.random.default_rng(0).normal(100 + difference, 1.0, (repetitions, needed.seeds))
    tests = [stats.band_test(x, 100.0, 5.0) for x in draws]
    p = np.array([one.p_equivalence if kind == "equivalence" else one.p_difference for one in tests])
    assert np.mean(p <= alpha) == pytest.approx(needed.power, abs=0.02)
    assert needed.power >= 0.8
    assert (
        needed.seeds == stats.MIN_SEEDS
        or power.power_at(needed.seeds - 1, 1.0, None, 5.0, difference, kind, alpha, from_printed=True) < 0.8
    )


def test_no_number_of_seeds_outruns_the_papers_own_uncertainty() -> None:
    needed = power.seeds_needed(1.0, Reported(0, 10, "sample sd", 3), 5.0)
    assert needed.seeds is None
    assert "paper's own uncertainty" in needed.note
    assert needed.note.endswith("the paper's own uncertainty is too large")
    assert needed.open_by == "paper"
    barely = power.seeds_needed(10.001, Reported(0, 10, "sample sd", 3), 2.0)  # open whatever ours is
    assert (barely.open_by, barely.note) == ("paper", needed.note)
    lent = power.seeds_needed(10.0, Reported(0, 10, "unknown", 3), 5.0)
    assert lent.note.endswith("the paper's own spread, which is unknown and taken for 30, is too large")
    assert lent.open_by == "paper"
    assert power.seeds_needed(1.0, Reported(0, 1, "sample sd", 10), 1.0, 1.0).seeds is None
    assert power.seeds_needed(1.0, Reported(0, 1, "sample sd", 10), 1.0, 0.0, "difference").seeds is None
    assert power.seeds_needed(0.0, Reported(0, 1, "sample sd", 10), 100.0).seeds == stats.MIN_SEEDS


@pytest.mark.parametrize(
    ("sd", "spread", "seeds", "margin", "difference", "counted"),
    [
        (16.76, 0.5, 5, 2.0, 0.0, "33.52"),  # beside our wider spread: √(4 · 16.76² − 3 · 0.5² + 1²)
        (0.1, 0.1, 5, 3.0, 2.2, "1.503"),  # for half a margin: √(0.1² + 1.5²), and 2.2 + 1.65 · 1.503 / √5 > 3
        (1.0, 2.0, 5, 9.0, 3.2, "4.924"),  # a difference: 2.78 · 2 / √5 = 2.48
    ],
)
def test_what_the_guards_alone_leave_open_is_not_blamed_on_the_paper(
    sd: float, spread: float, seeds: int, margin: float, difference: float, counted: str
) -> None:
    paper = Reported(0, spread, "sample sd", seeds)
    kind: Any = "difference" if difference > 3 else "equivalence"
    needed = power.seeds_needed(sd, paper, margin, difference, kind, from_printed=True)
    assert (needed.seeds, needed.open_by) == (None, "guards")
    assert needed.note.endswith(f"the test is guarded, and counts the paper's spread of {spread:g} as {counted}")
    ours = np.random.default_rng(0).normal(difference, sd, (400, 5_000))  # ours, of so many seeds; theirs is given
    se, df = stats.welch_se(ours.var(1, ddof=1), 4_999, 5_000, spread**2, seeds - 1, seeds)
    if kind == "equivalence":
        found = stats.equivalence_p(ours.mean(1), se, df, margin) <= 0.05
    else:
        found = 2 * np.minimum(*stats.one_sided(ours.mean(1), se, df)) <= 0.05
    assert np.mean(found) > 0.8
    larger = dataclasses.replace(paper, spread=10 * spread)  # then it is the paper's
    assert power.seeds_needed(sd, larger, margin, difference, kind, from_printed=True).open_by == "paper"


def test_a_spread_printed_without_its_seeds_is_not_blamed_where_the_guards_alone_leave_it_open() -> None:
    """Plainly it is that of one seed, as sure as ours are: 1.645 · √(0.5² + 16.76² / 10⁶) is well below 2."""
    needed = power.seeds_needed(16.76, Reported(0, 0.5, "sample sd"), 2.0, from_printed=True)
    assert (needed.seeds, needed.open_by) == (None, "guards")
    assert power.seeds_needed(16.76, Reported(0, 1.3, "sample sd"), 2.0, from_printed=True).open_by == "paper"


@pytest.mark.parametrize(("difference", "seeds"), [(60.0, 2), (10.0, 3), (4.0, 4), (2.5, 6)])
def test_a_large_difference_is_found_with_fewer_seeds_than_equality_asks_for(difference: float, seeds: int) -> None:
    """By draws of our seeds, beside ten of the paper's with a spread of 1; a margin of ½ adds ½² to either variance."""

    def share(n: int) -> float:
        draws = np.random.default_rng(0).normal(difference, 1, (20_000, n))
        ours = draws.var(1, ddof=1)
        counted, theirs = np.maximum(ours, 4 - 3 * ours), np.maximum(1, 4 * ours - 3)
        t = draws.mean(1) / np.sqrt((counted + 0.25) / n + (theirs + 0.25) / 10)
        return float(np.mean(t > scipy.stats.t(n - 1).ppf(0.975)))

    needed = power.seeds_needed(1.0, Reported(0, 1, "sample sd", 10), 0.5, difference, "difference", from_printed=True)
    assert needed.seeds == seeds == next(n for n in range(2, 10) if share(n) >= 0.8)
    assert needed.power == pytest.approx(share(seeds), abs=0.02)
    assert needed.note == f"{seeds} seeds" + ", the fewest that can decide" * (seeds == 2)


# --- acceptance


@pytest.mark.parametrize(
    ("reached", "seeds", "verdict", "p_below"),
    [
        (5, 5, "inconclusive", 1.0),  # fewer than ten seeds
        (2, 10, "inconclusive", 3 / 11),
        (3, 10, "accepted", 4 / 11),
        (0, 10, "inconclusive", 1 / 11),
        (0, 19, "below", 1 / 20),
        (0, 18, "inconclusive", 1 / 19),
        (3, 20, "inconclusive", 4 / 21),
        (4, 20, "accepted", 5 / 21),
        (1, 39, "below", 2 / 40),
        (1, 38, "inconclusive", 2 / 39),
    ],
)
def test_acceptance_by_rank_and_by_share(reached: int, seeds: int, verdict: str, p_below: float) -> None:
    found = stats.acceptance([100.0] * reached + [0.0] * (seeds - reached), Reported(110), 10)
    assert (found.reached, found.verdict) == (reached, verdict)
    assert found.p_below == pytest.approx(p_below)
    assert found.p_accepted == pytest.approx(scipy.stats.binomtest(reached, seeds, 0.05, "greater").pvalue)
    assert (found.low, found.high) == pytest.approx(
        tuple(scipy.stats.binomtest(reached, seeds).proportion_ci(0.95, "exact")), abs=1e-12
    )


def test_of_the_seeds_that_reach_a_published_agent_those_that_do_without_the_tolerance_are_told_apart() -> None:
    found = stats.acceptance([99.0, 100.0, 109.0, 110.0, 110.0, 111.0], Reported(110), 10)
    assert (found.threshold, found.reached, found.outright, found.seeds) == (100, 5, 3, 6)
    exact = stats.acceptance([109.0, 110.0, 110.0], 110.0)
    assert (exact.reached, exact.outright) == (2, 2)


def test_acceptance_says_when_few_reach_it() -> None:
    assert "too few do" in stats.acceptance([1.0] + [0.0] * 99, 1.0).note
    assert "19 seeds" in stats.acceptance([0.0] * 5, 1.0).note
    assert "too few to show" in stats.acceptance([1.0] + [0.0] * 9, 1.0).note
    assert stats.acceptance([1.0] * 5, 1.0).note == "5 of 5 seeds reach it; to be reproduced takes at least 10 seeds."
    with pytest.raises(Problem):
        stats.acceptance([1.0], 1.0, -1)
    with pytest.raises(Problem):
        stats.acceptance([1.0], math.nan)


def test_a_uniform_rank_is_below_no_oftener_than_it_says() -> None:
    """A published agent that is one more of ours is said to be beyond us in 5 % of 39 seeds: none or one reach it."""
    draws = np.random.default_rng(0).exponential(size=(20_000, 40))
    below = [stats.acceptance(ours, published).verdict == "below" for published, *ours in draws]
    assert np.mean(below) == pytest.approx(0.05, abs=0.005)


def test_acceptance_errs_no_oftener_than_it_says() -> None:
    """A published agent that one seed in twenty reaches is accepted in at most 5 %, whatever the number of seeds."""
    for seeds in (10, 15, 20, 25, 50):
        reached = range(seeds + 1)
        accepted = [stats.acceptance([1.0] * k + [0.0] * (seeds - k), 1.0).verdict == "accepted" for k in reached]
        assert scipy.stats.binom(seeds, 0.05).pmf(reached) @ accepted <= 0.05
        one_less = [*accepted[1:], True]
        assert scipy.stats.binom(seeds, 0.05).pmf(reached) @ one_less > 0.05
        assert scipy.stats.binom(seeds, 0.5).pmf(reached) @ accepted > 0.9


# --- order


def test_partial_conjunction_by_hand() -> None:
    # sorted 0.01, 0.02, 0.5: (3 − k + 1) p_(k) = 0.03, 0.04, 0.5; of 0.02, 0.021, 0.5: 0.06, then 0.042 made 0.06
    assert [stats.partial_conjunction([0.5, 0.01, 0.02], k) for k in (1, 2, 3)] == pytest.approx([0.03, 0.04, 0.5])
    assert [stats.partial_conjunction([0.5, 0.02, 0.021], k) for k in (1, 2, 3)] == pytest.approx([0.06, 0.06, 0.5])
    with pytest.raises(Problem):
        stats.partial_conjunction([0.5], 2)


def test_an_order_needs_as_many_tasks_as_claimed() -> None:
    generator = np.random.default_rng(0)
    low = [generator.normal(0, 1, 10) for _ in range(5)]
    high = [task + 5 for task in low[:4]] + [low[4] - 5]
    four, five = stats.order_test(high, low, 4), stats.order_test(high, low, 5)
    assert four.wins == 4
    assert [decision.verdict for decision in decide([four])] == ["reproduced"]
    assert [decision.verdict for decision in decide([five])] == ["below"]
    same = stats.order_test(low, [task[::-1] for task in low], 3)
    assert [decision.verdict for decision in decide([same])] == ["inconclusive"]


def test_an_order_is_contradicted_only_on_more_tasks_than_it_leaves_to_the_other() -> None:
    """Of five tasks four are claimed: on one the other may be ahead, by however much."""
    same, ahead = np.arange(10.0), np.arange(10.0) + 15  # by five standard deviations: no deal of 10 and 10 is rarer
    rarest = 1 / 184_756  # 10!·10! / 20!
    one = stats.order_test([same] * 5, [same] * 4 + [ahead], 4)
    assert one.p_below == pytest.approx([0.5] * 4 + [rarest])
    assert (one.p_contrary, decide([one])[0].verdict) == (1.0, "inconclusive")  # 5 · rarest, then 4 · ½
    two = stats.order_test([same] * 5, [same] * 3 + [ahead] * 2, 4)
    assert two.p_contrary == pytest.approx(5 * rarest)
    assert decide([two])[0].verdict == "below"
    any_task = stats.order_test([same] * 5, [same] + [ahead] * 4, 1)  # five are more than it leaves: the last is ½
    assert (any_task.p_contrary, decide([any_task])[0].verdict) == (0.5, "inconclusive")


def test_order_without_any_spread_is_no_more_certain_than_complete_separation() -> None:
    found = stats.order_test([[1.0] * 3], [[0.0] * 3], 1)
    assert found.p_above == (1 / 20,)  # 3!·3! / 6!
    assert "complete separation" in found.notes[0]
    equal = stats.order_test([[1.0] * 3], [[1.0] * 3], 1)
    assert (equal.p_above, equal.p_below) == ((0.5,), (0.5,))
    for a, b, k in (([], [], 1), ([[1.0, 2.0]], [], 1), ([[1.0, 2.0]], [[1.0, 2.0]], 2), ([[1.0]], [[1.0, 2.0]], 1)):
        with pytest.raises(Problem):
            stats.order_test(a, b, k)


# --- aggregates


@st.composite
def score_tables(draw: st.DrawFn) -> np.ndarray:
    """`[runs, tasks]` as rliable has them, with ties."""
    runs, tasks = draw(st.integers(1, 13)), draw(st.integers(1, 6))
    scores = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(0.8, 0.5, (runs, tasks))
    return scores.round(draw(st.sampled_from([1, 12])))


@PROPERTY
@given(score_tables(), st.integers(0, 2**32 - 1))
def test_aggregates_equal_rliable(scores: np.ndarray, seed: int) -> None:
    tasks = list(scores.T)
    pairs = {
        "iqm": (aggregates.iqm(tasks), metrics.aggregate_iqm(scores)),
        "mean": (aggregates.mean_of_tasks(tasks), metrics.aggregate_mean(scores)),
        "median": (aggregates.median_of_tasks(tasks), metrics.aggregate_median(scores)),
        "gap": (aggregates.optimality_gap(tasks), metrics.aggregate_optimality_gap(scores)),
    }
    for name, (ours, theirs) in pairs.items():
        assert float(ours) == pytest.approx(theirs, rel=1e-12, abs=1e-12), name
    thresholds = np.linspace(-1, 3, 21)
    np.testing.assert_allclose(
        aggregates.profile(tasks, thresholds), rly.score_distributions(scores, thresholds), atol=1e-12
    )
    rivals = np.random.default_rng(seed).normal(0.8, 0.5, (len(scores) + 2, scores.shape[1])).round(1)
    expected = metrics.probability_of_improvement(scores, rivals)
    assert float(aggregates.improvement(tasks, list(rivals.T))) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_tasks_with_different_numbers_of_seeds_weigh_the_same() -> None:
    # Doubling every seed of one task changes nothing that weighs tasks alike.
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=8), generator.normal(size=8)
    plain, doubled = [one, other], [np.repeat(one, 2), other]
    for statistic in (aggregates.mean_of_tasks, aggregates.median_of_tasks, aggregates.optimality_gap, aggregates.iqm):
        assert float(statistic(doubled)) == pytest.approx(float(statistic(plain)), abs=1e-12)
    np.testing.assert_allclose(aggregates.profile(doubled, [0.0, 0.5]), aggregates.profile(plain, [0.0, 0.5]))
    # IQM by hand: tasks (0, 4) and (1, 2, 3, 9), of weights ¼ and ⅛; ⌊6/4⌋/6 = ⅙ is cut at either end. From below:
    # 0 keeps ¼ − ⅙ = 1/12, then 1, 2, 3 an eighth each; from above 9 is gone and 1/24 of 4: 5/24 of it is left.
    uneven = [np.array([0.0, 4.0]), np.array([1.0, 2.0, 3.0, 9.0])]
    assert float(aggregates.iqm(uneven)) == pytest.approx(((1 + 2 + 3) / 8 + 4 * 5 / 24) / (2 / 3))


def test_the_bootstrap_resamples_seeds_within_tasks_and_nothing_else() -> None:
    scores = [np.array([0.0, 1.0, 2.0]), np.array([10.0, 20.0])]
    drawn = aggregates.resample(scores, np.random.default_rng(0), 500)
    assert [task.shape for task in drawn] == [(500, 3), (500, 2)]
    for task, of_task in zip(scores, drawn, strict=True):
        assert set(of_task.ravel()) == set(task)
        assert len({tuple(sorted(row)) for row in of_task}) > 1


def test_bootstrap_intervals_are_the_same_from_the_same_generator_and_equal_the_long_way() -> None:
    scores = [np.random.default_rng(task).normal(size=6) for task in range(3)]
    first, second = (aggregates.aggregates(scores, np.random.default_rng(7)) for _ in range(2))
    assert first == second != aggregates.aggregates(scores, np.random.default_rng(8))
    value, low, high = aggregates.bootstrap(aggregates.iqm, np.random.default_rng(7), scores, repetitions=200)
    generator = np.random.default_rng(7)
    drawn = aggregates.resample(scores, generator, 200)
    slowly = [scipy.stats.trim_mean(np.concatenate([task[row] for task in drawn]), 0.25) for row in range(200)]
    assert (low, high) == pytest.approx(tuple(np.quantile(slowly, [0.025, 0.975])), abs=1e-12)
    assert low <= value <= high


@pytest.mark.parametrize("repetitions", [None, 300])
def test_each_interval_is_of_two_thousand_resamples_or_as_many_as_are_asked_for(repetitions: int | None) -> None:
    x, y = ([np.random.default_rng(10 * side + task).normal(side, 1, 6) for task in range(3)] for side in range(2))
    given: dict[str, int] = {} if repetitions is None else {"repetitions": repetitions}
    count = repetitions or 2000

    def drawn(tasks: list[np.ndarray]) -> np.ndarray:
        """`[count, tasks, seeds]`"""
        return np.stack([task[generator.integers(6, size=(count, 6))] for task in tasks], 1)

    def ends(values: np.ndarray) -> Any:
        return pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))

    by_hand = {
        "iqm": lambda runs: scipy.stats.trim_mean(runs.reshape(count, 18), 0.25, axis=1),
        "mean": lambda runs: runs.mean((1, 2)),
        "median": lambda runs: np.median(runs.mean(2), 1),
        "optimality gap": lambda runs: 1 - np.minimum(runs, 1).mean((1, 2)),
    }
    ours, generator = np.random.default_rng(3), np.random.default_rng(3)
    found = aggregates.aggregates(x, ours, **given)
    for name, statistic in by_hand.items():
        assert (found[name].low, found[name].high) == ends(statistic(drawn(x))), name
    _, low, high = aggregates.profile_estimate(x, [0.5], ours, **given)
    assert (low[0], high[0]) == ends((drawn(x) > 0.5).mean((1, 2)))
    better = aggregates.improvement_estimate(y, x, ours, **given)
    assert (better.low, better.high) == ends((drawn(y)[..., :, None] > drawn(x)[..., None, :]).mean((1, 2, 3)))
    _, low, high = aggregates.bootstrap(aggregates.mean_of_tasks, ours, x, **given)
    assert (low, high) == ends(drawn(x).mean((1, 2)))
    assert ours.random() == generator.random()  # neither drew more


def test_profiles_and_improvement_have_intervals() -> None:
    generator = np.random.default_rng(0)
    x, y = ([generator.normal(shift, 1, 8) for _ in range(4)] for shift in (3, 0))
    value, low, high = aggregates.profile_estimate(x, [0, 3, 9], generator, 200)
    assert value.shape == (3,)
    assert ((low <= value) & (value <= high)).all()
    better = aggregates.improvement_estimate(x, y, generator, 200)
    assert better.low is not None
    assert 0.5 < better.low <= better.value
    for scores in ([], [[]], [[1.0, math.nan]]):
        with pytest.raises(Problem):
            aggregates.aggregates(scores, generator)
    with pytest.raises(Problem):
        aggregates.improvement_estimate(x, y[:2], generator)


# --- intervals of a mean


@PROPERTY
@given(samples())
def test_the_mean_interval_equals_scipy(x: list[float]) -> None:
    found = stats.mean_interval(x)
    expected = scipy.stats.t.interval(0.95, len(x) - 1, np.mean(x), scipy.stats.sem(x))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_mean_interval_of_one_seed_and_of_equal_ones() -> None:
    assert stats.mean_interval([3.0]) == stats.Estimate(3.0, None, None, "one seed has no interval")
    equal = stats.mean_interval([0.1] * 7)
    assert (equal.low, equal.high) == (0.1, 0.1)
    assert "no width" in equal.note


def test_a_band_is_the_mean_interval_at_each_point() -> None:
    curves = np.random.default_rng(0).normal(size=(5, 4))
    curves[1:, 3] = np.nan
    mean, low, high = stats.mean_band(curves)
    for point in range(3):
        one = stats.mean_interval(curves[:, point])
        assert (mean[point], low[point], high[point]) == pytest.approx((one.value, one.low, one.high))
    assert mean[3] == curves[0, 3]
    assert np.isnan([low[3], high[3]]).all()
    with pytest.raises(Problem):
        stats.mean_band([1.0, 2.0])


def test_of_several_bounds_the_one_that_is_broken_furthest_is_named() -> None:
    """Not the one that keeps its bound by most."""
    assert stats.ComputedTest((0.0, 11.0), (100.0, 10.0), 0.5, "at most").worst == 1
    kept = stats.ComputedTest((300.0, 9.0, 5.0), (100.0, 10.0, 20.0), 0.5, "at least")
    assert (kept.outside, kept.worst, kept.verdict) == ((1, 2), 2, "below")


def test_a_small_number_is_exact_by_its_own_size() -> None:
    """The arithmetic's rounding is allowed relative to what is printed, not to 1."""
    assert stats.ComputedTest((5e-10,), (1e-10,), 5e-12, "exact").verdict == "above"
    assert stats.ComputedTest((0.1 + 0.2,), (0.3,), 0.0, "exact").verdict == "reproduced"


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_pair_is_no_more_certain_than_the_rarest_deal(count: int) -> None:
    """Two seeds a side with hardly any spread, or with none: one deal of C(2n, n) separates them so."""
    rarest = 1 / math.comb(2 * count, count)
    for width in (0.0, 1e-6):
        jitter = width * np.arange(count)
        found = stats.pair_test(500 + jitter, 9 + jitter)
        assert found.p_above == rarest
        assert found.p == 2 * rarest
        assert (found.low is None) == (width == 0.0)


@pytest.mark.parametrize(
    ("x", "y", "least", "too_few"),
    [
        ([9.0, 10.0, 11.0], [499.0, 500.0, 501.0], 2 / 20, True),
        ([9.0, 10.0], [499.0, 500.0, 501.0, 502.0], 2 / 15, True),
        ([9.0, 10.0, 11.0], [9.0, 11.0, 13.0], 2 / 20, False),  # their interval holds 0
        ([9.0, 9.0, 9.0], [500.0, 500.0, 500.0], 2 / 20, False),  # they have none
        ([9.0, 10.0, 11.0, 12.0], [498.0, 499.0, 500.0, 501.0], 2 / 70, False),  # so few can make it significant
    ],
)
def test_where_an_interval_leaves_out_zero_that_no_p_of_so_few_seeds_can_tell_is_said(
    x: list[float], y: list[float], least: float, too_few: bool
) -> None:
    for found in (stats.pair_test(x, y), stats.pair_test(y, x)):
        assert found.least_p == pytest.approx(least)
        assert found.too_few_to_tell is too_few


@given(
    first=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=14),
    second=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=14),
)
def test_a_pair_is_the_same_whichever_is_named_first(first: list[float], second: list[float]) -> None:
    one, other = stats.pair_test(first, second), stats.pair_test(second, first)
    assert one.difference == -other.difference
    assert (one.p_above, one.p_below, one.p) == pytest.approx((other.p_below, other.p_above, other.p), rel=1e-9)
    assert (one.low is None) == (other.low is None)
    if one.low is not None:
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("few", "many", "ratio"), [(3, 10, 10.0), (2, 10, 10.0), (3, 10, 1.0), (5, 12, 4.0)])
def test_two_groups_of_one_mean_are_seldom_told_apart(few: int, many: int, ratio: float) -> None:
    """Also where the few have the wide spread, which a guard for one side alone let pass: 3 beside 10 in 29 %."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(2000):
        found += stats.pair_test(rng.normal(0, ratio, few), rng.normal(0, 1, many)).p < 0.05
    assert found / 2000 <= 0.065


def test_equal_values_have_no_interval_whatever_their_last_bits() -> None:
    """NumPy finds some spread in [0.1, 0.1, 0.1]."""
    assert np.std([0.1] * 3) > 0
    assert stats.pair_test([0.1] * 3, [0.7] * 3).low is None
