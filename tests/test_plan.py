"""What a reproduction takes: the arithmetic by hand, the trial's files, and the prediction against the truth."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rlrepro.errors import Problem
from rlrepro.papers.cards.card import Card, Claim
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.reproduce import plan
from rlrepro.papers.reproduce.reproduction import Reproduction, main
from rlrepro.papers.stats import ALPHA, Reported, claim_test, power
from rlrepro.papers.units.unit import choose, settings_of, units_of
from rlrepro.papers.verdicts.verdict import reported
from rlrepro.plugins.env_source import EnvSource
from rlrepro.record import RunFolder
from rlrepro.settings import Settings

TRIAL = plan.Trial(
    steps=2_000,
    start_up=3.0,
    per_step=0.001,
    per_checkpoint=0.5,
    per_eval_step=0.002,
    episode_length=20.0,
    point_bytes=1_000.0,
    step_bytes=2.0,
    eval_bytes=30.0,
    checkpoint_bytes=10_000.0,
    checkpoint_growth=4.0,
    fixed_bytes=5_000.0,
    trained_length=20.0,
)


@pytest.fixture(scope="module")
def card() -> Card:
    return load_card("cleanrl-dqn")


@pytest.fixture(scope="module")
def settings(card: Card) -> Settings:
    made = settings_of(card, units_of(card, card.claims, ())[0], (0, 1, 2))
    return dataclasses.replace(
        made,
        total_timesteps=100_000,
        log_every=1_000,
        eval_every=25_000,
        eval_episodes=5,
        final_eval_episodes=10,
        checkpoint_every=10_000,
    )


def test_a_cost_is_the_trial_scaled_by_hand(settings: Settings) -> None:
    cost = plan.estimate(settings, TRIAL, limit=500)
    assert cost.env_steps == 300_000
    assert cost.seconds == pytest.approx(3 + 100 + 10 * 0.5)
    assert cost.eval_seconds == pytest.approx((3 * 5 + 10) * 500 * 0.002)  # at 25, 50 and 75 thousand, and at the end
    checkpoint = 10_000 + 4 * (10_000 - 2_000)  # the replay memory holds 10,000 steps
    assert cost.bytes == pytest.approx(2 * checkpoint + 5_000 + 103 * 1_000 + 200_000 + 25 * 30)


def test_without_a_time_limit_the_trials_episodes_count(settings: Settings) -> None:
    assert plan.estimate(settings, TRIAL, None).eval_seconds == pytest.approx(25 * 20 * 0.002)


def test_a_run_keeps_no_more_checkpoints_than_it_writes_and_writes_one_for_the_rest(settings: Settings) -> None:
    seldom = plan.estimate(dataclasses.replace(settings, checkpoint_every=100_000), TRIAL, limit=500)
    assert seldom.seconds == pytest.approx(3 + 100 + 1 * 0.5)
    assert seldom.bytes == pytest.approx(1 * (10_000 + 4 * 8_000) + 5_000 + 103 * 1_000 + 200_000 + 25 * 30)
    uneven = plan.estimate(dataclasses.replace(settings, checkpoint_every=30_000), TRIAL, limit=500)
    assert uneven.seconds == pytest.approx(3 + 100 + 4 * 0.5)  # at 30, 60 and 90 thousand, and at the end


def test_costs_add_up() -> None:
    assert plan.Cost(1, 2.0, 3.0, 4.0) + plan.Cost(10, 20.0, 30.0, 40.0) == plan.Cost(11, 22.0, 33.0, 44.0)


@pytest.mark.parametrize(
    ("num_envs", "num_steps", "total", "expected"),
    [(4, 128, 500_000, 2_048), (1, 2_048, 10**6, 8_192), (8, 100, 10**6, 3_200), (4, 128, 600, 600)],
)
def test_a_trial_is_of_whole_rollouts(
    settings: Settings, num_envs: int, num_steps: int, total: int, expected: int
) -> None:
    own = dataclasses.replace(
        settings, num_envs=num_envs, total_timesteps=total, hyperparameters={"num_steps": num_steps}
    )
    assert plan.trial_steps(own) == expected


def test_a_trial_learns_soon(settings: Settings) -> None:
    short = plan.trial_settings(settings, 2_000)
    assert settings.hyperparameters["learning_starts"] == 10_000
    assert short.hyperparameters["learning_starts"] == 250
    assert (short.total_timesteps, short.log_every, short.eval_every) == (2_000, 500, 1_000)


def _write_trial(path: Path, seed: int, rates: Sequence[float], evaluation: float) -> None:
    """Four intervals of 500 steps at these rates; the evaluation in the middle takes so many seconds."""
    folder = RunFolder(path)
    folder.checkpoints(seed).mkdir(parents=True)
    rows, now = ["env_step,wall_time,metric,value"], 1_000.0
    for step, rate in zip((500, 1_000, 1_500, 2_000), rates, strict=True):
        now += 500 / rate
        rows.append(f"{step},{now},charts/SPS,{rate}")
        if step == 1_000:
            now += evaluation
            rows.append(f"{step},{now},eval/mean_reward,1")
    (folder.seed(seed) / "metrics.csv").write_text("\n".join(rows) + "\n")
    (folder.seed(seed) / "episodes.csv").write_text("x" * 4_000)
    ends = "".join(f"1000,{e},1,{length}\n" for e, length in enumerate((10, 30)))
    (folder.seed(seed) / "evaluations.csv").write_text(f"env_step,episode,episode_return,episode_length\n{ends}")
    (folder.checkpoints(seed) / "step-000000001000.safetensors").write_bytes(b"x" * 3_000)
    (folder.checkpoints(seed) / "step-000000002000.safetensors").write_bytes(b"x" * 5_000)
    folder.policy(seed).write_bytes(b"x" * 700)


def test_what_the_files_of_a_trial_say(settings: Settings, tmp_path: Path) -> None:
    own = dataclasses.replace(plan.trial_settings(settings, 2_000), seeds=(0, 1), processes=2)
    _write_trial(tmp_path, 0, (10, 500, 100, 500), evaluation=2.0)  # warms up, steady, writes a checkpoint, steady
    _write_trial(tmp_path, 1, (10, 1_000, 1_000, 1_000), evaluation=1.0)
    trial, training = plan.read_trial(RunFolder(tmp_path), own, wall=30.0)
    assert trial.per_step == pytest.approx(1 / 500)  # of the slower process, without its first and third interval
    assert training == pytest.approx(4.0)
    assert trial.per_checkpoint == pytest.approx(5.0 - 1.0)
    assert trial.per_eval_step == pytest.approx(2.0 / 40)
    assert trial.episode_length == 20
    assert trial.start_up == pytest.approx(30 - 4 - 2 - 2 * 4)
    assert trial.step_bytes == 4.0
    assert trial.checkpoint_bytes == 10_000
    assert trial.checkpoint_growth == pytest.approx(4.0)
    assert trial.fixed_bytes == 1_400
    assert trial.trained_length is None  # no episode ended
    rows = "env_step,env,episode_return,episode_length,terminated,truncated\n9,0,1,9,1,0\n30,0,1,21,1,0\n"
    (tmp_path / "seeds/0/episodes.csv").write_text(rows)
    assert plan.read_trial(RunFolder(tmp_path), own, wall=30.0)[0].trained_length == 15


@pytest.mark.parametrize(("length", "told"), [(5_001.0, True), (5_000.0, False), (None, False)])
def test_more_episodes_to_count_than_a_run_will_have_are_told(card: Card, length: float | None, told: bool) -> None:
    claim = card.claims[0]
    assert (card.protocol_of(claim).returns, card.protocol_of(claim).last) == ("training", 100)
    (unit,) = units_of(card, [claim], ())
    cost = plan.Cost(1, 1.0, 1.0, 1.0)
    _, remarks = plan.claim_table(card, [claim], [plan.UnitPlan(unit, cost, "", 500_000, length)])
    line = f"100 episodes are to count, and of 5,001 env steps each, as the trial's, {unit.name} has 99"
    assert [remark for remark in remarks if "are to count" in remark] == [line] * told


def test_the_episodes_that_count_are_those_up_to_the_last_step_that_counts(card: Card) -> None:
    """A hundred of 1,000 env steps: a run of half a million has them, and not by env step 50,000."""
    claim = card.claims[0]
    (unit,) = units_of(card, [claim], ())
    known = plan.UnitPlan(unit, plan.Cost(1, 1.0, 1.0, 1.0), "", 500_000, 1_000.0)
    for to_step, told in ((None, []), (50_000, [f"{unit.name} has 50"])):
        protocol = dataclasses.replace(card.protocols[claim.protocol], to_step=to_step)
        early = dataclasses.replace(card, protocols={**card.protocols, claim.protocol: protocol})
        remarks = plan.claim_table(early, [claim], [known])[1]
        assert [remark.rpartition("trial's, ")[2] for remark in remarks if "are to count" in remark] == told


def test_processes_that_take_turns_are_counted_turn_by_turn(settings: Settings, tmp_path: Path) -> None:
    """Five seeds that cannot be stacked, two at a time, take three turns."""
    own = dataclasses.replace(plan.trial_settings(settings, 2_000), seeds=(0, 1, 2, 3, 4), processes=2, stackable=False)
    for seed in own.seeds:
        _write_trial(tmp_path, seed, (10, 500, 100, 500), evaluation=2.0)
    trial, training = plan.read_trial(RunFolder(tmp_path), own, wall=60.0)
    assert training == pytest.approx(4.0)
    assert trial.per_step == pytest.approx(3 / 500)
    assert trial.per_checkpoint == pytest.approx(3 * (5.0 - 1.0))
    assert trial.per_eval_step == pytest.approx(3 * 2.0 / 40)
    assert trial.start_up == pytest.approx(60 - 3 * (4 + 2 + 2 * 4))


def test_seeds_by_the_papers_own_spread(card: Card) -> None:
    claim = next(c for c in card.claims if c.id == "dqn-cartpole")
    theirs = reported(claim)
    assert theirs.sample_sd is not None
    for test, difference in (("equivalence", 0.0), ("difference", claim.margin)):
        needed = power.seeds_needed(theirs.sample_sd, theirs, claim.margin, difference, test, 0.8, 0.05 / 6)  # type: ignore[arg-type]
        count, remark = plan.seeds_for(card, claim, 6, test)  # type: ignore[arg-type]
        assert count == ("never" if needed.seeds is None else f"{needed.seeds:,}")
        why = f"no number of our seeds has that power: {needed.note.partition(': ')[2]}"
        assert remark == (why if needed.seeds is None else "")


def test_a_claim_that_is_planned_alone_shares_the_error_with_its_card_s_others(card: Card) -> None:
    claim = next(c for c in card.claims if c.id == "dqn-cartpole")
    theirs, tested = reported(claim), len(card.claims) + len(card.orders)
    assert theirs.sample_sd is not None
    assert tested > 1
    table, _ = plan.claim_table(card, [claim], [])
    for cells, test, difference in (
        (table.columns[4].cells, "equivalence", 0.0),
        (table.columns[5].cells, "difference", claim.margin),
    ):
        alone, shared = (
            power.seeds_needed(theirs.sample_sd, theirs, claim.margin, difference, test, 0.8, 0.05 / family).seeds  # type: ignore[arg-type]
            for family in (1, tested)
        )
        assert list(cells) == ["never" if shared is None else f"{shared:,}"]
        assert alone != shared or shared is None


def test_the_claims_that_the_correction_counts_are_those_of_the_verdicts() -> None:
    """What is computed and what one published agent did have no p-value."""
    from rlrepro.papers import stats
    from rlrepro.papers.units.results import read_results
    from rlrepro.papers.verdicts.verdict import judge

    for name in ("sutton-barto", "rl-zoo3-ppo", "cleanrl-dqn"):
        one = load_card(name)
        found = judge(one, read_results(one.file.parent / "results"))
        tested = [v.claim.id for v in found.verdicts if isinstance(v.test, stats.ClaimTest | stats.OrderTest)]
        run = [v.claim for v in found.verdicts if v.word != "not run"]
        assert [claim.id for claim in run if one.is_tested(claim)] == tested


def test_seeds_where_nothing_is_known_of_the_spread(card: Card) -> None:
    claim: Claim = dataclasses.replace(card.claims[0], spread=None, spread_kind="none")
    of_five = dataclasses.replace(claim, seeds=5)
    for one, family, test in ((of_five, 3, "equivalence"), (of_five, 1, "difference"), (claim, 1, "difference")):
        count, remark = plan.seeds_for(card, one, family, test)
        assert count == "?"
        assert "does not print" in remark
    assert claim.seeds == 3
    assert plan.seeds_for(card, claim, 1, "equivalence") == ("never", power.NEVER_EQUAL)
    for seeds in range(1, 8):  # were our seeds all alike
        p = claim_test(np.zeros(10_000), Reported(0.0, seeds=seeds), 1.0).p_equivalence
        assert (p < ALPHA) == power.can_be_equal(Reported(0.0, seeds=seeds), 1.0) == (seeds >= 5)


def test_seeds_of_a_one_sided_claim(card: Card) -> None:
    claim = dataclasses.replace(card.claims[0], spread_kind="over episodes")
    assert plan.seeds_for(card, claim, 6, "equivalence") == (
        "14",
        "one-sided: 3 of 14 seeds that reach it, or 19 that miss it",
    )
    assert plan.seeds_for(card, claim, 6, "difference")[0] == "19"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (["6.5-sarsa"], r"sutton-barto: 1 unit to train, with 10 seeds each, on this machine"),
        (
            [],
            r"sutton-barto: 1 unit to train, with 10 seeds each, and \d+ units that functions measure, on this machine",
        ),
        (["2.2-best"], r"sutton-barto: 1 unit that functions measure, on this machine"),
    ],
)
def test_how_many_units_and_seeds(
    claims: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A measurement has seeds of its own, or none."""
    monkeypatch.setattr(plan, "run_trial", lambda settings: TRIAL)
    assert main(["sutton-barto", "--plan", *(["--claims", *claims] if claims else [])]) == 0
    assert re.match(said, capsys.readouterr().out)


def test_a_unit_that_fails_has_a_line_and_the_others_a_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_trial(settings: Settings) -> plan.Trial:
        if settings.env == "Acrobot-v1":
            raise Problem("Acrobot-v1 needs what is not here")
        return TRIAL

    monkeypatch.setattr(plan, "run_trial", run_trial)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["cleanrl-dqn", "--plan", "--scale", "0.1", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "NOT comparable" in shown
    assert "dqn-Acrobot-v1: Acrobot-v1 needs what is not here" in shown
    assert "total of what" in shown
    assert "200,000" in shown  # two units, two seeds, a tenth of 500,000 steps
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.314, "0.31 s"), (42, "42 s"), (90, "1.5 min"), (36_000, "10 h"), (864_000, "10 d")]
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert plan.duration(seconds) == text


def test_a_size_in_words() -> None:
    assert [plan.size_text(x) for x in (12, 1_500, 45_678_000, 3.2e9)] == ["12 B", "1.5 kB", "46 MB", "3.2 GB"]


TINY = """
format = 1
[paper]
title = "Made up"
authors = "Nobody"
year = 2020
url = "https://example.org"
[implementation.dqn]
agent = "dqn"
[implementation.dqn.hyperparameters."ours: small"]
total_timesteps = {total}
num_envs = 1
learning_rate = 1e-3
gamma = 0.99
buffer_size = 5000
batch_size = 32
learning_starts = 300
train_every = 4
gradient_steps = 1
target_every = 100
tau = 1.0
epsilon_start = 1.0
epsilon_end = 0.05
exploration_fraction = 0.5
loss = "squared"
double = false
max_grad_norm = 0.0
hidden = [32]
[protocol.training]
returns = "training"
last = 10
[[claim]]
id = "one"
implementation = "dqn"
environment = "CartPole-v1"
protocol = "training"
reported = 100
margin = 50
margin_why = "made up"
where = "nowhere"
"""


def _tiny(folder: Path, total: int) -> Card:
    file = folder / "tiny.toml"
    file.write_text(TINY.format(total=total))
    return load_card(str(file))


def test_a_trial_is_silent_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = _tiny(tmp_path, 2_000)
    monkeypatch.setattr(plan.tempfile, "tempdir", str(tmp_path))
    made = settings_of(card, units_of(card, card.claims, ())[0], (0,))
    trial = plan.run_trial(made)
    assert 1e-5 < trial.per_step < 0.1
    assert trial.step_bytes > 0
    assert trial.checkpoint_growth > 8  # an observation of four floats, twice, and more
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.glob("rlrepro-plan-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("peer", [False, True], ids=["dqn", "sb3:a2c, whose seeds take turns"])
def test_the_prediction_is_within_a_factor_of_two(peer: bool, tmp_path: Path) -> None:
    card, ids, seeds, scale = (
        (load_card("rl-zoo3-a2c"), ["sb3-a2c-cartpole"], (0, 1, 2, 3, 4, 5), 0.1)
        if peer
        else (_tiny(tmp_path, 20_000), [], (0, 1), 1.0)
    )
    claims, orders = choose(card, ids)
    units = units_of(card, claims, orders)
    cost = plan.plan_unit(card, units[0], seeds, scale).cost
    assert cost is not None
    began = time.perf_counter()
    assert Reproduction(tmp_path / "out", card, scale, ["test"]).run(units, seeds) == []
    truth = time.perf_counter() - began
    size = sum(path.stat().st_size for path in (tmp_path / "out" / "runs").rglob("*") if path.is_file())
    Console().print(f"predicted {cost.seconds:.1f} s and {cost.bytes:,.0f} B; took {truth:.1f} s and {size:,} B")
    assert truth / 2 < cost.seconds + cost.eval_seconds < truth * 2
    assert size / 2 < cost.bytes < size * 2


def test_an_environment_that_may_never_end_is_said_before_its_trial(
    card: Card, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    units = units_of(card, card.claims, card.orders)
    monkeypatch.setattr(plan, "run_trial", lambda settings: TRIAL)
    plan.plan_unit(card, units[0], (0,), 1.0)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(EnvSource, "time_limit", lambda self: None)
    plan.plan_unit(card, units[0], (0,), 1.0)
    assert f"note: {units[0].environment} states no time limit: its trial run" in capsys.readouterr().out
