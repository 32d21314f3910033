"""`rlrepro compare` and `rlrepro score`."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from rlrepro.errors import Problem
from rlrepro.papers import stats
from rlrepro.papers.book.beside import barred
from rlrepro.papers.book.published import load_book
from rlrepro.papers.cards.card import Claim
from rlrepro.papers.compare import command as compare_command
from rlrepro.papers.compare import comparison
from rlrepro.papers.compare.comparison import PublishedNumber
from rlrepro.papers.compare.figure import curves
from rlrepro.papers.compare.score import PROTOCOLS, score_all
from rlrepro.papers.importers import Group, load
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import History, score
from rlrepro.papers.verdicts import verdict
from rlrepro.request import parse_train
from tests.conftest import Command, Runs

NONE = np.empty((0, 2))


def history(
    seed: int, episodes: Sequence[float] = (), evaluations: Sequence[float] = (), every: int = 10, stopped: str = ""
) -> History:
    """A seed whose points stand `every` env steps apart."""
    training, evaluated = (
        np.column_stack([np.arange(1, len(v) + 1) * every, np.asarray(v, float)]) if len(v) else NONE
        for v in (episodes, evaluations)
    )
    return History(seed, training, evaluated, np.empty(0), every * max(len(episodes), len(evaluations)), stopped)


def group(name: str, *histories: History, env: str = "E-v0", **more: object) -> Group:
    return Group(name, env, f"runs/{name}", "csv", histories, **more)  # type: ignore[arg-type]


def ended(name: str, values: Sequence[float], **more: object) -> Group:
    """A group with one evaluation a seed."""
    return group(name, *(history(seed, evaluations=[value]) for seed, value in enumerate(values)), **more)  # type: ignore[arg-type]


# --- a made-up twin of TD3's published curves

TWIN = {  # env: {seed: evaluations at 0, 5000, 10000, 15000}
    "Runner-v1": {0: (5.0, 90.0, 40.0, 60.0), 1: (3.0, 20.0, 80.0, 70.0), 2: (1.0, 40.0, 90.0, 20.0)},
    "Still-v1": {0: (7.0, 7.0, 7.0, 7.0), 1: (7.0, 7.0, 7.0, 7.0), 2: (7.0, 7.0, 7.0, 7.0)},
}


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    file = tmp_path / "twin_per_seed.csv"
    rows = [f"{env},{seed},{5000 * n},{value}\n" for env, seeds in TWIN.items()
            for seed, values in seeds.items() for n, value in enumerate(values)]  # fmt: skip
    file.write_text("env_id,seed,env_step,mean_return_of_10_episodes\n" + "".join(rows))
    return file


def test_each_protocol_gives_its_own_number(twin: Path) -> None:
    (runner,) = load([twin], env="Runner-v1")
    lines = {line.name: line for line in score_all(runner)}
    assert list(lines) == list(PROTOCOLS)
    best = lines["max over time of the seeds' mean"]  # means 3, 50, 70, 50: the third
    assert best.score is not None
    assert (best.score.mean, best.score.at_step, list(best.score.values)) == (70, 10_000, [40, 80, 90])
    assert best.population_sd == pytest.approx(math.sqrt((30**2 + 10**2 + 20**2) / 3), rel=1e-12)
    assert best.sample_sd == pytest.approx(math.sqrt((30**2 + 10**2 + 20**2) / 2), rel=1e-12)
    means = {name: line.score.mean for name, line in lines.items() if line.score and line.score.per_seed}
    assert means == pytest.approx({
        "last evaluation": 50, "max over time of the seeds' mean": 70,
        "mean of the seeds' maxima": (90 + 80 + 90) / 3, "area under the curve": (190 + 170 + 150) / 9,
    })  # fmt: skip
    assert lines["mean of the last 10 evaluations"].why == "it has 4 of the 10 evaluations that count"
    assert lines["all training episodes"].why == "it has no episode that counts"


def test_the_command_shows_them(twin: Path, command: Command) -> None:
    shown = command("score", twin, "--env", "Runner-v1")
    assert shown.status == 0
    assert re.search(r"max over time of the seeds' mean +70\.00 +21\.60 +26\.46 +3\b", shown.out)
    assert "at env step 10,000" in shown.out
    assert "Still-v1" not in shown.out
    both = command("score", twin)
    assert re.search(
        r"Still-v1: 3 seeds.*?max over time of the seeds' mean +7\.00 +0\.00 +0\.00 +3\b", both.out, re.DOTALL
    )


def test_no_digit_is_lost_in_a_narrow_terminal(twin: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    shown = command("score", twin, "--env", "Runner-v1").out
    assert "…" not in shown
    assert re.search(r"max over .* 70\.00 +21\.60 +26\.46 +3\b", shown)


def test_its_header_counts_in_words(tmp_path: Path, command: Command, runs: Runs) -> None:
    file = tmp_path / "a.csv"
    file.write_text("seed,step,mean_return_of_1_episodes\n0,5,1\n")
    assert command("score", file).out.startswith("a: 1 seed (each evaluation: 1 episode)\n")
    run = runs.finish("one", "--agent", "random", "--seeds", "2", "--eval-episodes", "5")
    assert "random on CartPole-v1: 2 seeds (each evaluation: 5 episodes, deterministic)" in command("score", run).out


def test_a_claim_refuses_a_score_by_another_protocol(twin: Path) -> None:
    (runner,) = load([twin], env="Runner-v1")
    place = {"implementation": "agent", "environments": ("Runner-v1",), "protocol": "best", "where": "Table 1"}
    spread = {"spread": 21.6, "spread_kind": "population sd", "seeds": 3}
    claim = Claim("runner", reported=70.0, margin=5.0, margin_why="made up", **place, **spread)  # type: ignore[arg-type]
    claimed = Protocol("evaluation", "max of seed mean")
    for name, protocol in PROTOCOLS.items():
        try:
            scored = score(protocol, runner.histories)
        except Problem:
            continue
        if protocol == claimed:
            assert verdict.judge_score(claim, claimed, scored).difference == 0
            continue
        with pytest.raises(Problem, match="claim runner cannot be judged by this score") as raised:
            verdict.judge_score(claim, claimed, scored)
        differs = "returns" if protocol.returns == "training" else "statistic"
        assert f"({differs}: " in str(raised.value), name


# --- groups against each other


def test_the_numbers_of_a_group_are_scipys() -> None:
    values = [3.0, 5.0, 4.0, 8.0, 1.0]
    (panel,) = comparison.compare([ended("a", values)]).panels
    (side,) = panel.sides
    assert panel.protocol == Protocol("evaluation", last=1)
    assert side.score.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert side.sd == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert side.iqm == pytest.approx(scipy_stats.trim_mean(values, 0.25), rel=1e-12)
    low, high = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert side.interval is not None
    assert (side.interval.low, side.interval.high) == pytest.approx((low, high), rel=1e-9)
    assert panel.pairs == ()


def test_pairs_are_tested_and_corrected_over_all_environments() -> None:
    generator = np.random.default_rng(0)
    values = {name: generator.normal(mean, 2, 12) for name, mean in (("a", 10), ("b", 12), ("c", 10))}
    groups = [ended(name, v.tolist()) for name, v in values.items()]
    groups += [ended(name, values[name].tolist(), env="F-v0") for name in ("a", "b")]
    panels = comparison.compare(groups).panels
    assert [(pair.a, pair.b) for pair in panels[0].pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    every = [pair for panel in panels for pair in panel.pairs]
    assert [pair.p_holm for pair in every] == pytest.approx(
        stats.holm([pair.p for pair in every if pair.p is not None])
    )
    for pair in every:
        x, y = values[pair.a], values[pair.b]
        plain = scipy_stats.ttest_ind(x, y, equal_var=False)
        assert pair.difference == pytest.approx(x.mean() - y.mean(), rel=1e-12)
        assert pair.p is not None
        assert plain.pvalue <= pair.p * (1 + 1e-9)  # the guards only ever make a test more careful
        guarded = stats.order_test([x], [y], 1)
        assert pair.p == min(1.0, 2 * min(guarded.p_above[0], guarded.p_below[0]))
        assert pair.low is not None
        assert pair.high is not None
        assert (pair.low > 0 or pair.high < 0) == (pair.p < 0.05)  # interval and test are one
        wins = np.mean([(p > q) + (p == q) / 2 for p, q in itertools.product(x, y)])
        assert pair.improvement.value == pytest.approx(wins, rel=1e-12)
        assert pair.improvement.low is not None


def test_few_seeds_are_told_apart_from_certainty() -> None:
    (panel,) = comparison.compare([ended("a", [5.0, 5.0, 5.0]), ended("b", [4.0, 4.0, 4.0]), ended("c", [9.0])]).panels
    a_b, a_c, _ = panel.pairs
    assert a_b.p == pytest.approx(2 / math.comb(6, 3))  # the rarest of all ways to deal out the seeds, both sides
    assert (a_b.low, a_b.improvement.low) == (None, None)
    assert any("complete separation" in note for note in panel.notes)
    assert (a_c.p, a_c.p_holm) == (None, None)
    assert any("one seed is not tested" in note for note in panel.notes)
    (same,) = comparison.compare([ended("a", [5.0, 5.0, 5.0]), ended("b", [5.0, 5.0, 5.0])]).panels
    assert same.pairs[0].p == 1
    assert any("a and b: every seed of both has the same number" in note for note in same.notes)
    assert not any("complete separation" in note for note in same.notes)


def test_the_chance_to_be_better_has_an_interval_from_ten_seeds_on() -> None:
    for seeds, has in ((9, False), (10, True)):
        values = np.arange(seeds, dtype=float)
        pair = comparison.compare([ended("a", values.tolist()), ended("b", (values + 1).tolist())]).panels[0].pairs[0]
        assert (pair.improvement.low is not None, pair.improvement.high is not None) == (has, has)


def test_seeds_without_a_score_are_said() -> None:
    groups = [
        group("a", history(0, evaluations=[1, 2]), history(1, evaluations=[1], stopped="it broke")),
        group("b", history(0, evaluations=[1, math.nan]), history(1, evaluations=[2, 3])),
    ]
    (panel,) = comparison.compare(groups).panels
    assert [list(side.score.per_seed) for side in panel.sides] == [[0], [1]]
    assert "a: no score of seed 1: it stopped at env step 10 (it broke)." in panel.notes
    assert "b: no score of seed 0: its return is nan." in panel.notes


def test_seeds_that_broke_speak_against_their_side() -> None:
    """Five of ten at 500 broke: the survivors are no fair sample of what is ahead, but are where theirs is behind."""
    level = {"a": 500.0, "b": 450.0, "c": 550.0}
    groups = [
        group(name, *(history(s, evaluations=[1, math.nan if name == "a" and s < 5 else mean + s]) for s in range(10)))
        for name, mean in level.items()
    ]
    (panel,) = comparison.compare(groups).panels
    pairs = {(pair.a, pair.b): pair for pair in panel.pairs}
    assert (pairs["a", "b"].p, pairs["a", "b"].p_holm) == (None, None)
    assert pairs["a", "b"].improvement.value == pytest.approx(0.5)
    assert any("not tested, since 5 of the seeds of a broke" in note for note in panel.notes)
    assert pairs["a", "c"].p is not None
    assert pairs["a", "c"].improvement.value == 0.0
    assert pairs["b", "c"].p is not None
    assert pairs["b", "c"].p_holm == pytest.approx(min(1.0, 3 * pairs["b", "c"].p))  # the barred one counts


def test_what_would_score_short_runs_is_said() -> None:
    def advised(protocol: Protocol | None, *groups: Group) -> list[str]:
        return [note for note in comparison.compare(groups, protocol).panels[0].notes if "--last" in note]

    short = group("short", *(history(seed, episodes=range(count)) for seed, count in enumerate((30, 20, 120))))
    long = group("long", *(history(seed, episodes=range(150)) for seed in range(3)))
    assert advised(None, short, long) == ["The seed with the fewest episodes has 20: --last 20 helps."]
    assert advised(Protocol("training", last=20), short, long) == []
    assert advised(Protocol("training", last=100, to_step=100), long) == [
        "The seed with the fewest episodes has 10: --last 10 helps."
    ]
    assert advised(Protocol("training", last=20, after_step=100, to_step=250), long) == [
        "The seed with the fewest episodes has 15: --last 15 helps."  # at env steps 110 to 250
    ]
    cut = group("cut", history(0, episodes=[1.0], stopped="it broke"), history(1, episodes=range(100)))
    assert advised(None, cut) == []  # it has no score by any --last
    evaluated = group("evaluated", history(0, evaluations=[1.0]))
    assert advised(Protocol("evaluation", last=5), evaluated) == [
        "The seed with the fewest evaluations has 1: --last 1 helps."
    ]
    running = group("running", history(0, episodes=[1, 2, 3]), running=100)
    assert advised(None, short, running) == []  # a running mean stands for the last hundred alone


def test_a_final_evaluation_is_said_not_to_be_compared(tmp_path: Path, command: Command) -> None:
    file = tmp_path / "a.csv"
    file.write_text("seed,step,score\n0,5,1\n0,5,3\n1,5,3\n")
    shown = command("compare", file, "--column", "kind=final")
    assert shown.status == 1
    assert (
        "Not compared: a has a final evaluation only. Runs are compared by training returns or evaluations, a final "
        "evaluation with --published alone; rlrepro score shows each alone." in shown.out
    )
    asked = command("compare", file, "--column", "kind=final", "--returns", "evaluation")
    assert "a is not compared: it has no evaluation returns, but a final evaluation only." in asked.out
    assert re.search(
        r"final evaluation +2\.50 +0\.50 +0\.71 +2\b", command("score", file, "--column", "kind=final").out
    )


def test_what_is_not_the_same_is_not_compared() -> None:
    trained = group("trained", *(history(seed, episodes=range(200)) for seed in range(3)))
    (panel,) = comparison.compare([trained, ended("evaluated", [1.0, 2.0])]).panels
    assert (panel.protocol, panel.sides, panel.pairs) == (None, (), ())
    assert panel.notes[0] == (
        "Not compared: trained has training returns only, evaluated has evaluation returns only. "
        "A training return is no evaluation; rlrepro score shows each alone."
    )
    (panel,) = comparison.compare([trained, ended("evaluated", [1.0, 2.0])], Protocol("evaluation", last=1)).panels
    assert [side.label for side in panel.sides] == ["evaluated"]
    assert "trained is not compared: it has no evaluation returns." in panel.notes


def test_running_means_stand_for_the_last_hundred_episodes_and_no_others() -> None:
    running = group("sb3", history(0, episodes=[1, 2, 3]), history(1, episodes=[1, 2, 5]), running=100)
    whole = group("ours", *(history(seed, episodes=np.arange(150.0)) for seed in range(2)))
    (panel,) = comparison.compare([whole, running]).panels
    assert [side.score.mean for side in panel.sides] == [pytest.approx(np.arange(50, 150).mean()), 4]
    assert any("running mean" in note for note in panel.notes)
    (panel,) = comparison.compare([whole, running], Protocol("training", last=10)).panels
    assert [side.label for side in panel.sides] == ["ours"]
    assert any("running means of 100 episodes, not episodes" in note for note in panel.notes)


def test_what_differs_beside_the_agent_is_said() -> None:
    groups = [
        group("a", history(0, evaluations=[1, 2, 3]), evaluation="10 episodes"),
        group("b", history(0, evaluations=[1, 2]), evaluation="5 episodes"),
    ]
    (panel,) = comparison.compare(groups).panels
    assert "They ran for different numbers of env steps (a 30, b 20): --to-step 20 helps." in panel.notes
    assert "Their evaluations differ: a 10 episodes; b 5 episodes." in panel.notes
    (panel,) = comparison.compare(groups, Protocol("evaluation", last=1, to_step=20)).panels
    assert [side.score.mean for side in panel.sides] == [2, 2]
    assert not any("different numbers" in note for note in panel.notes)


def test_environments_that_were_made_in_other_ways_are_said(runs: Runs, command: Command) -> None:
    short = ("--agent", "random", "--env", "Pendulum-v1", "--total-timesteps", "800", "--seeds", "2")
    runs.finish("a", *short)
    runs.finish("b", *short, "--env-kwargs", "g=5.0")
    runs.finish(
        "c",
        *short,
        "--wrapper",
        "ScaleReward(scale=0.1)",
        "--wrapper",
        "DelayedReward(every=5)",
        "--wrapper",
        "TimeFraction",
    )
    folders = [runs.folder / name for name in "abc"]
    said = command("compare", *folders, "--labels", *"abc", "--last", "1").out
    assert (
        "note: They were not on the same environment, and differ by that too: a as it is, b with g = 5.0, "
        "c in DelayedReward(every=5) in TimeFraction." in said
    )
    assert "differ by that" not in command("compare", *folders[:1], "--last", "1").out


def test_what_has_no_returns_does_not_choose_the_protocol() -> None:
    measured = group("f", history(0, evaluations=[]), history(1, evaluations=[]))
    (panel,) = comparison.compare([ended("a", [1.0, 2.0]), ended("b", [3.0, 4.0]), measured]).panels
    assert panel.protocol == Protocol("evaluation", last=1)
    assert [side.label for side in panel.sides] == ["a", "b"]
    assert "f is not compared: it has no evaluation returns." in panel.notes


def test_names_alike_are_told_apart_and_an_unstated_environment_is_said() -> None:
    first, second = ended("ppo", [1.0]), ended("ppo", [2.0], env="")
    second = Group(**{**vars(second), "source": "elsewhere/mine"})
    (panel,) = comparison.compare([first, second]).panels
    assert [side.label for side in panel.sides] == ["ppo (ppo)", "ppo (mine)"]
    assert "ppo (mine) does not say its environment: it is taken for E-v0." in panel.notes


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (("/far/away/a/ppo/seed-0", "/far/away/b/ppo/seed-0"), ("a", "b")),
        (("/far/away/a/ppo/seed-0", "/far/away/b/ppo/seed-3"), ("a", "b")),
        (("/far/a/ppo/seed-0", "/far/b/ppo/seed-0", "/far/b/ppo/more/seed-0"), ("a/ppo", "b/ppo", "more")),
        (("/far/ppo-first", "/near/ppo-second"), ("ppo-first", "ppo-second")),
        (("runs/ppo_seed0", "runs/ppo_seed1"), ("ppo_seed0", "ppo_seed1")),
        (("here/x", "x"), ("here", "x")),
    ],
)
def test_of_their_sources_labels_have_what_tells_them_apart(sources: Sequence[str], labels: Sequence[str]) -> None:
    groups = [dataclasses.replace(ended("ppo", [1.0]), source=source) for source in sources]
    (panel,) = comparison.compare(groups).panels
    assert [side.label for side in panel.sides] == [f"ppo ({label})" for label in labels]


def test_samples_to_a_threshold() -> None:
    rises = group(
        "rises",
        history(0, episodes=[0, 0, 3, 3, 9]),  # means of three: -, -, 1, 2, 5
        history(1, episodes=[6, 6, 6, 0, 0]),  # 6 at its third
        history(2, episodes=[0, 0, 0, 0, 1]),
        history(3, episodes=[9, 9]),  # never three
    )
    protocol = Protocol("training", last=3)
    assert comparison.samples_to_threshold(rises, protocol, 2) == {0: 40, 1: 30, 2: None, 3: None}
    assert comparison.samples_to_threshold(rises, protocol, 6) == {0: None, 1: 30, 2: None, 3: None}
    evaluated = group("evaluated", history(0, evaluations=[1, 5, 2]), history(1, evaluations=[math.nan, 5, 2]))
    assert comparison.samples_to_threshold(evaluated, Protocol("evaluation", last=3), 5) == {0: 20, 1: 20}
    running = group("running", history(0, episodes=[1, 5, 2]), running=100)
    assert comparison.samples_to_threshold(running, Protocol("training", last=100), 2) == {0: 20}
    page = compare_command.as_markdown(comparison.compare([rises], protocol, threshold=2))
    assert "| rises | 2 of 4 | half or more never did | 30 | 40 |" in page
    assert "| rises | 0 of 4 | never |  |  |" in compare_command.as_markdown(
        comparison.compare([rises], protocol, threshold=99)
    )


# --- published numbers


def test_steps_to_a_threshold_end_with_the_protocol() -> None:
    short, long = (
        group(name, *(history(seed, [0.0] * 50 + [10.0] * (count - 50)) for seed in range(2)))
        for name, count in (("short", 50), ("long", 100))
    )
    found = comparison.compare([short, long], Protocol("training", last=5, to_step=500), threshold=9.0)
    assert [side.reached for side in found.panels[0].sides] == [{0: None, 1: None}] * 2
    found = comparison.compare([short, long], Protocol("training", last=5, to_step=600), threshold=9.0)
    assert found.panels[0].sides[1].reached == {0: 550, 1: 550}


def published(mean: float, protocol: Protocol, **more: object) -> PublishedNumber:
    values: dict[str, object] = {"spread": 2.0, "kind": "sample sd", "seeds": 10, **more}
    steps, env = values.pop("steps", 10), values.pop("env", "E-v0")
    reported = stats.Reported(mean, **values)  # type: ignore[arg-type]
    row = load_book().rows[0]
    row = dataclasses.replace(row, id="some-1", env=str(env), steps=steps, frames=False, protocol=protocol, traps=())
    return PublishedNumber(row, reported)


LAST = Protocol("evaluation", last=1)


def test_a_published_number_is_met_by_its_own_protocol() -> None:
    values = [10.0, 12, 11, 9, 8, 10, 11, 12, 9, 10]
    measured = group("a", *(history(s, evaluations=[99, v]) for s, v in enumerate(values)))
    one = published(11.5, LAST, steps=20)
    (panel,) = comparison.compare([measured], Protocol("evaluation", "mean of seed maxima"), [one]).panels
    assert panel.sides[0].score.mean == 99
    (beside,) = panel.beside
    assert beside.score is not None
    assert beside.score.mean == pytest.approx(np.mean(values))
    assert isinstance(beside.test, stats.PairTest)
    welch = stats.welch_from_summary(np.mean(values), np.std(values, ddof=1), 10, 11.5, 2.0, 10)
    assert welch.p_difference <= beside.test.p == beside.p_holm
    theirs = np.arange(10.0)
    theirs = 11.5 + 2.0 * (theirs - theirs.mean()) / theirs.std(ddof=1)
    as_two_groups = stats.pair_test(np.array(values), theirs)
    assert dataclasses.astuple(beside.test) == pytest.approx(dataclasses.astuple(as_two_groups))
    assert "some-1" in compare_command.as_markdown(comparison.compare([measured], None, [one]))


def test_beside_a_published_number_no_p_is_smaller_than_so_few_seeds_allow() -> None:
    runs = [ended("a", [1.0, 1.01, 1.02])]
    known, unknown = published(9.0, LAST, spread=0.01, seeds=3), published(9.0, LAST, spread=0.01, seeds=None)
    (panel,) = comparison.compare(runs, None, [known, unknown]).panels
    few, assumed = panel.beside
    assert isinstance(few.test, stats.PairTest)
    assert few.test.p == pytest.approx(2 / 20)
    assert any("3 and 3 seeds are too few for a p below 0.1," in caveat for caveat in few.caveats)
    assert isinstance(assumed.test, stats.ClaimTest)
    assert any("number of seeds is unknown: taken for 1" in caveat for caveat in assumed.caveats)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (published(1, Protocol("training", last=100)), "it is of training returns, and the runs have none"),
        (published(1, LAST, env="F-v0"), "it is of F-v0, not E-v0"),
        (published(1, LAST, steps=1000), "it is of 1,000 env steps, the runs of 10"),
        (published(1, Protocol("evaluation", discount=0.9)), "discounted by 0.9"),
        (published(1, Protocol("evaluation", last=4)), "it has 1 of the 4 evaluations"),
        (
            published(1, Protocol("evaluation", "max of seed mean", eval_every=5)),
            "every 5 env steps, the runs have one",
        ),
    ],
)
def test_why_a_published_number_is_not_met(one: PublishedNumber, why: str) -> None:
    (panel,) = comparison.compare([ended("a", [1.0, 2.0])], None, [one]).panels
    (beside,) = panel.beside
    assert beside.score is None
    assert why in beside.why
    assert "not comparable" in compare_command.as_markdown(comparison.compare([ended("a", [1.0, 2.0])], None, [one]))


def test_versions_of_an_environment_are_held_against_each_other_as_of_our_own_runs() -> None:
    for published_env, env, why, note in (
        ("Pendulum-v0", "Pendulum-v1", "", "Pendulum-v0 (-v0 to -v1: "),
        ("Hopper-v3", "Hopper-v2", "", "Hopper-v3 (-v2 to -v3: "),
        ("Ant-v4", "Ant-v5", "it is of Ant-v4 (-v4 to -v5: ", ""),
        ("Pendulum-v0", "Hopper-v5", "it is of Pendulum-v0, not Hopper-v5", ""),
    ):
        measured = group("a", *(history(s, evaluations=[10.0 + s]) for s in range(3)), env=env)
        (beside,) = comparison.compare([measured], LAST, [published(1, LAST, env=published_env)]).panels[0].beside
        assert beside.why.startswith(why)
        assert bool(beside.why) == bool(why)
        assert any(note in one for one in beside.caveats) == bool(note)


def test_a_maximum_over_time_is_of_as_many_evaluations() -> None:
    """Of ten it is another number than of two hundred; the steps of imported evaluations tell it."""
    measured = group("a", *(history(s, evaluations=[1.0 + s, 2.0, 3.0]) for s in range(3)))
    for every, same in ((10, True), (5, False)):
        one = published(2.0, Protocol("evaluation", "max of seed mean", eval_every=every), steps=30)
        (beside,) = comparison.compare([measured], None, [one]).panels[0].beside
        assert (beside.score is not None) == same
        assert same or beside.why == "its evaluations are every 5 env steps, the runs' every 10"
    late = np.column_stack([[10, 20, 30, 40, 90], np.ones(5)])  # the runs' own rhythm, though some were not made
    gone = group("gone", History(0, NONE, late, np.empty(0), 90), History(1, NONE, late, np.empty(0), 90))
    one = published(2.0, Protocol("evaluation", "max of seed mean", eval_every=10), steps=90)
    assert comparison.compare([gone], None, [one]).panels[0].beside[0].why == ""


def test_runs_that_end_within_a_hundredth_of_the_published_steps_count_to_their_end() -> None:
    for end, mean in ((1009, 5.0), (1011, 1.0)):
        points = np.array([[500, 1.0], [end, 5.0]])
        runs = group("a", *(History(seed, NONE, points, np.empty(0), end) for seed in range(3)))
        (beside,) = comparison.compare([runs], None, [published(5.0, LAST, steps=1000)]).panels[0].beside
        assert beside.score is not None
        assert beside.score.mean == mean
        assert ("scored at env step 1,000" in beside.caveats) == (end == 1011)


def test_steps_that_are_frames_are_not_taken_for_env_steps() -> None:
    one = published(1.0, LAST, steps=1000)
    frames = dataclasses.replace(one, row=dataclasses.replace(one.row, frames=True))
    assert (one.steps, frames.steps) == (1000, None)
    (beside,) = comparison.compare([ended("a", [1.0, 2.0])], None, [frames]).panels[0].beside
    assert "the published number of env steps is not known" in beside.caveats


def test_a_number_that_nothing_can_be_held_against_is_not() -> None:
    """Whatever the runs say of their settings: its own cautions bar it."""
    row = next(row for row in load_book().rows if barred(row) and row.protocol.can_score is None and not row.frames)
    same = dataclasses.replace(row, env="E-v0", steps=10, protocol=LAST)
    one = dataclasses.replace(comparison.published_number(row.id), row=same)
    (panel,) = comparison.compare([ended("a", [1.0, 2.0])], None, [one]).panels
    assert panel.beside[0].score is None
    assert panel.beside[0].why == barred(row)[0]


def test_a_run_that_went_on_is_not_the_agent_that_was_published() -> None:
    final = dataclasses.replace(history(0, evaluations=[1.0, 2.0]), final=np.array([5.0]))
    one = published(5.0, Protocol("evaluation", "one agent"), kind="over episodes", seeds=1)
    (panel,) = comparison.compare([group("a", final)], LAST, [one]).panels
    assert panel.beside[0].why == "it is of one agent after 10 env steps, the runs of 20"


def test_settings_of_every_seed_count() -> None:
    """Of a group under one label, a part of which was evaluated in another way."""
    row = next(row for row in load_book().rows if row.id == "zoo-ppo-cartpole-v1")
    flags = ["--env", row.env, "--agent", "ppo", "--num-envs", "1", "--total-timesteps", str(row.steps)]
    asked = [parse_train([*flags, *more]) for more in ([], ["--no-eval-deterministic"])]
    settings = tuple(request.settings for request in asked)  # type: ignore[union-attr]
    final = dataclasses.replace(history(0, evaluations=[1.0]), final=np.array([5.0]))
    number = comparison.published_number(row.id)
    why = {}
    for name, own in (("one", settings[:1]), ("both", settings), ("other", settings[1:])):
        mixed = group(name, final, env=row.env, settings=own)
        why[name] = comparison.compare([mixed], LAST, [number]).panels[0].beside[0].why
    assert why["one"] == ""
    assert why["both"] == why["other"] == "its policy did not explore, and this run's evaluations are stochastic"


def test_a_published_number_of_iterations_is_met_by_iterations() -> None:
    one = published(2.0, Protocol("training", after_step=100, to_step=200, iteration=20), steps=200)
    whole, short = (
        group("a", *(history(seed, [float(n) for n in range(count)]) for seed in range(2))) for count in (20, 19)
    )
    beside = comparison.compare([whole], None, [one]).panels[0].beside[0]
    assert beside.score is not None
    assert beside.score.mean == 14.5, "iterations 5 to 9, of episodes 10 to 19"
    assert "one sub-environment" in beside.caveats[-1]
    beside = comparison.compare([short], None, [one]).panels[0].beside[0]
    assert "of 200 env steps, the runs of 190" in beside.why


@pytest.mark.parametrize("first", [0, 1])
def test_seeds_of_unlike_lengths_are_scored_at_one_env_step(first: int) -> None:
    row = next(row for row in load_book().rows if row.id == "cleanrl-ppo-cartpole-v1-0")
    assert row.steps is not None
    asked = [parse_train(["--env", row.env, "--agent", "ppo", "--num-envs", "1", "--total-timesteps", str(total)])
             for total in (row.steps, 2 * row.steps)]  # fmt: skip
    settings = [request.settings for request in asked]  # type: ignore[union-attr]
    step = row.steps // 200
    short = history(0, episodes=[1.0] * 200, every=step)
    long = history(1, episodes=[1.0] * 200 + [500.0] * 200, every=step)
    both = group("x", short, long, env=row.env, settings=(settings[first], settings[1 - first]))
    number = comparison.published_number(row.id)
    beside = comparison.compare([both], Protocol("training", last=100), [number]).panels[0].beside[0]
    assert beside.score is not None
    assert beside.score.per_seed == {0: 1.0, 1: 1.0}


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=6), st.lists(st.floats(-5, 5), min_size=3, max_size=6),
)  # fmt: skip
@example([-5.0, -4.9, -4.8], [5.0, 4.9, 4.8])
@example([-5.0, -4.9, -4.8], [5.0, 4.9, 4.8, 4.7])
def test_an_interval_has_zero_outside_where_p_is_small(a: list[float], b: list[float]) -> None:
    (panel,) = comparison.compare([ended("a", a), ended("b", b)]).panels
    (pair,) = panel.pairs
    if pair.low is None or pair.high is None or pair.p is None or abs(pair.p - 0.05) < 1e-9:
        return
    apart = not pair.low <= 0 <= pair.high
    if apart and 2 / math.comb(len(a) + len(b), len(a)) >= 0.05:  # no p of so few seeds is small
        assert "too few for a p below" in pair.note
    else:
        assert (pair.p < 0.05) == apart
        assert not pair.note


def test_one_published_agent_is_one_sided_and_no_spread_is_not_tested() -> None:
    runs = [ended("a", [1.0, 2.0, 3.0]), ended("b", [5.0, 5.0])]
    one = published(2.5, LAST, kind="over episodes", spread=1.0, seeds=1)
    nothing = published(5.0, LAST, kind="none", spread=None)
    (panel,) = comparison.compare(runs, None, [one, nothing]).panels
    acceptance = panel.beside[0].test
    assert isinstance(acceptance, stats.Acceptance)
    assert (acceptance.reached, acceptance.seeds) == (1, 3)
    assert panel.beside[3].test is None
    assert any("not tested" in caveat for caveat in panel.beside[3].caveats)
    longer = published(2.0, LAST, steps=10)
    two = group("c", history(0, evaluations=[2, 9]), history(1, evaluations=[3, 9]))
    (panel,) = comparison.compare([two], None, [longer]).panels
    assert panel.beside[0].score is not None
    assert panel.beside[0].score.mean == 2.5  # at its own number of env steps
    assert "scored at env step 10" in panel.beside[0].caveats


# --- curves and files


def test_curves_are_read_off_at_common_steps() -> None:
    steps, lines = curves(group("a", history(0, evaluations=[1, 2]), history(1, evaluations=[3, 5])), "evaluation")
    assert (steps.tolist(), lines.tolist()) == ([10, 20], [[1, 2], [3, 5]])
    long, short = np.arange(300.0), np.arange(100.0)
    steps, lines = curves(group("a", history(0, episodes=long), history(1, episodes=short)), "training")
    assert (steps[0], steps[-1], lines.shape) == (10, 3000, (2, 200))
    assert lines[0, -1] == long[-100:].mean()
    assert lines[0, 0] == 0
    assert np.isnan(lines[1, -1])
    at = 60  # the latest episode at or before this step, and up to 99 before it
    last = int(steps[at] // 10)
    assert lines[0, at] == pytest.approx(long[max(0, last - 100) : last].mean())
    assert lines[1, at] == pytest.approx(short[max(0, last - 100) : last].mean())


def test_a_training_curve_that_ends_a_fiftieth_before_the_others_goes_on_to_their_end() -> None:
    ends = {0: 1000.0, 1: 985.0, 2: 970.0}  # a fiftieth of the 990 env steps that are drawn is 19.8
    runs = [History(s, np.array([[10.0, 0.0], [end, 4.0]]), NONE, np.empty(0), 1000) for s, end in ends.items()]
    steps, lines = curves(group("a", *runs), "training")
    assert steps[-1] == 1000
    assert lines[:2, -1].tolist() == [2.0, 2.0]
    assert np.isnan(lines[2, -1])


def test_files_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    groups = [
        group("_a $x$ | <b>&", *(history(s, episodes=np.arange(150.0) + s) for s in range(3))),
        group("b", *(history(s, episodes=np.arange(150.0) - s) for s in range(2)), history(7, [1.0], stopped="=1+1")),
    ]
    compared = comparison.compare(groups, threshold=60.0)
    contents = []
    for name in ("one", "two"):
        written = compare_command.write(compared, tmp_path / name / "deep")
        assert [file.name for file in written] == ["compare.md", "compare.csv", "compare.svg"]
        contents.append([file.read_bytes() for file in written])
    assert contents[0] == contents[1]
    page, rows, figure = (data.decode() for data in contents[0])
    assert r"| \_a \$x\$ \| &lt;b&gt;&amp; | 3 |" in page
    read = list(csv.DictReader(rows.splitlines()))
    assert [(row["label"], row["seed"], row["score"]) for row in read][:2] == [
        ("_a $x$ | <b>&", "0", "99.5"), ("_a $x$ | <b>&", "1", "100.5"),
    ]  # fmt: skip
    assert [row["steps_to_threshold"] for row in read] == ["1110", "1100", "1090", "1110", "1120", ""]
    assert read[-1]["missing"] == "it stopped at env step 10 (=1+1)"
    assert ElementTree.fromstring(figure).tag.endswith("svg")
    assert "<text" not in figure  # letters are paths: it looks the same everywhere
    for colour in ("#0072b2", "#d55e00"):
        assert colour in figure


# --- the command


@pytest.fixture
def two(tmp_path: Path) -> Path:
    file = tmp_path / "two.csv"
    rows = [f"{algo},{seed},{10 * n},{n % 7 + seed + (algo == 'b')}\n"
            for algo in "ab" for seed in range(4) for n in range(1, 150)]  # fmt: skip
    file.write_text("algo,seed,step,episode_return\n" + "".join(rows))
    return file


def test_flags_make_the_protocol(two: Path, command: Command) -> None:
    def title(*flags: str) -> str:
        shown = command("compare", two, *flags)
        assert shown.status == 0
        return shown.out.splitlines()[1]

    assert title() == "Training return, mean of the last 100 episodes"
    assert title("--last", "7") == "Training return, mean of the last 7 episodes"
    assert title("--last", "all") == "Training return, mean of all episodes"
    assert title("--to-step", "1200") == "Training return, mean of the last 100 episodes up to env step 1,200"
    assert title("--after-step", "300") == "Training return, mean of all episodes after env step 300"
    as_evaluations = ("--column", "kind=evaluation")
    assert title(*as_evaluations) == "Evaluation return, mean of the last evaluation"
    assert title(*as_evaluations, "--statistic", "max-of-seed-mean") == (
        "Evaluation return, maximum over time of the seeds' mean, all evaluations"
    )


def test_files_are_written_where_asked(two: Path, command: Command, tmp_path: Path) -> None:
    shown = command("compare", two, "--into", tmp_path / "out", "--threshold", "5")
    assert shown.status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv",
        "compare.md",
        "compare.svg",
    ]
    assert "a − b" in shown.out
    assert "first reached 5" in shown.out
    two.rename(tmp_path / "out" / two.name)
    again = command("compare", tmp_path / "out", "--threshold", "5")
    assert again.out == shown.out.partition("written:")[0], "its own table beside the runs is none"
    (tmp_path / "out" / two.name).unlink()
    assert "holds no run that can be read" in command("compare", tmp_path / "out").problem
    two.write_text("step,episode_return\n" + "".join(f"{n},{n}\n" for n in range(120)))
    two.rename(tmp_path / "out" / "compare.csv")
    assert command("compare", tmp_path / "out").status == 0, "somebody else's table may have that name"


def test_our_runs_are_compared(runs: Runs, command: Command) -> None:
    for name, env_kwargs in (("one", ()), ("two", ("--num-envs", "2"))):
        runs.finish(name, "--agent", "random", "--seeds", "2", "--total-timesteps", "120", *env_kwargs)
    shown = command("compare", runs.folder / "one", runs.folder / "two", "--last", "2", "--returns", "training")
    assert shown.status == 0
    assert "random (one)" in shown.out
    assert "random (two)" in shown.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--last", "0"), "--last"),
        (("--last", "some"), "--last"),
        (("--threshold", "nan"), "nan is not finite"),
        (("--threshold", "high"), "'high' is not a number"),
        (("--statistic", "median"), "--statistic"),
        (("--returns", "both"), "--returns"),
        (("--statistic", "max-of-seed-mean", "--returns", "training"), "is a statistic of evaluations"),
        (("--after-step", "9", "--to-step", "5"), "after_step 9 is not before to_step 5"),
        (("--column", "step"), "is not ROLE=NAME"),
        (("--column", "stp=x"), "did you mean 'step'?"),
        (("--as", "excel"), "--as"),
        (("--as", "npz"), "not an evaluations.npz that can be read"),
        (("--env", "Hopper-v1"), "no run is on 'Hopper-v1' (there is none stated)"),
        (("--labels", "a", "b"), "2 labels for 1 runs"),
        (("--into", "{file}"), "--into"),
        (("missing.csv",), "there is no missing.csv"),
    ],
)
def test_faults_are_one_line(flags: Sequence[str], said: str, two: Path, command: Command) -> None:
    flags = [flag.replace("{file}", str(two)) for flag in flags]
    assert said in command("compare", two, *flags).problem


def test_published_ids_are_looked_up_in_the_book(two: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def book(identity: str, file: Path) -> PublishedNumber:
        rows: Mapping[str, PublishedNumber] = {"some-1": published(4.0, Protocol("training", last=100), steps=1490)}
        if identity not in rows:
            raise Problem(f"no published number has the id {identity!r}")
        return rows[identity]

    monkeypatch.setattr(compare_command, "published_number", book)
    shown = command("compare", two, "--published", "some-1")
    assert shown.status == 0
    assert "Beside published numbers" in shown.out
    assert "no published number has the id 'other'" in command("compare", two, "--published", "other").problem


def test_published_ids_are_looked_up_in_a_book_of_ones_own(two: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        '[[result]]\nid = "mine-ppo"\nenv_id = "CartPole-v1"\nalgorithm = "PPO"\npaper = "mine"\nsteps = 1490\n'
        'citation = "mine"\nprotocol = { returns = "training", last = 100 }\nmean = 4.0\nspread = 1.0\n'
        'spread_kind = "sample sd"\nseeds = 5\nwhere = "Table 1"\nread_from = "the text"\n'
    )
    book = tmp_path / "mine.jsonl"
    assert command("published", "convert", tmp_path / "mine.toml", "--into", book).status == 0
    shown = command("compare", two, "--published", "mine-ppo", "--book", book)
    assert "Beside published numbers" in shown.out
    assert "mine-ppo" in shown.out
    said = command("compare", two, "--published", "mine-ppo").problem
    assert "mine-ppo" in said  # which is not in the package's own
    assert "no/such.jsonl" in command("compare", two, "--published", "mine-ppo", "--book", "no/such.jsonl").problem


def test_a_comparison_of_nothing_has_a_status(tmp_path: Path, command: Command) -> None:
    rows = {"train": "0,training,5,1\n", "eval": "0,evaluation,5,1\n"}
    for name, row in rows.items():
        (tmp_path / f"{name}.csv").write_text(f"seed,kind,step,return\n{row}")
    shown = command("compare", tmp_path / "train.csv", tmp_path / "eval.csv")
    assert shown.status == 1
    assert "Not compared: train has training returns only, eval has evaluation returns only." in shown.out


def test_a_published_number_of_the_book() -> None:
    one = comparison.published_number("cleanrl-ppo-cartpole-v1-0")
    assert (one.row.env, one.steps, one.reported.mean) == ("CartPole-v1", 500_000, 490.04)
    assert one.reported.kind == "population sd"
    assert one.row.protocol == Protocol("training", last=100)
    with pytest.raises(Problem, match="cleanrl-ppo-cartpole-v1-0"):
        comparison.published_number("cleanrl-ppo-cartpole-v1-00")


def test_the_advised_step_is_one_that_every_seed_reached(tmp_path: Path, command: Command) -> None:
    """Of imported runs it is the end of the last episode that is known: not the same of all seeds."""
    rows = ["agent,env,seed,step,episode_return"]
    for agent, end, level in (("A", 5_000, 0), ("B", 20_000, 1)):
        for seed in range(4):
            rows += [f"{agent},E,{seed},{step},{seed + level}" for step in range(10, end + 40 * seed + 1, 10)]
    (tmp_path / "runs.csv").write_text("\n".join(rows) + "\n")
    alone = command("compare", tmp_path / "runs.csv")
    advised = re.search(r"--to-step (\d+) helps", alone.out)
    assert advised is not None
    cut = command("compare", tmp_path / "runs.csv", "--to-step", advised[1])
    assert "no score of" not in cut.out
    differences = [re.search(r"A − B\s+([−+0-9.]+)", one.out) for one in (alone, cut)]
    assert [found and found[1] for found in differences] == ["−1.00", "−1.00"]


def test_a_record_that_ends_an_episode_before_the_milestone_is_scored_at_it() -> None:
    ends = Protocol("training", last=5, to_step=1000)
    row = published(5.0, ends, steps=1000)
    almost = group("ours", *(history(seed, [5.0 + seed] * 199, every=5) for seed in range(12)))  # 995 steps
    (found,) = comparison.compare([almost], None, [row]).panels[0].beside
    assert found.score is not None
    assert len(found.score.per_seed) == 12
    early = group("ours", *(history(seed, [5.0 + seed] * 190, every=5) for seed in range(12)))  # 950
    (found,) = comparison.compare([early], None, [row]).panels[0].beside
    assert found.score is None
