"""What the record of a run keeps where seeds, environments, films or disks do not do as they should."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlrepro import loop, recorder, worker
from rlrepro.agent import Setup
from rlrepro.errors import EvaluationFailed, Problem, RunStopped
from rlrepro.progress import Board
from rlrepro.record import RunFolder
from rlrepro.seed_log import metric_points, read_rows
from rlrepro.settings import Job, Settings
from tests.conftest import BRIEF, Command, Runs
from tests.test_run import curves

# Its seed s learns in every (s + 1)-th update, and in no other has a loss.
AGENT = """
import dataclasses
from types import SimpleNamespace
import numpy as np
import torch
from rlrepro.agent import hyper

class Rarely:
    @dataclasses.dataclass(frozen=True)
    class Config:
        NAME: int = hyper(0, "from env step 60 on nothing is finite of seeds below it", "ours")

    def __init__(self, setup, config):
        self.setup, self.spoilt = setup, config.NAME
        self.weight = torch.zeros(setup.num_seeds)
        self.memory = SimpleNamespace(
            add=lambda transition: None, ready=lambda step: iter([None]), cut=lambda: None,
            get_state=dict, set_state=lambda state: None,
        )

    def act(self, obs, step):
        return np.zeros(obs.shape[:2], int), {}

    def predict(self, obs, streams, deterministic):
        return np.full(obs.shape[:2], int(deterministic))

    def update(self, batch, step):
        seeds = torch.tensor(self.setup.seeds)
        ready = step // self.setup.num_envs % (seeds + 1) == 0
        if step >= 60:
            self.weight[seeds < self.spoilt] = torch.nan
        loss = torch.full_like(self.weight, float(step)) + self.weight
        rate = torch.full_like(self.weight, 0.1)
        return {"losses/loss": loss.where(ready, torch.nan), "charts/learning_rate": rate}

    def get_policy(self):
        return {"weight": self.weight[:, None]}

    def set_policy(self, policy):
        if "weight" not in policy:
            raise TypeError("a weight\\nis missing")
        if policy["weight"].shape[1:] != (1,):
            raise ValueError("another shape")

    def get_state(self):
        return {"weight": self.weight}

    def set_state(self, state):
        self.weight[:] = torch.as_tensor(state["weight"])
"""
# As `how` says. Every step of an episode pays the action; it never ends by itself.
ENV = """
import os
import signal
import time
import gymnasium as gym
import numpy as np

class Odd(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def __init__(self, render_mode=None, how="", length=20):
        self.render_mode, self.how, self.length = render_mode, how, length
        if how == "print":
            print("the simulator is here")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        Odd.steps += 1
        if self.how in ("interrupt", "terminate") and Odd.steps == 250:
            for _ in range(2):
                if self.how == "interrupt":
                    os.kill(os.getpid(), signal.SIGINT)
                else:
                    os.kill(PARENT, signal.SIGTERM)
                time.sleep(1)
        return np.zeros(1, np.float32), float(action), False, self.render_mode is None and self.count >= self.length, {}

    def render(self):
        return np.zeros((16, 16, 3), np.uint8)

    def close(self):
        if self.how == "close":
            raise RuntimeError("it does not close")
"""


@pytest.fixture
def flags(tmp_path: Path, site: object) -> Callable[..., list[str]]:
    """The flags of that agent and that environment."""
    (tmp_path / "rarely.py").write_text(AGENT.replace("NAME", "spoilt"), encoding="utf-8")
    (tmp_path / "odd.py").write_text(ENV.replace("PARENT", str(os.getpid())), encoding="utf-8")

    def given(**kwargs: Any) -> list[str]:
        env = ["--env", f"{tmp_path / 'odd.py'}:Odd", "--env-kwargs", json.dumps(kwargs)]
        return [*env, "--agent", f"{tmp_path / 'rarely.py'}:Rarely", "--num-envs", "2"]

    return given


def status(run: Path) -> str:
    return RunFolder(run).read_json("run.json")["status"]


# --- metrics


def test_a_seed_that_took_no_part_keeps_its_metrics_whoever_did(flags: Callable[..., list[str]], runs: Runs) -> None:
    brief = ["--log-every", "18", "--total-timesteps", "600", "--checkpoint-every", "70"]
    among = runs.finish("among", *flags(), *brief, "--seeds", "3")
    for seed in (1, 2):
        alone = runs.finish(f"alone-{seed}", *flags(), *brief, "--seed", str(seed))
        assert curves(among / f"seeds/{seed}") == curves(alone / f"seeds/{seed}")
        rows = [row for row in read_rows(among / f"seeds/{seed}/metrics.csv") if row["metric"] == "losses/loss"]
        assert len(rows) == 600 // 18
        for row in rows:  # the last update of its own
            last = int(row["env_step"]) - 2
            assert int(row["value"]) == max(s for s in range(0, last + 1, 2) if s // 2 % (seed + 1) == 0)
    resumed = runs.finish("resumed", *flags(), *brief, "--checkpoint-every", "574", "--seeds", "3")
    for seed in range(3):  # only seed 0 has an update between there and the next point, at 576
        (RunFolder(resumed).checkpoints(seed) / "step-000000000600.safetensors").unlink()
    RunFolder(resumed).note(status="interrupted")
    assert runs.resume("resumed").status == 0
    for seed in range(3):
        assert curves(resumed / f"seeds/{seed}") == curves(among / f"seeds/{seed}")


def test_every_seed_that_diverged_is_told_once_and_has_no_loss(flags: Callable[..., list[str]], runs: Runs) -> None:
    outcome = runs.begin("r", *flags(), "--log-every", "10", "--seeds", "3", "--spoilt", "2")
    assert outcome.status == 0
    told = [line for line in outcome.out.splitlines() if "it diverged" in line]
    assert [line.split(" are ")[0] for line in told] == [
        "note: the losses of seed 0",
        "note: the losses of seed 1",
    ]
    for seed in (0, 1):
        rows = list(read_rows(runs.folder / f"r/seeds/{seed}/metrics.csv"))
        assert max(int(row["env_step"]) for row in rows if row["metric"] == "losses/loss") <= 60


def test_a_critic_that_diverged_is_told_though_the_actor_stands_still(runs: Runs) -> None:
    brief = ("--agent", "trpo", "--num-steps", "64", "--total-timesteps", "1000", "--log-every", "500", "--seeds", "2")
    outcome = runs.begin("wild", *brief, "--value-learning-rate", "1e20")
    assert outcome.out.count("it diverged") == 2, outcome.out
    note = "2 seeds diverged (0, 1): their networks hold NaN or infinity, and were scored as they play"
    assert f"note: {note}\n" in outcome.out
    wild, calm = runs.folder / "wild", runs.folder / "calm"
    of_calm = runs.begin("calm", *brief).out
    assert "it diverged" not in of_calm
    assert " diverged (" not in of_calm
    for run, text in ((wild, f"{wild}: {note}"), (calm, "")):
        assert all(
            one.get("diverged", False) is bool(text) for one in RunFolder(run).read_json("run.json")["results"].values()
        )
        evaluated = runs.command("evaluate", run, "--episodes", "2")
        for told, line in ((evaluated.err, f"warning: {text}"), (runs.command("score", run).out, f"note: {text}.")):
            assert (line in told.splitlines()) is bool(text)
            assert (" diverged (" in told) is bool(text)
    compared = runs.command("compare", wild, calm, "--returns", "training", "--last", "5")
    assert f"note: {wild}: {note}." in compared.out.splitlines()


def test_curves_and_results_are_means_of_the_last_hundred_episodes_and_of_those_since_the_last_point(
    runs: Runs,
) -> None:
    """Of a run made longer too, which goes on with the episodes of its checkpoint."""
    run = runs.finish("r", "--agent", "random", "--num-envs", "3", "--log-every", "500", "--total-timesteps", "1500")
    assert runs.command("train", "--resume", run, "--total-timesteps", "3300").status == 0
    results = RunFolder(run).read_json("run.json")["results"]
    for seed in range(2):
        rows = list(read_rows(run / f"seeds/{seed}/episodes.csv"))
        episodes = [(int(r["env_step"]), float(r["episode_return"]), float(r["episode_length"])) for r in rows]
        found = [(s, v) for s, of, _, v in metric_points(RunFolder(run), [seed]) if "rollout/ep_rew_mean" in v]
        assert [step for step, _ in found] == [501, 1002, 1500, 2001, 2502, 3000]
        before = 0
        for step, values in found:
            so_far = [e for e in episodes if e[0] <= step]
            for tag, some in (("rollout/ep_{}_mean", so_far[-100:]), ("charts/episodic_{}", [])):
                some = some or [e for e in so_far if e[0] > before]
                names = ("rew", "len") if tag.startswith("rollout") else ("return", "length")
                for column, name in enumerate(names, 1):
                    expected = sum(e[column] for e in some) / len(some)
                    assert values[tag.format(name)] == pytest.approx(expected)
            before = step
        assert len(so_far) > 120
        result, scores = results[str(seed)], list(read_rows(run / f"seeds/{seed}/evaluations.csv"))
        assert result["episodes"] == len(episodes)
        assert result["training_return"] == pytest.approx(sum(e[1] for e in episodes[-100:]) / 100)
        one, two = (float(row["episode_return"]) for row in scores)
        assert result["eval_return"] == (one + two) / 2
        assert result["eval_std"] == pytest.approx(abs(one - two) / 2**0.5)
        assert result["eval_length"] == sum(float(row["episode_length"]) for row in scores) / 2
        assert one != two


def test_the_pace_is_that_of_training_since_the_last_point_without_evaluations(
    flags: Callable[..., list[str]], runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Settings = RunFolder.open(runs.finish("r", *flags(), "--seed", "0", "--log-every", "100"))[1]
    now = [0.0]
    monkeypatch.setattr(recorder, "time", SimpleNamespace(perf_counter=lambda: now[0], time=lambda: 0.0))

    def takes_long(*_: Any) -> loop.Evaluation:
        now[0] += 1000
        return loop.Evaluation(np.zeros((1, 2)), np.zeros((1, 2), int))

    monkeypatch.setattr(loop, "evaluate", takes_long)
    told: list[dict[str, Any]] = []
    (tmp_path / "clocked/seeds/0").mkdir(parents=True)
    policy, source = SimpleNamespace(get_policy=dict), SimpleNamespace(batch=lambda num: None)
    journal = recorder.Journal(
        Job(dataclasses.replace(settings, total_timesteps=1000), tmp_path / "clocked", (0,)),
        policy,  # type: ignore[arg-type]
        source,  # type: ignore[arg-type]
        lambda kind, **values: told.append(values),
    )
    now[0] = 4.0
    journal.tick(100)
    journal.evaluate(100, 2)
    now[0] += 8.0
    journal.tick(200)
    journal.close()
    paces = [point["values"][0]["charts/SPS"] for point in told if "charts/SPS" in point.get("values", {}).get(0, {})]
    assert paces == [25.0, 12.5]


def test_the_pace_after_a_resume_counts_from_its_step(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still, which counts for a billionth of a second."""
    monkeypatch.setattr(recorder, "time", SimpleNamespace(perf_counter=lambda: 7.0, time=lambda: 0.0))
    run = runs.finish("r", "--agent", "random", "--num-envs", "1", "--log-every", "50", "--total-timesteps", "120")
    assert runs.command("train", "--resume", run, "--total-timesteps", "200").status == 0
    points = [(step, v["charts/SPS"]) for step, *_, v in metric_points(RunFolder(run), [1]) if "charts/SPS" in v]
    steps = {50: 50, 100: 50, 150: 30, 200: 50}
    assert points == [(step, pytest.approx(count * 1e9)) for step, count in steps.items()]


def test_the_last_two_checkpoints_of_each_seed_are_kept(flags: Callable[..., list[str]], runs: Runs) -> None:
    run = runs.finish("r", *flags(), "--checkpoint-every", "30")
    for seed in range(2):
        kept = sorted(path.name for path in RunFolder(run).checkpoints(seed).iterdir())
        assert kept == ["step-000000000090.safetensors", "step-000000000120.safetensors"]


def test_an_evaluation_that_fails_after_a_resume_says_what_was_saved_before_it(
    flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *flags(), "--seed", "0", "--checkpoint-every", "90", "--eval-every", "100")
    (RunFolder(run).checkpoints(0) / "step-000000000120.safetensors").unlink()
    RunFolder(run).note(status="interrupted")

    def fails(*given: Any) -> loop.Evaluation:
        raise EvaluationFailed("no room")

    monkeypatch.setattr(loop, "evaluate", fails)
    assert "no room; everything up to env step 90 is saved, and a resume evaluates again" in runs.resume("r").problem


MEMORY = ("--learning-starts", "100", "--train-every", "10", "--buffer-size", "300", "--batch-size", "8")


@pytest.mark.parametrize(
    ("agent", "flags", "told"),
    [
        ("dqn", (*MEMORY, "--prioritised", "--beta", "0.2", "--epsilon-start", "0.9"), {"exploration_rate", "beta"}),
        ("rainbow", (*MEMORY, "--beta", "0.2"), {"beta"}),
        ("pqn", ("--num-steps", "10", "--num-minibatches", "1", "--epsilon-start", "0.9"), {"exploration_rate"}),
    ],
)
def test_the_curves_tell_what_the_schedules_have_set(
    agent: str, flags: tuple[str, ...], told: set[str], runs: Runs
) -> None:
    """By the step at which the last action was chosen; ε is 0.05 after half of the run, unless told otherwise."""
    brief = ("--num-envs", "1", "--hidden", "8", "--log-every", "50", "--total-timesteps", "400")
    run = runs.finish("one", "--agent", agent, *flags, *brief)
    expected = {
        "exploration_rate": lambda step: max(0.9 - 0.85 * step / 200, 0.05),
        "beta": lambda step: 0.2 + 0.8 * step / 400,
    }
    points = [
        (step, v) for step, seed, _, v in metric_points(RunFolder(run), [0, 1]) if seed and "losses/q_values" in v
    ]
    assert len(points) >= 6
    for tag, value in expected.items():
        curve = [(step, values[f"charts/{tag}"]) for step, values in points if f"charts/{tag}" in values]
        assert curve == ([(step, pytest.approx(value(step - 1))) for step, _ in points] if tag in told else [])


def test_seeds_that_learnt_nothing_are_told(flags: Callable[..., list[str]], runs: Runs) -> None:
    def told(name: str, *more: str) -> list[str]:
        outcome = runs.begin(name, *more)
        assert outcome.status == 0
        return [line for line in outcome.out.splitlines() if "nothing was learnt" in line]

    # Of the updates at steps 0 and 2 every seed takes part in the first; none in one of a batch that is never whole.
    assert told("first", *flags(), "--total-timesteps", "4", "--seeds", "3") == []
    reinforce = ("--agent", "reinforce", "--num-envs", "1", "--seeds", "4")
    (some,) = told("some", *reinforce, "--total-timesteps", "24")
    ended = [bool(list(read_rows(runs.folder / f"some/seeds/{seed}/episodes.csv"))) for seed in range(4)]
    assert (
        some == f"note: nothing was learnt by seeds {', '.join(str(s) for s in range(4) if not ended[s])}: no update "
        "in 24 env steps (its first batch was never whole)"
    )
    assert told("dqn", "--agent", "dqn", "--seeds", "2") == [
        "note: nothing was learnt by seeds 0, 1: no update in 120 env steps (learning_starts is 10,000)"
    ]
    outcome = runs.begin("ppo", "--agent", "ppo", "--num-steps", "100", "--num-envs", "2", "--seeds", "2")
    assert "note: nothing was learnt by seeds 0, 1: no update in 120 env steps (a batch takes 200)" in outcome.out
    # what is known before is told before
    assert outcome.out.index("note: nothing will be learnt in 120 env steps: a batch takes 200") < outcome.out.index(
        "nothing was"
    )
    # a run ends with a whole step of all its sub-environments
    rounded = ("--total-timesteps", "100", "--num-envs", "8", "--num-steps", "13", "--num-minibatches", "2")
    assert "nothing will be learnt in" not in runs.begin("rounded", *rounded).out
    assert "nothing will be learnt in" not in runs.begin("whole", "--num-steps", "60", "--num-envs", "2").out
    assert told("learns", "--agent", "dqn", "--learning-starts", "60") == []
    RunFolder(runs.folder / "learns").note(status="interrupted")
    assert "nothing was learnt" not in runs.resume("learns").out, "before the resume it was"
    late = "no update in 120 env steps (learning_starts is 120)"
    assert told("late", "--agent", "dqn", "--learning-starts", "120", "--seed", "0") == [
        f"note: nothing was learnt by seed 0: {late}"
    ]
    assert told("random", "--agent", "random") == []


@pytest.mark.parametrize("memory", [(), ("--num-steps", "3", "--prioritised")])
@pytest.mark.parametrize(("starts", "every", "due"), [(0, 121, 121), (59, 60, 60), (60, 60, 120), (90, 80, 160)])
def test_a_run_that_ends_before_its_first_learning_phase_says_so(
    starts: int, every: int, due: int, memory: tuple[str, ...], runs: Runs
) -> None:
    flags = "--learning-starts", str(starts), "--train-every", str(every), *memory
    outcome = runs.begin("r", "--agent", "dqn", "--seed", "0", *flags)
    assert outcome.status == 0
    why = f"train_every is {every}, and the first update is due at env step {due}"
    assert (f"note: nothing will be learnt in 120 env steps: {why}" in outcome.out) == (due > 120)
    assert (f"note: nothing was learnt by seed 0: no update in 120 env steps ({why})" in outcome.out) == (due > 120)
    assert ("nothing was learnt" in outcome.out) == (due > 120)


# --- films


def test_what_cannot_be_filmed_is_refused_and_says_why(
    flags: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    text = ENV.replace("self, render_mode=None, how", "self, how").replace("self.render_mode, self.how", "self.how")
    (tmp_path / "blind.py").write_text(text.replace("= render_mode, how, length", "= how, length"), encoding="utf-8")
    text = ENV.replace("= render_mode, how", "= 'human', how").replace("self.render_mode is None and ", "")
    (tmp_path / "human.py").write_text(text, encoding="utf-8")
    agent = flags()[4:]
    for name, why in (
        ("blind", "render_mode='rgb_array' makes it fail (TypeError: Odd.__init__() got an unexpected keyword"),
        ("human", "made with render_mode='rgb_array', its own is 'human'"),
    ):
        env = ("--env", f"{tmp_path / name}.py:Odd")
        assert why in runs.begin("film", *env, *agent, "--capture-video").problem
        run = runs.finish(name, *env, *agent)
        assert why in runs.command("evaluate", run, "--capture-video").problem
    odd = ("--env", f"{tmp_path / 'blind.py'}:Odd", *agent, "--env-kwargs", '{"x": 1}')
    assert "takes no argument 'x'" in runs.begin("film", *odd, "--capture-video", "--no-check-env").problem
    assert runs.left() == ["blind", "human"]


def test_a_film_without_an_end_is_cut(
    flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LONGEST_FILM", 40)
    run = runs.finish("r", *flags(), "--capture-video", "--seed", "0")
    assert [film.name for film in (run / "videos").iterdir()] == ["seed-0-step-120-episode-0.mp4"]


@pytest.mark.parametrize("flag", ["--eval-deterministic", "--no-eval-deterministic"])
def test_a_film_shows_the_policy_that_is_evaluated(
    flag: str, flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed: list[float] = []
    monkeypatch.setattr(recorder, "LONGEST_FILM", 5)
    import gymnasium

    step = gymnasium.wrappers.RecordVideo.step

    def noted(self: Any, action: Any) -> Any:
        filmed.append(int(action))
        return step(self, action)

    monkeypatch.setattr(gymnasium.wrappers.RecordVideo, "step", noted)
    run = runs.finish("r", *flags(), "--capture-video", "--seed", "0", flag)
    assert filmed == [int(flag == "--eval-deterministic")] * 4
    filmed.clear()
    assert runs.command("evaluate", run, "--episodes", "1", "--capture-video", "--stochastic").status == 0
    assert filmed == [0] * 4


@pytest.mark.parametrize(
    ("render", "why"),
    [("return None", "renders no frames"), ("raise SystemExit('bye')", "SystemExit: bye")],
)
def test_an_environment_that_gives_no_film_costs_no_run_and_no_evaluation(
    render: str, why: str, flags: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "unseen.py").write_text(f"{ENV}\n\nclass Unseen(Odd):\n    def render(self):\n        {render}\n")
    brief = ["--env", f"{tmp_path / 'unseen.py'}:Unseen", *flags()[4:], "--seed", "0", "--capture-video"]
    outcome = runs.begin("r", *brief)
    assert (outcome.status, status(runs.folder / "r")) == (0, "finished"), outcome.err
    assert why in outcome.out
    outcome = runs.command("evaluate", runs.folder / "r", "--episodes", "2", "--capture-video")
    assert outcome.status == 0
    assert why in outcome.err
    assert "videos are in" not in outcome.out


def test_films_of_other_policies_have_other_names(flags: Callable[..., list[str]], runs: Runs) -> None:
    run = runs.finish("r", *flags(), "--seed", "0")
    for kind in ("--stochastic", "--episodes"):
        assert (
            runs.command(
                "evaluate", run, *([kind] if kind == "--stochastic" else [kind, "2"]), "--capture-video"
            ).status
            == 0
        )
    names = sorted(film.name for film in (run / "videos").glob("*.mp4"))
    assert [re.sub(r"-[0-9a-f]{8}-", "-X-", name) for name in names] == [
        f"seed-0-evaluation-X-{kind}-episode-0.mp4" for kind in ("deterministic", "stochastic")
    ]


def test_ctrl_c_stops_a_film(flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    step, count = gymnasium.wrappers.RecordVideo.step, 0

    def interrupts(self: Any, action: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
        assert count < 6
        return step(self, action)

    brief = [*flags(), "--seed", "0", "--capture-video", "--eval-every", "40", "--eval-episodes", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(gymnasium.wrappers.RecordVideo, "step", interrupts)
        outcome = runs.begin("r", *brief)
    assert (outcome.status, status(runs.folder / "r")) == (130, "interrupted")
    assert outcome.problem.startswith("stopped at env step 40; go on with: ")
    assert "no video: the run stops" in outcome.out


def test_a_film_that_fails_costs_no_evaluation(
    flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *flags(), "--seeds", "2")

    def fails(*arguments: Any) -> None:
        raise RuntimeError("no codec")

    monkeypatch.setattr(recorder, "film", fails)
    outcome = runs.command("evaluate", run, "--episodes", "3", "--capture-video")
    assert outcome.status == 0
    assert outcome.err.splitlines() == [f"warning: no video of seed {seed}: RuntimeError: no codec" for seed in (0, 1)]
    (file,) = run.glob("evaluation-*-deterministic-3-0.json")
    about = json.loads(file.read_text())
    assert about["episode_returns"] == {"0": [20.0] * 3, "1": [20.0] * 3}
    policies = {seed: hashlib.sha256((run / f"seeds/{seed}/policy.safetensors").read_bytes()) for seed in "01"}
    assert about["policies"] == {seed: digest.hexdigest() for seed, digest in policies.items()}


def test_films_that_cannot_be_made_are_refused_before_the_evaluation(
    flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *flags(), "--seed", "0")
    monkeypatch.setitem(sys.modules, "moviepy", None)
    assert "rlrepro[video]" in runs.command("evaluate", run, "--capture-video").problem


# --- what ends badly


def test_an_environment_that_does_not_close_costs_nothing(flags: Callable[..., list[str]], runs: Runs) -> None:
    run = runs.finish("r", *flags(how="close"), "--seeds", "2")
    assert status(run) == "finished"
    assert runs.command("evaluate", run, "--episodes", "2").status == 0


@pytest.mark.parametrize(("how", "processes"), [("interrupt", "1"), ("terminate", "2")])
def test_asked_twice_a_run_stops_at_once_and_says_how_to_go_on(
    how: str, processes: str, flags: Callable[..., list[str]], runs: Runs
) -> None:
    brief = ["--seeds", "2", "--total-timesteps", "600", "--checkpoint-every", "40", "--processes", processes]
    outcome = runs.begin("r", *flags(how=how), *brief)
    run = runs.folder / "r"
    assert outcome.status == 130
    assert outcome.problem == (
        f"stopped at once, with what was saved before; go on with: python -m rlrepro.train --resume {run}"
    )
    assert status(run) == "interrupted"
    if how == "interrupt":
        assert runs.resume("r").status == 0  # it has had its 250th step


@pytest.mark.parametrize(
    "before", [{"status": "interrupted", "reason": "stopped at env step 100"}, {"status": "failed"}]
)
def test_a_resume_that_never_begins_leaves_the_run_as_it_was(
    before: dict[str, str], flags: Callable[..., list[str]], runs: Runs
) -> None:
    run = runs.finish("r", *flags(), "--seed", "0")
    folder = RunFolder(run)
    folder.note(**before)
    for path in folder.checkpoints(0).iterdir():  # they name the settings
        path.unlink()
    (run / "settings.json").write_text((run / "settings.json").read_text().replace('"cpu"', '"cuda:77"'))
    held = folder.read_json("run.json")
    assert "cuda:77" in runs.resume("r").problem
    assert folder.read_json("run.json") == held


SAC = ("--agent", "sac", "--env", "Pendulum-v1", "--learning-starts", "64", "--train-every", "4", "--batch-size", "33",
       "--hidden", "16")  # fmt: skip


def test_a_finished_run_that_could_not_be_made_longer_stays_as_it_was(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *SAC, "--seeds", "2")
    longer = ("train", "--resume", run, "--total-timesteps")
    said = runs.resume("r").problem
    assert "is finished: there is nothing to resume (" in said
    assert "--total-timesteps N makes it longer, unless its agent asked how long it would be; rlrepro" in said
    steps = RunFolder.open(run)[1].total_timesteps
    assert "there is nothing to resume" in runs.command(*longer, str(steps)).problem
    assert f"--total-timesteps 7 is less than the {steps:,} that {run} has" in runs.command(*longer, "7").problem
    assert "leave out --seeds" in runs.command(*longer, str(2 * steps), "--seeds", "3").problem
    held = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}

    def broken(*arguments: object) -> None:
        raise Problem("nothing begins today")

    monkeypatch.setattr("rlrepro.worker.prepare", broken)
    assert "nothing begins today" in runs.command(*longer, str(2 * steps)).problem
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"} == held


@pytest.mark.parametrize("longer", [False, True])
def test_ctrl_c_after_training_began_leaves_what_goes_on(
    longer: bool, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the process that shows how it goes, when those that train have done their part."""
    whole, run = (runs.finish(name, *SAC, "--seeds", "2", "--total-timesteps", "400") for name in ("whole", "r"))
    further = ("--total-timesteps", "700") if longer else ()
    if longer:
        assert runs.command("train", "--resume", whole, *further).status == 0
    else:
        RunFolder(run).note(status="interrupted")
    leave = Board.__exit__

    def interrupted(board: Board, *arguments: Any) -> None:
        leave(board, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Board, "__exit__", interrupted)
    outcome = runs.command("train", "--resume", run, *further)
    assert "interrupted; go on with: " in outcome.problem
    assert RunFolder(run).read_json("run.json")["status"] == "interrupted"
    monkeypatch.undo()
    assert runs.resume("r").status == 0
    assert [path.parent.parent.name for path in run.rglob("*tfevents*")] == ["tensorboard"] * 3
    for name in ("episodes.csv", "evaluations.csv", "policy.safetensors"):
        for seed in range(2):
            assert (run / "seeds" / str(seed) / name).read_bytes() == (whole / "seeds" / str(seed) / name).read_bytes()


def test_an_unfinished_run_made_longer_has_no_policy_of_its_old_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *SAC, "--seed", "0")

    def stopped(*arguments: object) -> None:
        raise RunStopped("the power went")

    monkeypatch.setattr("rlrepro.loop.train", stopped)
    monkeypatch.setattr("rlrepro.recorder.Recorder.save_policy", lambda recorder: None)
    assert "the power went" in runs.command("train", "--resume", run, "--total-timesteps", "5000").problem
    assert "has no policy" in runs.command("evaluate", run).problem


def test_a_length_that_was_asked_for_long_ago_or_of_a_copy_counts(runs: Runs, tmp_path: Path) -> None:
    setup = Setup(None, None, (0,), 1, 100)  # type: ignore[arg-type]
    for other in (copy.copy(setup), copy.deepcopy(setup), pickle.loads(pickle.dumps(setup))):
        assert (other.total_timesteps, other.reads_length) == (100, True)
    assert setup.reads_length, "a copy can be asked out of sight"
    once = (
        "from rlrepro.agents.sac import SAC\n\nclass Once(SAC):\n    def act(self, obs, step):\n"
        "        if step == 0:\n            self.setup.total_timesteps\n        return super().act(obs, step)\n"
    )
    (tmp_path / "once.py").write_text(once)
    agent = f"{tmp_path / 'once.py'}:Once"
    run = runs.finish("r", *SAC, "--agent", agent, "--seed", "0",
                      "--total-timesteps", "300", "--checkpoint-every", "100")  # fmt: skip
    sorted(RunFolder(run).checkpoints(0).iterdir())[-1].unlink()
    RunFolder(run).note(status="interrupted")
    assert runs.resume("r").status == 0
    problem = runs.command("train", "--resume", run, "--total-timesteps", "600").problem
    assert "has asked how long its run would be" in problem


def test_a_run_folder_of_somebody_else_is_one_line(
    flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.finish("r", *flags(), "--seed", "0")
    RunFolder(run).note(status="running")
    (run / ".lock").unlink()
    (run / ".lock").mkdir()  # which root cannot write to either
    assert f"{run} cannot be written to (Is a directory: " in runs.resume("r").problem


@pytest.mark.parametrize("name", ["evaluate", "list"])
def test_ctrl_c_is_one_line_of_every_command(
    name: str, flags: Callable[..., list[str]], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"rlrepro.{'evaluate.main' if name == 'evaluate' else 'cli.list_main'}", interrupted)
    outcome = runs.command(name)
    assert (outcome.status, outcome.problem) == (130, "interrupted")


def test_a_policy_of_other_shapes_is_one_line(flags: Callable[..., list[str]], runs: Runs, tmp_path: Path) -> None:
    import safetensors.numpy

    run = runs.finish("r", *flags(), "--seed", "0")
    (run / "seeds/0/SHA256SUMS").unlink()
    for wrong, words in (({"weight": np.zeros((1, 3))}, "another shape"), ({"bias": np.zeros(1)}, "a weight")):
        (run / "seeds/0/policy.safetensors").write_bytes(safetensors.numpy.save(wrong))
        assert words in runs.command("evaluate", run, "--episodes", "2").problem


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("hidden", "abc", "hidden: 'abc' is not a"),
        ("num_steps", None, "num_steps: "),
        ("learning_rate", "x", "'x' is not"),
        ("num_steps", 64.5, "64.5"),
    ],
)
def test_a_hyperparameter_of_a_settings_file_is_checked(
    name: str, value: Any, words: str, runs: Runs, command: Command
) -> None:
    run = runs.finish("r", "--agent", "ppo", "--seeds", "1", "--total-timesteps", "600")
    values = json.loads((run / "settings.json").read_text())
    values["hyperparameters"][name] = value
    (run / "settings.json").write_text(json.dumps(values))
    problem = command("evaluate", run, "--episodes", "2").problem
    assert problem.startswith("ppo: ")
    assert words in problem


@pytest.mark.parametrize("text", ["{", "[]", '{"code": []}', '{"resumed": 5}'])
def test_a_damaged_run_json_is_told_and_not_written_over(text: str, runs: Runs) -> None:
    run = runs.finish("r", "--agent", "ppo", "--seeds", "1", "--total-timesteps", "600")
    (run / "run.json").write_text(text)
    assert "run.json is damaged: " in runs.resume("r").problem
    assert (run / "run.json").read_text() == text


def test_a_damaged_row_of_metrics_is_told(runs: Runs) -> None:
    run = runs.finish("r", "--agent", "ppo", "--seeds", "1", "--total-timesteps", "1200")
    file = run / "seeds" / "0" / "metrics.csv"
    file.write_text(re.sub(r"^(\d+),", r"what,", file.read_text(), count=1, flags=re.MULTILINE))
    with pytest.raises(Problem, match=r"metrics.csv is damaged: 'what,.*' is no row of it"):
        list(metric_points(RunFolder(run), [0]))


def test_a_resume_clears_what_a_killed_process_left_half_written(runs: Runs) -> None:
    run = runs.finish("r", "--agent", "ppo", "--seeds", "1", "--total-timesteps", "600")
    RunFolder(run).note(status="interrupted")
    (run / "seeds" / "0" / "checkpoints" / ".step-000000000400.safetensors.77.tmp").write_bytes(b"half")
    assert runs.resume("r").status == 0
    assert not list(run.rglob(".*.tmp"))


def test_a_hyperparameter_that_was_renamed_is_one_line(
    flags: Callable[..., list[str]], runs: Runs, tmp_path: Path
) -> None:
    run = runs.finish("r", *flags(), "--seed", "0")
    (tmp_path / "rarely.py").write_text(AGENT.replace("NAME", "ruined"), encoding="utf-8")
    settings = RunFolder.open(run)[1]
    assert "spoilt" in settings.hyperparameters
    arguments = [sys.executable, "-m", "rlrepro.cli", "evaluate", str(run), "--episodes", "2"]
    code = "import sys; from rlrepro.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *arguments[3:]], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("rlrepro: ")
    assert "'spoilt'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_a_worker_prints_is_not_lost(flags: Callable[..., list[str]], runs: Runs, tmp_path: Path) -> None:
    """Into a file it is held back until the process ends."""
    arguments = [*BRIEF, *flags(how="print"), "--seeds", "2", "--processes", "2", "--no-check-env"]
    command = [sys.executable, "-m", "rlrepro.train", *arguments, "--run-dir", str(runs.folder), "--name", "r"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with (tmp_path / "out.txt").open("w") as file:
        assert subprocess.run(command, stdout=file, env=env).returncode == 0
    # Each worker makes 2 environments to train and 2 to evaluate, and 2 to try a restore.
    assert (tmp_path / "out.txt").read_text().count("the simulator is here") >= 12


def guarded(job: Job, *kinds: str, monkeypatch: pytest.MonkeyPatch) -> str:
    def fails(job: Job, send: Callable[..., None]) -> None:
        for kind in kinds:
            send(kind)
        raise ZeroDivisionError("0")

    monkeypatch.setattr(worker, "run", fails)
    outcome = worker.guarded(job, lambda kind, **_: None)
    assert outcome is not None
    assert not outcome.from_outside
    return outcome.message


def test_a_traceback_is_named_only_where_it_is(
    runs: Runs, tmp_path: Path, flags: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Settings = RunFolder.open(runs.finish("r", *flags(), "--seed", "0"))[1]
    job = Job(settings, tmp_path, (0,))
    in_run = tmp_path / "rlrepro-error-seed-0.txt"
    assert f"the traceback is in {in_run})" in guarded(job, "ready", monkeypatch=monkeypatch)
    assert "ZeroDivisionError" in in_run.read_text()
    nowhere = Job(settings, tmp_path / "nowhere" / "at" / "all", (0,))
    assert "traceback" not in guarded(nowhere, "ready", monkeypatch=monkeypatch)
    first, second = (guarded(job, monkeypatch=monkeypatch).split("is in ")[1][:-1] for _ in range(2))
    assert first != second
    assert "ZeroDivisionError" in Path(second).read_text()
