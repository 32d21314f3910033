"""Protocols: the same curves, scored as different papers do; each number worked out by hand or by plain loops."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrepro.errors import Problem
from rlrepro.papers.protocol import Protocol, refuse
from rlrepro.papers.scoring import History, measured_score, score, window

NONE = np.empty((0, 2))


def history(seed: int, evaluations: list[float], every: int = 100, **others: object) -> History:
    points = np.array([(every * (i + 1), value) for i, value in enumerate(evaluations)], float).reshape(-1, 2)
    return dataclasses.replace(History(seed, NONE, points, np.empty(0), every * len(evaluations)), **others)


def trained(seed: int, returns: list[float], every: int = 10) -> History:
    points = np.array([(every * (i + 1), value) for i, value in enumerate(returns)], float).reshape(-1, 2)
    return History(seed, points, NONE, np.empty(0), every * len(returns))


TWO = [history(0, [1, 5, 3, 2]), history(1, [2, 1, 4, 0])]


def test_one_pair_of_curves_has_a_different_number_by_every_protocol() -> None:
    numbers = {
        "max of seed mean": (Protocol("evaluation", "max of seed mean"), 3.5, [3, 4]),
        "mean of seed maxima": (Protocol("evaluation", "mean of seed maxima"), 4.5, [5, 4]),
        "last": (Protocol("evaluation", last=1), 1.0, [2, 0]),
        "last two": (Protocol("evaluation", last=2), 2.25, [2.5, 2]),
        "area": (Protocol("evaluation"), 2.25, [2.75, 1.75]),
        "milestone": (Protocol("evaluation", last=1, to_step=200), 3.0, [5, 1]),
        "window": (Protocol("evaluation", after_step=100, to_step=300), 3.25, [4, 2.5]),
    }
    for name, (protocol, mean, per_seed) in numbers.items():
        scored = score(protocol, TWO)
        assert (name, scored.mean, scored.values.tolist()) == (name, mean, per_seed)
    assert score(Protocol("evaluation", "max of seed mean"), TWO).at_step == 300


def test_an_evaluation_before_training_is_not_part_of_the_area_but_may_be_the_maximum() -> None:
    early = dataclasses.replace(TWO[0], evaluations=np.array([(0, 9.0), (100, 1.0), (200, 3.0)]), steps=200)
    assert score(Protocol("evaluation"), [early]).mean == 2.0
    assert score(Protocol("evaluation", "max of seed mean"), [early]).mean == 9.0


def test_training_returns_count_episodes() -> None:
    runs = [trained(0, [0, 10, 20, 30]), trained(1, [4, 4, 4, 8])]
    assert score(Protocol("training", last=2), runs).values.tolist() == [25, 6]
    assert score(Protocol("training"), runs).values.tolist() == [15, 5]
    assert score(Protocol("training", last=1, to_step=25), runs).values.tolist() == [10, 4]


def of_episodes(lengths: list[int], returns: list[float]) -> History:
    ends = np.cumsum(lengths)
    return History(0, np.column_stack([ends, returns]).astype(float), NONE, np.empty(0), int(ends[-1]))


def test_an_iteration_is_whole_episodes_and_counts_as_one_however_many_they_are() -> None:
    # iterations of 100 env steps and more: (60, 60), (100), (10, 10, 90), (120), and one that never came to its end
    one = of_episodes([60, 60, 100, 10, 10, 90, 120, 30], [1, 3, 10, 0, 0, 12, 8, 99])
    assert one.iterations(100).episodes.tolist() == [[120, 2], [220, 10], [330, 4], [450, 8]]
    assert score(Protocol("training", iteration=100), [one]).mean == 6
    assert score(Protocol("training"), [one]).mean != 6
    second_and_third = Protocol("training", after_step=100, to_step=300, iteration=100)
    assert score(second_and_third, [one]).mean == 7, "counted in iterations: the third ends at env step 330"
    assert window(second_and_third, [one.iterations(100)]) == (220, 330)
    assert score(Protocol("training", last=2, iteration=100), [one]).mean == 6
    five = score(Protocol("training", after_step=100, to_step=400, iteration=100), [of_episodes([199] * 3, [1, 2, 3])])
    assert five.missing == {0: "it has 3 of 4 iterations"}, "although it took 597 env steps"


@settings(max_examples=60)
@given(episodes=st.lists(st.tuples(st.integers(1, 30), st.integers(-9, 9)), min_size=1, max_size=40))
def test_iterations_are_those_of_a_runner_that_plays_whole_episodes(episodes: list[tuple[int, int]]) -> None:
    waiting, expected = list(episodes), []
    while waiting:
        taken, returns = 0, []
        while taken < 25 and waiting:
            length, value = waiting.pop(0)
            taken += length
            returns.append(value)
        if taken >= 25:
            expected.append(sum(returns) / len(returns))
    found = of_episodes([length for length, _ in episodes], [value for _, value in episodes]).iterations(25)
    assert found.episodes[:, 1].tolist() == pytest.approx(expected)


def test_fewer_steps_have_as_many_iterations() -> None:
    whole = Protocol("training", after_step=60_000, to_step=91_000, iteration=1000)
    assert whole.scaled(0.0305) == Protocol("training", after_step=60 * 30, to_step=91 * 30, iteration=30)


def test_fewer_steps_are_evaluated_as_often() -> None:
    whole = Protocol("evaluation", last=10, after_step=2000, to_step=10_000, eval_every=500, eval_episodes=5)
    tenth = Protocol("evaluation", last=10, after_step=200, to_step=1000, eval_every=50, eval_episodes=5)
    assert whole.scaled(0.1) == tenth
    assert whole.scaled(0.0001) == dataclasses.replace(tenth, after_step=1, to_step=1, eval_every=1)
    assert Protocol("evaluation", last=10).scaled(0.1) == Protocol("evaluation", last=10)
    assert whole.scaled(1) == whole


@pytest.mark.parametrize(
    ("gaps", "lengths"),
    [
        ((), [10, 30, 5]),
        ((10,), [10, 30, 5]),  # an episode begins where the one before it ends, resumed there or not
        ((40,), [10, 30, 5]),
        ((10, 40), [10, 30, 5]),
        ((9,), [1, 30, 5]),
        ((11, 41), [10, 29, 4]),
    ],
)
def test_a_gap_is_where_the_first_episode_begins_that_ends_after_it(gaps: tuple[int, ...], lengths: list[int]) -> None:
    run = dataclasses.replace(of_episodes([10, 30, 5], [1, 2, 3]), gaps=gaps)
    assert run.lengths().episodes[:, 1].tolist() == lengths


def test_one_agent_is_scored_by_its_final_evaluation() -> None:
    runs = [dataclasses.replace(one, final=np.array([1.0, one.seed])) for one in TWO]
    assert score(Protocol("evaluation", "one agent"), runs).values.tolist() == [0.5, 1.0]
    assert score(Protocol("evaluation", "one agent"), TWO).missing == dict.fromkeys(
        (0, 1), "it has no final evaluation"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=12), min_size=1, max_size=4), st.integers(1, 3))
def test_scores_equal_plain_loops(curves: list[list[float]], last: int) -> None:
    length = min(map(len, curves))
    curves = [curve[:length] for curve in curves]
    runs = [history(seed, curve) for seed, curve in enumerate(curves)]
    best = max(sum(curve[t] for curve in curves) / len(curves) for t in range(length))
    assert score(Protocol("evaluation", "max of seed mean"), runs).mean == pytest.approx(best)
    maxima = sum(max(curve) for curve in curves) / len(curves)
    assert score(Protocol("evaluation", "mean of seed maxima"), runs).mean == pytest.approx(maxima)
    ends = sum(sum(curve[-last:]) / last for curve in curves) / len(curves)
    assert score(Protocol("evaluation", last=last), runs).mean == pytest.approx(ends)
    assert maxima >= best - 1e-6


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"stopped": "killed", "steps": 250}, r"it stopped at env step 250 \(killed\)"),
        ({"evaluations": np.array([(100, np.nan)])}, "its return is nan"),
        ({"evaluations": np.array([(100, np.inf)])}, "its return is inf"),
        ({"evaluations": NONE}, "it has 0 of the 1 evaluations that count"),
    ],
)
def test_a_seed_without_a_score_is_named_and_kept_out(broken: dict[str, object], why: str) -> None:
    runs = [TWO[0], dataclasses.replace(TWO[1], **broken)]  # type: ignore[arg-type]
    scored = score(Protocol("evaluation", last=1), runs)
    assert scored.values.tolist() == [2]
    assert pytest.approx(scored.mean) == 2
    assert list(scored.missing) == [1]
    assert re.fullmatch(why, scored.missing[1])


def test_a_milestone_is_scored_of_a_run_that_stopped_after_it_and_not_before() -> None:
    stopped = dataclasses.replace(TWO[0], steps=250, stopped="killed")
    assert score(Protocol("evaluation", last=1, to_step=200), [stopped]).mean == 5
    assert score(Protocol("evaluation", last=1, to_step=300), [stopped]).missing == {
        0: "it stopped at env step 250 (killed)"
    }
    short = history(0, [1, 2])
    assert score(Protocol("evaluation", last=1, to_step=300), [short]).missing == {0: "it stopped at env step 200"}


def test_the_same_seed_twice_is_refused() -> None:
    with pytest.raises(Problem, match="seed 0 is there twice"):
        score(Protocol("evaluation", last=1), [TWO[0], TWO[0]])


def test_no_mean_curve_over_seeds_evaluated_at_different_steps() -> None:
    with pytest.raises(Problem, match="not evaluated at the same env steps"):
        score(Protocol("evaluation", "max of seed mean"), [TWO[0], history(1, [1, 2, 3, 4], every=50)])


def test_a_number_by_another_protocol_is_no_answer() -> None:
    final, best = Protocol("evaluation", last=1), Protocol("evaluation", "max of seed mean")
    assert refuse(final, final) is None
    assert "(statistic: max of seed mean against mean)" in (refuse(final, best) or "")
    assert refuse(final, Protocol("training", last=1)) is not None
    assert refuse(dataclasses.replace(final, policy="deterministic"), final) is None  # one does not say
    assert refuse(*(dataclasses.replace(final, policy=p) for p in ("deterministic", "stochastic"))) is not None


CLAIMED = Protocol(
    "evaluation", last=10, after_step=1000, to_step=9000, policy="deterministic", eval_every=1000, eval_episodes=5,
    iteration=500, threshold=100.0,
)  # fmt: skip
ANOTHER: dict[str, list[Any]] = {
    "returns": ["training"],
    "statistic": ["max of seed mean", "mean of seed maxima", "one agent"],
    "last": [9, None],
    "after_step": [0, None],
    "to_step": [8999, None],
    "policy": ["stochastic"],
    "eval_every": [500, None],
    "eval_episodes": [10, None],
    "discount": [0.99],
    "iteration": [1000, None],
    "of": ["length", "steps"],
    "threshold": [99.5, None],
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Protocol) if field.name != "note"])
def test_a_protocol_that_differs_in_one_field_alone_is_another(name: str) -> None:
    for value in ANOTHER[name]:
        scored = dataclasses.replace(CLAIMED, **{name: value})
        told = f"({name}: {value} against {getattr(CLAIMED, name)})"
        assert (refuse(CLAIMED, scored) or "").endswith(told)
        assert refuse(scored, CLAIMED) is not None
        assert refuse(scored, scored) is None


def test_neither_a_note_nor_a_policy_that_is_not_stated_makes_it_another() -> None:
    for scored in (dataclasses.replace(CLAIMED, note="by hand"), dataclasses.replace(CLAIMED, policy="not stated")):
        assert refuse(CLAIMED, scored) is None
        assert refuse(scored, CLAIMED) is None


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "needs `returns`"),
        ({"returns": "trainig"}, "did you mean 'training'"),
        ({"returns": "training", "lst": 3}, "did you mean 'last'"),
        ({"returns": "training", "last": 0}, "not a whole number of at least 1"),
        ({"returns": "training", "last": True}, "not a whole number of at least 1"),
        ({"returns": "training", "to_step": 0}, "not a whole number of at least 1"),
        ({"returns": "training", "after_step": -1}, "not a whole number of at least 0"),
        ({"returns": "training", "eval_every": 3}, "no evaluations"),
        ({"returns": "training", "policy": "deterministic"}, "exploring policy"),
        ({"returns": "training", "statistic": "max of seed mean"}, "a statistic of evaluations"),
        ({"returns": "evaluation", "statistic": "other"}, "needs a `note`"),
        ({"returns": "evaluation", "discount": 0}, "discount"),
        ({"returns": "evaluation", "after_step": 10, "to_step": 10}, "not before"),
        ({"returns": ["evaluation"]}, "is none of"),
        ({"returns": "training", "threshold": 475}, "a threshold is for of 'steps'"),
        ({"returns": "evaluation", "iteration": 100}, "the mean of training returns"),
        ({"returns": "training", "iteration": 100, "of": "length"}, "the mean of training returns"),
        ({"returns": "training", "iteration": 0}, "not a whole number of at least 1"),
        ({"returns": "training", "iteration": 100, "to_step": 250}, "to_step 250 is no multiple"),
        ({"returns": "training", "of": "steps", "last": 5}, "needs `threshold`"),
        ({"returns": "training", "of": "steps", "threshold": 475}, "needs `last`"),
        ({"returns": "training", "of": "steps", "threshold": math.inf, "last": 5}, "threshold inf is not a number"),
        ({"returns": "training", "of": "steps", "threshold": True, "last": 5}, "threshold True is not a number"),
        ({"returns": "training", "of": "steps", "threshold": 1, "last": 5, "after_step": 3}, "leave after_step out"),
        (
            {"returns": "evaluation", "of": "steps", "threshold": 1, "last": 1, "statistic": "max of seed mean"},
            "a number of each seed",
        ),
    ],
)
def test_a_table_that_is_no_protocol(table: dict[str, object], why: str) -> None:
    with pytest.raises(Problem, match=why):
        Protocol.from_table(table)


def test_a_table_comes_back() -> None:
    table = {"returns": "evaluation", "last": 10, "policy": "deterministic", "eval_every": 5000, "eval_episodes": 10}
    assert Protocol.from_table(table).to_table() == table
    assert Protocol.from_table(table).describe() == (
        "deterministic evaluation return, mean of the last 10 evaluations (every 5,000 env steps, 10 episodes each)"
    )


def test_what_runs_do_not_record_cannot_be_scored() -> None:
    for protocol in (Protocol("evaluation", last=1, discount=0.99), Protocol("training", "other", note="games won")):
        with pytest.raises(Problem, match="cannot be scored"):
            score(protocol, TWO)


def test_a_milestone_is_met_by_the_evaluation_that_was_due_then() -> None:
    """With 16 sub-environments an evaluation due at 1,000 stands at 1,008."""
    points = np.array([(1008, 5.0), (2000, 7.0), (3008, 9.0)])
    run = History(0, NONE, points, np.empty(0), 3200)
    protocol = Protocol("evaluation", last=1, to_step=1000, eval_every=1000, eval_episodes=5)
    assert score(protocol, [run]).mean == 5
    assert score(dataclasses.replace(protocol, to_step=3000), [run]).mean == 9
    assert score(dataclasses.replace(protocol, last=None, after_step=1000, to_step=3000), [run]).mean == 8


def test_an_evaluation_after_a_milestone_is_not_that_of_the_milestone() -> None:
    """Where a run was evaluated more often than the published one, or by another rhythm."""
    protocol = Protocol("evaluation", last=1, to_step=10_000, eval_every=10_000)
    often = history(0, [1.0, 2.0, 3.0, 4.0], every=5000)
    assert score(protocol, [often]).mean == 2.0
    late = history(0, [1.0, 2.0], every=14_000)
    assert score(protocol, [late]).missing == {0: "it has no evaluation at env step 10,000"}


def test_of_two_evaluations_soon_after_a_milestone_the_first_is_that_of_the_milestone() -> None:
    """Where a run was evaluated more often than the published one."""
    protocol = Protocol("evaluation", last=1, to_step=1000, eval_every=1000)
    often = History(0, NONE, np.array([(1000, 3.0), (1050, 7.0), (2000, 9.0)]), np.empty(0), 2000)
    assert score(protocol, [often]).mean == 3
    assert score(dataclasses.replace(protocol, last=None), [often]).mean == 3
    late = dataclasses.replace(often, evaluations=np.array([(1008, 3.0), (1050, 7.0), (2000, 9.0)]))
    assert score(protocol, [late]).mean == 3


@pytest.mark.parametrize(("step", "counts"), [(1000, True), (1090, True), (1099, True), (1100, False), (1240, False)])
def test_an_evaluation_is_as_it_was_due_less_than_a_tenth_of_the_way_to_the_next(step: int, counts: bool) -> None:
    run = History(0, NONE, np.array([(0, 1.0), (step, 3.0), (2000, 9.0)]), np.empty(0), 2000)
    found = score(Protocol("evaluation", last=1, to_step=1000, eval_every=1000), [run])
    assert found.per_seed == ({0: 3.0} if counts else {})
    assert found.missing == ({} if counts else {0: "it has no evaluation at env step 1,000"})
    soon = Protocol("evaluation", of="steps", threshold=3, last=1, eval_every=1000)
    assert score(soon, [run]).per_seed == {0: 1000 if counts else step}


SOON = Protocol("training", of="steps", threshold=20, last=2)


def test_the_steps_to_a_threshold_are_those_of_the_first_mean_that_reaches_it() -> None:
    """A return that reaches it once is not a mean of two that does; what falls again afterwards has reached it."""
    runs = [trained(0, [0, 30, 9, 31, 0]), trained(1, [20, 20]), trained(2, [50])]
    found = score(SOON, runs)
    assert found.per_seed == {0: 40, 1: 20}
    assert found.missing == {2: "it had not reached 20 at env step 10"}
    assert score(dataclasses.replace(SOON, last=1), runs).values.tolist() == [20, 10, 10]
    assert SOON.describe() == "env steps until the training return, mean of the last 2 episodes, first reached 20"
    assert Protocol.from_table(SOON.to_table()) == SOON


def test_evaluations_reach_a_threshold_when_they_were_due() -> None:
    points = np.array([(0, 3.0), (1008, 5.0), (2000, 7.0), (3008, 9.0)])
    run = History(0, NONE, points, np.empty(0), 3200)
    protocol = Protocol("evaluation", of="steps", threshold=5, last=1, eval_every=1000, eval_episodes=5)
    assert score(protocol, [run]).mean == 1000
    assert score(dataclasses.replace(protocol, threshold=3), [run]).mean == 0  # before any training
    assert score(dataclasses.replace(protocol, threshold=9, to_step=3000), [run]).mean == 3000
    late = score(dataclasses.replace(protocol, threshold=9, to_step=2000), [run])
    assert (late.missing, late.least) == ({0: "it had not reached 9 at env step 2,000"}, {0: 2000.0})


def test_a_seed_that_never_reached_it_counts_with_the_steps_that_it_had() -> None:
    """So the mean is at least that, and the seed is as bad as can be; one that was stopped from outside may be good."""
    killed = dataclasses.replace(trained(3, [0, 0]), stopped="killed")
    crashed = dataclasses.replace(trained(4, [0, 0]), stopped="it crashed", broke=True)
    early = dataclasses.replace(trained(5, [20, 20]), stopped="killed")
    runs = [trained(0, [20, 20]), trained(1, [0, 0, 0, 0]), trained(2, [math.nan, 40.0, 0]), killed, crashed, early]
    found = score(SOON, runs)
    assert found.per_seed == {0: 20, 2: 30, 5: 20}
    assert found.least == {1: 40}
    assert found.missing == {
        1: "it had not reached 20 at env step 40",
        3: "it stopped at env step 20 (killed), before it reached 20",
        4: "it stopped at env step 20 (it crashed), before it reached 20",
    }
    assert found.broken == {1, 4}
    assert found.mean == (20 + 30 + 20 + 40) / 4
    endless = dataclasses.replace(trained(6, []), steps=70)
    assert score(SOON, [endless]).least == {6: 70}
    bare = Protocol("evaluation", of="steps", threshold=1, last=1)
    assert score(bare, [trained(6, [])]).missing == {6: "it has no evaluation that counts"}


@pytest.mark.parametrize("last", [3, 7, 10, 100])
def test_returns_that_all_are_the_threshold_reach_it(last: int) -> None:
    """Whatever their mean is rounded to; and what has diverged reaches none."""
    soon = Protocol("training", of="steps", threshold=-0.7, last=last)
    assert score(soon, [trained(0, [-0.7] * 100)]).per_seed == {0: 10 * last}
    assert score(soon, [trained(0, [math.inf, 1e150, 1e120] * 40)]).least == {0: 1200}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.integers(1, 5), st.floats(-20, 20))
def test_the_steps_to_a_threshold_equal_a_plain_loop(returns: list[float], last: int, threshold: float) -> None:
    found = score(Protocol("training", of="steps", threshold=threshold, last=last), [trained(0, returns)])
    for end in range(last, len(returns) + 1):
        if np.mean(returns[end - last : end]) >= threshold:
            assert found.per_seed == {0: 10 * end}
            return
    assert found.least == {0: 10 * len(returns)}


def test_a_measured_seed_without_one_number_is_shown() -> None:
    numbers = {0: [], 1: [0.5], 2: [0.25], 3: [1.0, 2.0], 4: [math.nan]}
    histories = [dataclasses.replace(history(s, []), measured=np.array(found)) for s, found in numbers.items()]
    found = measured_score(Protocol("evaluation", "other", note="a count"), histories)
    assert found.per_seed == {1: 0.5, 2: 0.25}
    assert found.missing == {0: "it has no number", 3: "it has 2 numbers, not one", 4: "its number is nan"}


def test_a_milestone_without_its_evaluation_has_no_score() -> None:
    """Not that of the evaluation before it: a loop that trained on past it held none."""
    points = np.array([(80, 4.0), (90, 5.0), (114, 9.0)])
    run = History(0, NONE, points, np.empty(0), 114)
    protocol = Protocol("evaluation", last=1, to_step=100, eval_every=10, eval_episodes=5)
    assert score(protocol, [run]).missing == {0: "it has no evaluation at env step 100"}
    assert score(dataclasses.replace(protocol, to_step=90), [run]).mean == 5


def test_an_agent_whose_training_stopped_is_not_the_one_agent() -> None:
    run = History(0, NONE, NONE, np.array([500.0]), 10, "it ended by itself")
    assert score(Protocol("evaluation", "one agent"), [run]).missing == {
        0: "it stopped at env step 10 (it ended by itself)"
    }


def test_one_agent_has_no_window() -> None:
    with pytest.raises(Problem, match="last says nothing of 'one agent'"):
        Protocol.from_table({"returns": "evaluation", "statistic": "one agent", "last": 3})
