"""A card reproduced: nothing is trained twice, seeds are added later, and what breaks is shown and counted."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlrepro import train
from rlrepro.errors import Problem
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.reproduce.reproduction import Reproduction, parser
from rlrepro.papers.units.results import read_results, write_results
from rlrepro.papers.units.unit import choose, claimed, settings_of, units_of
from rlrepro.papers.verdicts.verdict import judge, judge_score
from rlrepro.papers.verdicts.verdict_json import as_json
from rlrepro.record import RunFolder
from rlrepro.request import Request
from rlrepro.settings import Settings
from tests.conftest import Command

HYPER = """
[implementation.ppo.hyperparameters."ours: a tiny run"]
total_timesteps = 512
num_envs = 2
learning_rate = 2.5e-4
anneal = true
num_steps = 64
num_epochs = 1
num_minibatches = 2
gamma = 0.99
gae_lambda = 0.95
clip_range = 0.2
entropy_coef = 0.01
value_coef = 0.5
max_grad_norm = 0.5
normalise_advantage = true
clip_value_loss = true
target_kl = 0.0
hidden = [16, 16]
adam_eps = 1e-5
"""

CARD = (
    """
format = 1
[paper]
title = "Tiny"
authors = "Nobody"
year = 2024
url = "https://example.org"

[implementation.ppo]
agent = "ppo"
"""
    + HYPER
    + """
[protocol.training]
returns = "training"
last = 5
[protocol.final]
returns = "evaluation"
last = 1
eval_every = 256
eval_episodes = 3
policy = "deterministic"

[[claim]]
id = "early"
implementation = "ppo"
environment = "CartPole-v1"
protocol = "training"
reported = 22.0
spread = 4.0
spread_kind = "sample sd"
seeds = 5
margin = 60
margin_why = "large"
where = "Table 1"

[[claim]]
id = "final"
implementation = "ppo"
environment = "CartPole-v1"
protocol = "final"
reported = 450.0
seeds = 10
margin = 10
margin_why = "small"
where = "Table 2"
"""
)


def whole(card: str) -> str:
    """The card with every hyperparameter that PPO has by now."""
    from rlrepro.plugins.agents import find_agent

    config, _, _ = find_agent("ppo").description()
    lines = []
    for name, field in config.__dataclass_fields__.items():
        if f"\n{name} = " not in card:
            value = field.default
            shown = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
            lines.append(f"{name} = {shown}")
    return card.replace("adam_eps = 1e-5\n", "adam_eps = 1e-5\n" + "\n".join(lines) + "\n")


Make = Callable[..., Reproduction]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(text: str = CARD, scale: float = 1.0, into: str = "out") -> Reproduction:
        file = tmp_path / "tiny.toml"
        file.write_text(whole(text), encoding="utf-8")
        return Reproduction(tmp_path / into, load_card(str(file)), scale, ["python", "-m", "rlrepro.reproduce", "x"], 1)

    return made


def run(one: Reproduction, seeds: int, *claims: str) -> list[str]:
    return one.run(units_of(one.card, *choose(one.card, claims)), tuple(range(seeds)))


def started(one: Reproduction) -> dict[str, str]:
    files = (one.folder / "runs").glob("*/*/run.json")
    return {str(f.parent.relative_to(one.folder)): json.loads(f.read_text())["started"] for f in files}


def test_runs_are_shared_between_claims_never_repeated_and_seeds_are_added(make: Make) -> None:
    one = make()
    assert run(one, 2) == []
    first = read_results(one.folder / "results")
    assert list(first.units) == ["ppo-CartPole-v1"]
    assert first.units["ppo-CartPole-v1"].seeds == (0, 1)
    began = started(one)
    assert run(make(), 2) == []
    assert started(one) == began
    assert run(make(), 4) == []
    assert sorted(started(one)) == ["runs/ppo-CartPole-v1/seeds-0-to-1", "runs/ppo-CartPole-v1/seeds-2-to-3"]
    later = read_results(one.folder / "results").units["ppo-CartPole-v1"]
    assert later.seeds == (0, 1, 2, 3)
    for old, new in zip(first.units["ppo-CartPole-v1"].histories, later.histories, strict=False):
        np.testing.assert_array_equal(old.episodes, new.episodes)
    assert [record["seeds"] for record in later.runs] == [[0, 1], [2, 3]]
    assert all({"command", "started", "ended", "versions", "git", "hardware"} <= set(record) for record in later.runs)


def test_results_alone_are_enough(make: Make) -> None:
    one = make()
    run(one, 2)
    before = (one.folder / "results" / "results.json").read_bytes()
    shutil.rmtree(one.folder / "runs")
    assert run(make(), 2) == []
    assert not (one.folder / "runs").exists()
    assert (one.folder / "results" / "results.json").read_bytes() == before
    again = read_results(one.folder / "results")
    write_results(one.folder / "again", again)
    for name in ("results.json", "ppo-CartPole-v1.csv.gz"):
        assert (one.folder / "again" / name).read_bytes() == (one.folder / "results" / name).read_bytes()


def test_seeds_of_a_reproduction_are_those_of_a_plain_run(make: Make) -> None:
    """The invariance reaches through: seed 1 of two, in results, is seed 1 trained alone."""
    one = make()
    run(one, 2)
    alone = make(into="alone")
    alone.run(units_of(alone.card, *choose(alone.card, [])), (1,))
    both, single = (read_results(r.folder / "results").units["ppo-CartPole-v1"].histories for r in (one, alone))
    np.testing.assert_array_equal(both[1].episodes, single[0].episodes)
    np.testing.assert_array_equal(both[1].evaluations, single[0].evaluations)


def test_evaluations_are_those_that_the_protocol_names(make: Make) -> None:
    card = make().card
    (unit,) = units_of(card, *choose(card, []))
    chosen = settings_of(card, unit, (0, 1))
    assert (chosen.eval_every, chosen.eval_episodes, chosen.final_eval_episodes) == (256, 3, 3)
    (only,) = units_of(card, *choose(card, ["early"]))
    assert settings_of(card, only, (0,)).eval_every == 0
    assert set(chosen.sources.values()) == {"ours: a tiny run"}


def test_evaluations_are_scaled_and_explore_where_a_claim_s_do(make: Make) -> None:
    """A policy that is not stated takes what another claim of the same runs states."""
    card = make().card
    (unit,) = units_of(card, *choose(card, ["final"]))
    half = settings_of(card, unit, (0,), 0.5)
    assert (half.total_timesteps, half.eval_every, half.eval_episodes) == (256, 128, 3)
    assert settings_of(card, unit, (0,), 0.001).total_timesteps == 2  # one step of both sub-environments
    for policy, is_deterministic in (("stochastic", False), ("deterministic", True)):
        protocols = tuple(
            dataclasses.replace(card.protocols["final"], policy=one)  # type: ignore[arg-type]
            for one in ("not stated", policy)
        )
        chosen = settings_of(card, dataclasses.replace(unit, protocols=protocols), (0,))
        assert chosen.eval_deterministic is is_deterministic


def test_one_agent_is_evaluated_by_as_many_episodes_as_the_curve_of_its_runs(make: Make) -> None:
    card = make().card
    for episodes, said in ((3, ""), (20, r"evaluated in two ways \(eval_episodes: 3 and 20\)")):
        agent = Protocol("evaluation", "one agent", eval_episodes=episodes, policy="deterministic")
        last = dataclasses.replace(card.claims[1], id="agent", protocol="agent")
        both = dataclasses.replace(
            card, protocols={**card.protocols, "agent": agent}, claims=(*card.claims, last)
        )  # fmt: skip
        with pytest.raises(Problem, match=said) if said else contextlib.nullcontext():
            units_of(both, both.claims, ())


def test_the_ends_of_normalised_scores_are_among_what_was_claimed(make: Make) -> None:
    ends = "".join(
        f'[environment.{name}]\npaper = "{name}"\nrandom = {low}\nbest = {high}\n'
        for name, low, high in (("CartPole-v1", 21.0, 499.0), ("Acrobot-v1", -500.0, -80.0))
    )
    several = 'environments = ["CartPole-v1", "Acrobot-v1"]\naggregate = "mean"'
    card = make(CARD.replace('environment = "CartPole-v1"', several, 1) + ends).card
    for unit in units_of(card, *choose(card, ["early"])):
        terms = claimed(card, unit)["early"]
        assert terms["scores"] == {"CartPole-v1": [21.0, 499.0], "Acrobot-v1": [-500.0, -80.0]}
        assert terms["aggregate"] == "mean"


@pytest.mark.parametrize(("text", "scale"), [("1", 1.0), ("0.25", 0.25), ("0", None), ("1.01", None), ("-1", None)])
def test_a_scale_is_above_0_and_at_most_1(text: str, scale: float | None) -> None:
    asked = ["card", f"--scale={text}"]
    if scale is not None:
        assert parser().parse_args(asked).scale == scale
        return
    with pytest.raises(Problem, match="is not above 0 and at most 1"):
        parser().parse_args(asked)


def test_a_card_that_changed_is_not_mixed_with_its_old_runs(make: Make) -> None:
    one = make()
    run(one, 2)
    changed = make(CARD.replace("gamma = 0.99", "gamma = 0.9"))
    with pytest.raises(Problem, match=r"run with hyperparameters.gamma = 0.99, and the card now says 0.9"):
        run(changed, 2)
    with pytest.raises(Problem, match=r"hyperparameters.gamma = 0.99, but the card says 0.9"):
        judge(changed.card, read_results(one.folder / "results"))
    shutil.rmtree(one.folder / "results")
    with pytest.raises(Problem, match="move it away"):
        run(changed, 2)


def test_a_claim_that_is_changed_after_its_results_says_so(make: Make) -> None:
    one = make()
    run(one, 1)
    folder = one.folder / "results"
    assert all(not verdict.changed for verdict in judge(one.card, read_results(folder)).verdicts)
    wider = CARD.replace("margin = 60", "margin = 90").replace('"large"', '"larger"').replace("last = 5", "last = 6")
    early, final = judge(make(wider).card, read_results(folder)).verdicts
    assert early.changed == "protocol.last was 5, margin was 60 when results for it were first kept"
    assert early.why.endswith(early.changed)
    assert not final.changed
    run(make(wider), 2)  # what more seeds add keeps the first claim
    early, _ = judge(make(wider).card, read_results(folder)).verdicts
    assert "margin was 60" in early.changed
    bare = CARD.replace('spread = 4.0\nspread_kind = "sample sd"\n', "").replace('id = "final"', 'id = "last"')
    found = judge(make(bare).card, read_results(folder))
    assert "spread was 4" in found.verdicts[0].changed
    assert found.verdicts[1].changed == "claimed after results for it were kept"
    assert "Claim final was on the card when results for it were kept, and no longer is." in found.notes


def test_the_random_and_best_returns_are_among_what_was_claimed(make: Make) -> None:
    """They decide whether to be equal shows anything."""
    one = make()
    run(one, 1)
    folder = one.folder / "results"
    ends = CARD + '\n[environment.CartPole-v1]\npaper = "CartPole-v1"\nrandom = 21.0\nbest = 499.0\n'
    early, _ = judge(make(ends).card, read_results(folder)).verdicts
    assert early.changed == "random was not given, best was not given when results for it were first kept"


def test_results_that_are_older_than_the_record_of_claims_tell_of_no_change(make: Make) -> None:
    one = make()
    run(one, 1)
    file = one.folder / "results" / "results.json"
    about = json.loads(file.read_text())
    for unit in about["units"].values():
        del unit["claimed"]
    file.write_text(json.dumps(about, indent=1) + "\n")
    changed = make(CARD.replace("margin = 60", "margin = 90"))
    results = read_results(file.parent)
    assert all(not verdict.changed for verdict in judge(changed.card, results).verdicts)
    old = file.read_bytes()
    write_results(file.parent, results)
    assert file.read_bytes() == old
    for harm, why in (
        ([1], "claims that are no tables"),
        ({"\033[2J": {}}, "names"),
        ({"early": {"\033": 1}}, "names"),
    ):
        about["units"]["ppo-CartPole-v1"]["claimed"] = harm
        file.write_text(json.dumps(about))
        with pytest.raises(Problem, match=why):
            read_results(file.parent)


def test_a_smaller_scale_is_marked_everywhere_and_never_mixed(make: Make) -> None:
    small = make(scale=0.5)
    run(small, 2)
    results = read_results(small.folder / "results")
    assert results.units["ppo-CartPole-v1"].settings["total_timesteps"] == 256
    verdicts = judge(small.card, results).verdicts
    assert {v.word for v in verdicts} == {"not comparable"}
    assert all(v.why.startswith("run at 0.5 of the paper's steps") for v in verdicts)
    assert not any("would decide it" in v.why for v in verdicts)  # no number of short runs does
    with pytest.raises(Problem, match=r"holds runs at scale 0.5, not 1"):
        run(make(), 2)


def test_claims_are_chosen_by_name(make: Make) -> None:
    card = make().card
    assert [c.id for c in choose(card, ["f*"])[0]] == ["final"]
    with pytest.raises(Problem, match="no claim 'finl'; did you mean 'final'"):
        choose(card, ["finl"])


CRASHING = """
from gymnasium.envs.classic_control import CartPoleEnv

class Crashes(CartPoleEnv):
    "Breaks for the seed whose first observation lies at the left."
    max_episode_steps = 500

    def __init__(self):
        super().__init__()
        self.steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps > 60 and self.left:
            raise RuntimeError("the left one breaks")
        return super().step(action)

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        if self.steps == 0:
            self.left = bool(obs[0] < LIMIT)
        return obs, info
"""


def test_a_crashed_seed_takes_no_other_with_it_and_is_counted(make: Make, tmp_path: Path) -> None:
    import gymnasium

    from rlrepro.streams import env_seed

    starts = []
    for seed in range(3):
        env = gymnasium.make("CartPole-v1")
        starts.append(float(env.reset(seed=env_seed(seed, "env", 0))[0][0]))
    file = tmp_path / "crashes.py"
    file.write_text(CRASHING.replace("LIMIT", repr(sorted(starts)[0] + 1e-9)))
    named = CARD.replace('environment = "CartPole-v1"', 'environment = "crashes"').replace(
        "num_envs = 2", "num_envs = 1"
    )
    table = f'\n[environment.crashes]\npaper = "CartPole-v1"\nrun = "{file}:Crashes"\ndiffers = "it breaks"\n'
    one = make(named + table)
    failed = run(one, 3)
    unit = read_results(one.folder / "results").units["ppo-crashes"]
    stopped = {h.seed for h in unit.histories if h.stopped}
    assert unit.seeds == (0, 1, 2)
    assert len(stopped) == 1, "exactly one seed begins at the left"
    assert failed == ["ppo-crashes"]
    judgement = judge(one.card, read_results(one.folder / "results"))
    early = judgement.verdicts[0]
    assert early.score is not None
    assert set(early.score.missing) == stopped
    assert early.word == "inconclusive"
    assert "seeds without a score count against it" in early.why
    assert any(f"seed {min(stopped)} did not finish" in note for note in judgement.notes)
    json.dumps(as_json(judgement))
    run(one, 3)  # training goes on, with new episodes
    (note,) = (note for note in judge(one.card, read_results(one.folder / "results")).notes if "broke" in note)
    assert note.startswith(f"ppo-crashes: seed {min(stopped)} broke, and went on when told to: ")
    assert "RuntimeError: the left one breaks" in note


DYING = """
import os, signal
from gymnasium.envs.classic_control import CartPoleEnv

class Dies(CartPoleEnv):
    count = 0
    def step(self, action):
        Dies.count += 1
        if Dies.count == 300:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)
"""


def test_an_environment_that_ends_its_process_costs_no_other_unit(make: Make, tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text(DYING)
    dies = f'\n[environment.dies]\npaper = "CartPole-v1"\nrun = "{tmp_path / "dies.py"}:Dies"\ndiffers = "it dies"\n'
    first = CARD.replace('environment = "CartPole-v1"', 'environment = "dies"', 1)
    one = make(first + dies)
    one.processes = 2
    assert run(one, 2) == ["ppo-dies"]
    units = read_results(one.folder / "results").units
    assert [h.stopped for h in units["ppo-CartPole-v1"].histories] == ["", ""]
    for history in units["ppo-dies"].histories:
        assert "was killed (SIGSEGV)" in history.stopped
    one = make(first + dies)
    one.processes = 1  # where the same command goes on, it is apart from what would end it
    assert run(one, 2) == ["ppo-dies"]
    for path in (one.folder / "runs" / "ppo-dies").glob("seeds-*"):  # as where Ctrl-C came before they were tried alone
        shutil.rmtree(path)
    assert run(one, 2, "early") == ["ppo-dies"]


GHOST = """
import gymnasium
import numpy as np

class Ghost(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}
"""


def test_a_unit_that_cannot_be_trained_stops_no_other(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CARD.replace('environment = "CartPole-v1"', 'environment = "ghost"', 1)
    (tmp_path / "ghost.py").write_text(GHOST)
    ghost = f'\n[environment.ghost]\npaper = "CartPole-v1"\nrun = "{tmp_path / "ghost.py"}:Ghost"\ndiffers = "so"\n'
    one = make(text + ghost)
    assert run(one, 2) == ["ppo-ghost"]
    assert "it takes Discrete or Box actions, not MultiDiscrete" in capsys.readouterr().out
    assert list(read_results(one.folder / "results").units) == ["ppo-CartPole-v1"]
    with pytest.raises(
        Problem, match="it takes Discrete or Box actions, not MultiDiscrete"
    ):  # there is nothing else to do
        run(one, 2, "early")


def test_a_card_may_be_mended_and_lie_where_it_is_reproduced(make: Make, tmp_path: Path) -> None:
    """A first failure leaves no runs; editors write marks and line ends of their own."""
    broken = (
        CARD + '\n[environment.CartPole-v1]\npaper = "CartPole-v1"\nwrappers = ["TimeLimit(max_episode_steps=-3)"]\n'
    )
    with pytest.raises(Problem):
        run(make(broken), 1)
    assert run(make(), 1) == []
    own = tmp_path / "own"
    own.mkdir()
    (own / "card.toml").write_bytes(b"\xef\xbb\xbf" + whole(CARD).replace("\n", "\r\n").encode())
    card = load_card(str(own / "card.toml"))
    assert run(Reproduction(own, card, 1.0, ["x"], 1), 1) == []


def test_nothing_else_is_written_over(make: Make, tmp_path: Path) -> None:
    one = make()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "card.toml").write_text("mine = true\n")
    other = make(into="mine")
    with pytest.raises(Problem, match=r"mine/card\.toml is another, and would be written over: choose another"):
        run(other, 1)
    assert (mine / "card.toml").read_text() == "mine = true\n"
    assert run(one, 1) == []
    edited = CARD.replace('title = "Tiny"', 'title = "Tiny, by nobody"')
    assert run(make(edited), 1) == []  # a title may be mended
    another = edited.replace('authors = "Nobody"', 'authors = "Somebody"').replace("nobody", "somebody")
    same_authors = edited.replace('"https://example.org"', '"https://example.org/2"').replace("by nobody", "again")
    for card in (another, same_authors):
        with pytest.raises(Problem, match="out holds the reproduction of 'Tiny, by nobody': choose another --into"):
            run(make(card), 1)


def test_verdicts_of_a_tiny_run(make: Make) -> None:
    one = make()
    run(one, 12)
    results = read_results(one.folder / "results")
    judgement = judge(one.card, results)
    early, final = judgement.verdicts
    assert (early.word, final.word) == ("reproduced", "below")
    assert early.score is not None
    assert early.decision is not None
    assert early.decision.p_equivalence >= early.test.p_equivalence  # type: ignore[union-attr]
    assert "taken for" in final.qualified
    assert as_json(judgement) == as_json(judge(one.card, read_results(one.folder / "results")))
    with pytest.raises(Problem, match="claim early cannot be judged by this score"):
        judge_score(one.card.claims[0], Protocol("training", last=6), early.score)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda f: (f / "results.json").unlink(), "run the card first"),
        (lambda f: (f / "results.json").write_text("{"), "is damaged"),
        (lambda f: (f / "results.json").write_text("{}"), "not of this version"),
        (lambda f: (f / "results.json").write_text('{"format": 1, "scale": 1}'), "is damaged"),
        (lambda f: (f / "results.json").write_text('{"format": 1, "scale": NaN, "units": {}}'), "is damaged"),
        (lambda f: (f / "results.json").write_text('{"format": 1, "scale": 0, "units": {}}'), "is damaged"),
        (lambda f: (f / "ppo-CartPole-v1.csv.gz").write_bytes(b"x"), "its hash differs"),
        (lambda f: (f / "ppo-CartPole-v1.csv.gz").unlink(), "No such file"),
    ],
)
def test_damaged_results_are_named(make: Make, harm: Callable[[Path], object], why: str) -> None:
    one = make()
    run(one, 1)
    harm(one.folder / "results")
    with pytest.raises(Problem, match=why):
        read_results(one.folder / "results")
    if why == "run the card first":
        return
    with pytest.raises(Problem, match=r"results moved away, what .*/runs has is gathered again"):
        run(make(), 1)
    trained = started(one)
    (one.folder / "results").rename(one.folder / "away")
    assert run(make(), 1) == []
    assert started(one) == trained
    assert read_results(one.folder / "results").units["ppo-CartPole-v1"].seeds == (0,)


def test_claims_that_are_run_later_find_their_unit_evaluated_for_them(make: Make, command: Command) -> None:
    one = make()
    file = str(one.card.file)
    common = ("--seeds", "1", "--into", one.folder, "--processes", "1")
    assert command("reproduce", file, "--claims", "early", *common).status == 0
    began = started(one)
    assert command("reproduce", file, "--claims", "final", *common).status == 0
    assert started(one) == began


@pytest.mark.parametrize("killed_at", range(4))
def test_a_kill_while_results_are_written_costs_no_seed(
    make: Make, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """The runs may be gone by then: the results are the only copy. The fourth write is of the page, after all."""
    from rlrepro.papers.units import results

    one = make()
    run(one, 1)
    shutil.rmtree(one.folder / "runs")
    folder, writes = one.folder / "results", iter(range(100))

    class Killed(BaseException):
        pass

    def dying(write: Callable[..., object]) -> Callable[..., object]:
        def writes_or_dies(*args: object) -> object:
            if next(writes) == killed_at:
                raise Killed
            return write(*args)

        return writes_or_dies

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_whole", dying(results.write_whole))
        patch.setattr(Path, "replace", dying(Path.replace))
        with pytest.raises(Killed) if killed_at < 3 else contextlib.nullcontext():
            run(make(), 2)
    assert read_results(folder).units["ppo-CartPole-v1"].seeds == ((0,) if killed_at < 2 else (0, 1))
    assert run(make(), 2) == []
    assert read_results(folder).units["ppo-CartPole-v1"].seeds == (0, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["ppo-CartPole-v1.csv.gz", "results.json"]


def test_ctrl_c_before_a_unit_began_stops_the_command(
    make: Make, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """It is no fault of the unit, after which the next one would have its turn; nothing is kept of it."""
    from rlrepro.errors import Stop

    stop = Stop("interrupted before training began", 130, from_outside=True)
    one = make()
    for extra in ((), ("--plan",)):
        with monkeypatch.context() as patch:
            patch.setattr("rlrepro.worker.guarded", lambda job, send: stop)
            patch.setattr("rlrepro.papers.reproduce.plan.estimate", lambda *_: pytest.fail("it went on"))
            ended = command("reproduce", str(one.card.file), "--into", one.folder, "--seeds", "1", *extra)
        assert ended.status == 130
        assert "interrupted before training began" in ended.problem
    assert not (one.folder / "results").exists()


def test_what_had_finished_is_kept_where_the_rest_is_interrupted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can go on elsewhere, where no run folder is; and no verdict falls before the rest has run."""
    from rlrepro.errors import Interrupted

    one = make()
    run(one, 1)
    shutil.rmtree(one.folder / "results")

    def interrupted(*_: Any, **__: Any) -> None:
        raise Interrupted("interrupted at env step 7")

    with monkeypatch.context() as patch:
        patch.setattr(train, "begin", interrupted)
        with pytest.raises(Interrupted):
            run(make(), 3)
    unit = read_results(one.folder / "results").units["ppo-CartPole-v1"]
    assert (unit.seeds, unit.planned) == ((0,), (0, 1, 2))
    early = judge(one.card, read_results(one.folder / "results")).verdicts[0]
    assert (early.word, "2 of 3 seeds have not run yet" in early.why) == ("inconclusive", True)
    shutil.rmtree(one.folder / "runs")
    assert run(make(), 3) == []
    assert sorted(started(one)) == ["runs/ppo-CartPole-v1/seeds-1-to-2"]
    assert read_results(one.folder / "results").units["ppo-CartPole-v1"].seeds == (0, 1, 2)


def test_a_run_that_is_gathered_twice_is_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """First what had finished when it was interrupted, then the rest."""
    one = make()
    run(one, 2)
    folder = one.folder / "results"
    results = read_results(folder)
    unit = results.units["ppo-CartPole-v1"]
    early = dataclasses.replace(unit, histories=unit.histories[:1], runs=({**unit.runs[0], "seeds": [0]},))
    write_results(folder, dataclasses.replace(results, units={"ppo-CartPole-v1": early}))
    assert run(make(), 2) == []
    assert read_results(folder).units["ppo-CartPole-v1"].runs == unit.runs


def test_a_plan_only_grows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing had finished, and where fewer are asked for later."""
    from rlrepro.errors import Interrupted

    one = make()
    folder = one.folder / "results"

    def interrupted(request: Request, *_: Any, **__: Any) -> None:
        RunFolder.create(request.run_dir, request.name, request.settings, ["x"])
        raise Interrupted("interrupted before the first step")

    with monkeypatch.context() as patch:
        patch.setattr(train, "begin", interrupted)
        with pytest.raises(Interrupted):
            run(make(), 3)
    assert not folder.exists()
    run(make(), 1)
    unit = read_results(folder).units["ppo-CartPole-v1"]
    assert (unit.planned, unit.added) == ((0, 1, 2), ())
    shutil.rmtree(one.folder / "runs")
    results = read_results(folder)
    few = dataclasses.replace(unit, histories=unit.histories[:1], planned=(0, 1, 2, 7))
    write_results(folder, dataclasses.replace(results, units={"ppo-CartPole-v1": few}))
    assert run(make(), 2) == []
    assert read_results(folder).units["ppo-CartPole-v1"].planned == (0, 1, 2, 7)
    assert "2 of 4 seeds have not run yet" in judge(one.card, read_results(folder)).verdicts[0].why


@pytest.mark.parametrize("planned", [tuple(range(10)), ()], ids=["planned", "older than the record"])
@pytest.mark.parametrize("finished", [10, 9])
def test_what_is_asked_for_when_a_verdict_can_be_seen_is_told(
    finished: int, planned: tuple[int, ...], make: Make
) -> None:
    """Seeds that stopped before their end are none of those that it takes."""
    one = make()
    run(one, 1)
    folder = one.folder / "results"
    results = read_results(folder)
    unit = results.units["ppo-CartPole-v1"]
    many = [dataclasses.replace(unit.histories[0], seed=seed, stopped="a" * (seed >= finished)) for seed in range(10)]
    ten = dataclasses.replace(unit, histories=tuple(many), planned=planned)
    write_results(folder, dataclasses.replace(results, units={"ppo-CartPole-v1": ten}))
    assert one.run(units_of(one.card, *choose(one.card, [])), (10,)) == []
    after = read_results(folder).units["ppo-CartPole-v1"]
    assert (after.planned, after.added) == (tuple(range(11)), (10,) if finished == 10 else ())
    (asked,) = units_of(one.card, *choose(one.card, []))
    RunFolder.create(one.folder / "runs" / asked.name, "seeds-11", settings_of(one.card, asked, (11,)), ["x"])
    assert one._plan(asked, after, (0,)) == (tuple(range(12)), (*after.added, 11))  # of one that was killed
    told = "1 seed came after others were judged"
    assert (told in judge(one.card, read_results(folder)).verdicts[0].why) is (finished == 10)


def test_seeds_that_had_finished_before_another_crashed_are_not_trained_again(make: Make) -> None:
    one = make()
    run(one, 2)
    runs = one.folder / "runs" / "ppo-CartPole-v1"
    (runs / "seeds-0-to-1").rename(runs / "failed-1-0-to-1")
    shutil.rmtree(one.folder / "results")
    began = started(one)
    assert run(make(), 2) == []
    assert started(one) == began


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_seed_whose_record_is_lost_begins_anew(make: Make, capsys: pytest.CaptureFixture[str], is_gone: bool) -> None:
    one = make()
    run(one, 2)
    kept = (one.folder / "results" / "ppo-CartPole-v1.csv.gz").read_bytes()
    folder = one.folder / "runs/ppo-CartPole-v1/seeds-0-to-1/seeds/1"
    if is_gone:
        shutil.rmtree(folder)
    else:
        rows = (folder / "episodes.csv").read_text().splitlines(keepends=True)
        (folder / "episodes.csv").write_text("".join(rows[:-2]))
    shutil.rmtree(one.folder / "results")
    assert run(make(), 2) == []
    assert sorted(started(one)) == ["runs/ppo-CartPole-v1/failed-1-0-to-1", "runs/ppo-CartPole-v1/seeds-1"]
    assert (one.folder / "results" / "ppo-CartPole-v1.csv.gz").read_bytes() == kept
    assert "seed 1 begins anew: its" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("into", ["file", "file/below", "/proc/nothing"])
def test_a_folder_that_cannot_be_made_is_one_line(make: Make, tmp_path: Path, command: Command, into: str) -> None:
    (tmp_path / "file").write_text("")
    problem = command("reproduce", str(make().card.file), "--seeds", "1", "--into", tmp_path / into).problem
    assert "could not be made" in problem


def test_two_at_once_in_one_folder_are_refused(make: Make) -> None:
    from rlrepro.record import RunFolder

    one = make()
    one.folder.mkdir()
    other = RunFolder(one.folder)
    other.lock()
    with pytest.raises(Problem, match="another process is writing"):
        run(one, 1)
    other.unlock()


def killed_by(signal: str) -> Callable[..., None]:
    """`train.begin` or `resume.resume` of a process that a signal ends as soon as the run folder is there."""
    from rlrepro.errors import RunStopped
    from rlrepro.record import RunFolder

    def dies(place: object, command: Sequence[str] = (), **_: object) -> None:
        if not isinstance(place, Path):
            RunFolder.create(place.run_dir, place.name, place.settings, command)  # type: ignore[attr-defined]
        problem = RunStopped(f"the process of seeds 0, 1 was killed ({signal}); go on with: it")
        problem.from_outside = signal != "SIGSEGV"
        raise problem

    return dies


@pytest.mark.parametrize(("env_processes", "processes"), [(1, 3), (2, None)])
def test_processes_hold_for_runs_that_are_resumed_and_leave_none_to_environments(
    env_processes: int, processes: int | None, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlrepro.record import RunFolder

    met: list[object] = []
    begin = killed_by("SIGKILL")

    def noted(request: Request, *rest: object, **named: object) -> None:
        met.append((request.settings.processes, request.settings.env_processes))
        begin(request, *rest, **named)

    asked = settings_of

    def with_environments(*given: Any) -> Settings:
        return dataclasses.replace(asked(*given), env_processes=2)  # as an agent's preset may have it

    monkeypatch.setattr("rlrepro.train.begin", noted)
    monkeypatch.setattr("rlrepro.papers.reproduce.reproduction.settings_of", with_environments)
    one = dataclasses.replace(make(), processes=3)
    assert run(one, 5) == ["ppo-CartPole-v1"]
    path = one.folder / "runs" / "ppo-CartPole-v1" / "seeds-0-to-4"
    folder, settings = RunFolder.open(path)
    folder.write_settings(dataclasses.replace(settings, env_processes=env_processes))

    def resumed(place: Path, *rest: object, processes: int | None, **named: object) -> None:
        met.append(processes)
        killed_by("SIGTERM")(place)

    monkeypatch.setattr("rlrepro.resume.resume", resumed)
    assert run(one, 5) == ["ppo-CartPole-v1"]
    assert met == [(3, 1), processes]


def test_a_run_that_is_killed_twice_goes_on_and_begins_no_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("rlrepro.train.begin", killed_by("SIGKILL, out of memory?"))
        patch.setattr("rlrepro.resume.resume", killed_by("SIGTERM"))
        for _ in range(3):
            assert run(make(), 2) == ["ppo-CartPole-v1"]
    assert run(make(), 2) == []
    assert list(started(make())) == ["runs/ppo-CartPole-v1/seeds-0-to-1"]


def test_a_process_that_dies_before_it_began_leaves_its_seeds_to_the_next_command(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill says nothing of the agent; of any other death each seed is tried alone."""
    from rlrepro.errors import Stop

    def dead(self: Any, stop: Stop) -> None:
        self.board.handle(0, "ended", {"stop": stop})

    killed = Stop("the process of seeds 0, 1 was killed (SIGKILL, out of memory?)", 1, from_outside=True)
    crashed = Stop("the process of seeds 0, 1 ended without a word (exit code 1)", 1)
    for death, times_told in ((killed, 1), (crashed, 2)):
        with monkeypatch.context() as patch:
            patch.setattr("rlrepro.worker.guarded", lambda job, send, death=death: death)
            patch.setattr("rlrepro.processes.Processes.run", functools.partialmethod(dead, death))  # a seed tried alone
            assert run(make(), 2) == ["ppo-CartPole-v1"]
        assert capsys.readouterr().out.count("the process of seeds 0, 1") == times_told
        assert not started(make())
    assert run(make(), 2) == []
    assert list(started(make())) == ["runs/ppo-CartPole-v1/seeds-0-to-1"]


def test_an_engine_that_crashes_is_tried_seed_by_seed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSEGV is a fault of what runs, not of the machine."""
    from rlrepro import train

    real, together = train.begin, killed_by("SIGSEGV")

    def begin(request: Request, *rest: object, **named: object) -> None:
        if 1 in request.settings.seeds:
            together(request, *rest, **named)
        real(request, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("rlrepro.train.begin", begin)
    assert run(make(), 3) == ["ppo-CartPole-v1"]
    results = read_results(make().folder / "results").units["ppo-CartPole-v1"]
    assert [h.seed for h in results.histories if not h.stopped] == [0, 2]
