"""Stable-Baselines3's algorithms in our run folder, and the same door for anybody's training."""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import multiprocessing
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import safetensors.numpy
import stable_baselines3
import torch
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlrepro import processes, train
from rlrepro.agent import Setup
from rlrepro.networks import image_network
from rlrepro.plugins.agents import find_agent, variants
from rlrepro.record import RunFolder
from rlrepro.request import parse_train
from rlrepro.seed_log import read_rows
from rlrepro.seeds import Stack
from rlrepro.settings import Settings
from rlrepro.streams import env_seed
from tests.conftest import Command, Runs

pytestmark = pytest.mark.usefixtures("one_thread")

SEED = 3
ALGORITHMS = variants("sb3")


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes that begin with everything imported."""
    monkeypatch.setattr(processes, "get_context", lambda _: multiprocessing.get_context("fork"))


def rows(run: Path, seed: int, name: str) -> list[dict[str, str]]:
    return list(read_rows(run / "seeds" / str(seed) / f"{name}.csv"))


def policy(run: Path, seed: int = SEED) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run / "seeds" / str(seed) / "policy.safetensors")


def outcome(run: Path, seed: int) -> dict[str, bytes]:
    names = ("episodes.csv", "evaluations.csv", "policy.safetensors")
    return {name: (run / "seeds" / str(seed) / name).read_bytes() for name in names}


# --- the same as the library by hand

BY_HAND: dict[str, tuple[str, int, list[str], dict[str, Any]]] = {
    "ppo": ("CartPole-v1", 2, ["--n-steps", "64", "--learning-rate-schedule", "linear", "--gamma", "0.9"],
            {"n_steps": 64, "learning_rate": lambda left: left * 3e-4, "gamma": 0.9}),
    "a2c": ("Pendulum-v1", 1, [], {}),
    "dqn": ("CartPole-v1", 1, ["--learning-starts", "50", "--batch-size", "16"],
            {"learning_starts": 50, "batch_size": 16}),
    "td3": ("Pendulum-v1", 1, ["--action-noise", "normal", "--action-noise-std", "0.3", "--net-arch", "32,16",
                                 "--gradient-steps", "-1",
                                 "--train-freq", "1", "--train-freq-unit", "episode", "--batch-size", "16"],
            {"action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.3)), "policy_kwargs": {"net_arch": [32, 16]},
             "train_freq": (1, "episode"), "gradient_steps": -1, "batch_size": 16}),
    "sac": ("Pendulum-v1", 1, ["--ent-coef", "auto_0.1", "--train-freq", "8", "--batch-size", "32"],
            {"ent_coef": "auto_0.1", "train_freq": 8, "batch_size": 32}),
}  # fmt: skip


def by_hand(name: str, env: str, num_envs: int, total: int, normalize: bool = False, **arguments: Any) -> Any:
    """What a user of the library writes, on sub-environments with our seeds; returned by Monitor in `returns`."""
    monitors = [Monitor(gymnasium.make(env)) for _ in range(num_envs)]
    envs: Any = DummyVecEnv([functools.partial(lambda one: one, one) for one in monitors])
    wrapped = VecNormalize(envs, gamma=arguments.get("gamma", 0.99)) if normalize else envs
    model = getattr(stable_baselines3, name.upper())("MlpPolicy", wrapped, seed=SEED, device="cpu", **arguments)
    envs._seeds = [env_seed(SEED, "env", n) for n in range(num_envs)]
    model.learn(total)
    return model, [one.get_episode_rewards() for one in monitors], wrapped


@pytest.mark.parametrize("name", BY_HAND)
def test_the_parameters_are_bit_for_bit_those_of_the_library_alone(name: str, runs: Runs) -> None:
    env, num_envs, flags, arguments = BY_HAND[name]
    total = 300
    run = runs.finish("ours", "--env", env, "--agent", f"sb3:{name}", "--seed", SEED, "--num-envs", num_envs,
                      "--total-timesteps", total, "--eval-every", "70", "--eval-episodes", "1", *flags)  # fmt: skip
    model, returns, _ = by_hand(name, env, num_envs, total, **arguments)
    ours, theirs = policy(run), model.policy.state_dict()
    assert set(ours) == {f"policy.{key}" for key in theirs}
    for key, value in theirs.items():
        assert np.array_equal(ours[f"policy.{key}"].reshape(value.shape), value.numpy()), key
    # What Monitor writes to a file is rounded to six digits; the sums that it keeps, and ours, are exact.
    for n, expected in enumerate(returns):
        counted = [float(row["episode_return"]) for row in rows(run, SEED, "episodes") if row["env"] == str(n)]
        assert counted == [float(value) for value in expected]
    steps = model.num_timesteps
    assert (steps == 384) == (name == "ppo"), "a whole number of rollouts"
    assert {row["env_step"] for row in rows(run, SEED, "evaluations")} == {"70", "140", "210", "280", f"{steps}-final"}


@pytest.mark.parametrize(
    ("policy_name", "given", "expected"),
    [
        ("MlpPolicy", {}, [64, 64]),
        ("MlpPolicy", {"net_arch_critic": (32,)}, {"pi": [64, 64], "vf": [32]}),
        ("CnnPolicy", {}, None),  # the library's own: none
        ("CnnPolicy", {"net_arch": (8,)}, [8]),
        ("CnnPolicy", {"net_arch_critic": (32,)}, {"pi": [], "vf": [32]}),
        ("CnnPolicy", {"net_arch": (8,), "net_arch_critic": (32,)}, {"pi": [8], "vf": [32]}),
        ("MinAtarPolicy", {}, []),
        ("MinAtarPolicy", {"net_arch_critic": (32,)}, {"pi": [], "vf": [32]}),
    ],
)
def test_a_critic_s_layers_leave_the_actor_s_as_they_are(policy_name: str, given: Any, expected: Any) -> None:
    agent = find_agent("sb3:ppo").load()
    space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    peer = agent(Setup(space, gymnasium.spaces.Discrete(3), (0,), 1, 100), agent.Config(**given))
    assert peer._policy_arguments(policy_name).get("net_arch") == expected


def test_the_policy_for_minatar_has_the_network_of_our_agents(runs: Runs) -> None:
    run = runs.finish("minatar", "--env", "MinAtar/Breakout-v1", "--agent", "sb3:dqn", "--policy", "MinAtarPolicy",
                      "--seed", SEED, "--total-timesteps", "100", "--learning-starts", "20")  # fmt: skip
    kept = {name.removeprefix("policy."): torch.from_numpy(value) for name, value in policy(run).items()}
    _, settings = RunFolder.open(run)
    space = gymnasium.spaces.Box(0, 1, (10, 10, 4), bool)
    agent = find_agent("sb3:dqn").load()
    theirs = agent(Setup(space, gymnasium.spaces.Discrete(3), (SEED,), 1, 100), settings.config(agent.Config))
    theirs.set_policy({f"policy.{name}": value for name, value in kept.items()})
    ours = Stack((SEED,), q=image_network(space, 3))
    named = ours.named()
    layers = ("features_extractor.layers.0", "features_extractor.layers.3", "q_net.0")
    conv, dense, head = ([kept[f"q_net.{layer}.{part}"] for part in ("weight", "bias")] for layer in layers)
    with torch.no_grad():
        named["q.conv_0"][0], named["q.conv_bias_0"][0] = conv
        named["q.weight_0"][0], named["q.bias_0"][0] = dense[0].T, dense[1]
        named["q.weight_1"][0, :, :3], named["q.bias_1"][0, :, :3] = head[0].T, head[1]
        obs = np.random.default_rng(0).random((5, 10, 10, 4)) > 0.5
        found = ours.q(torch.from_numpy(obs)[None])[0]
        expected = theirs.model.q_net(torch.from_numpy(obs))
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_statistics_of_normalisation_are_kept_and_frozen(runs: Runs, command: Command) -> None:
    arguments = ("--env", "Pendulum-v1", "--agent", "sb3:ppo", "--seed", SEED, "--total-timesteps", "256",
                 "--n-steps", "128", "--gamma", "0.9", "--eval-every", "200", "--n-epochs", "2")  # fmt: skip
    run = runs.finish("both", *arguments, "--normalize")
    model, _, envs = by_hand("ppo", "Pendulum-v1", 1, 256, normalize=True, n_steps=128, gamma=0.9, n_epochs=2)
    kept = policy(run)
    for ours, theirs in (("normalize_obs", envs.obs_rms), ("normalize_reward", envs.ret_rms)):
        for part in ("mean", "var", "count"):
            assert np.array_equal(kept[f"{ours}.{part}"].squeeze(), np.squeeze(getattr(theirs, part))), (ours, part)

    _, settings = RunFolder.open(run)
    env = gymnasium.make("Pendulum-v1")
    agent = find_agent("sb3:ppo").load()
    setup = Setup(env.observation_space, env.action_space, (SEED,), 1, 256)
    rebuilt = agent(setup, settings.config(agent.Config))
    rebuilt.set_policy({name: torch.from_numpy(value) for name, value in kept.items()})
    obs = np.stack([env.reset(seed=n)[0] for n in range(5)])
    expected = model.predict(envs.normalize_obs(obs), deterministic=True)[0]
    assert np.array_equal(rebuilt.predict(obs, np.random.default_rng(0), True), expected)
    assert not np.array_equal(model.predict(obs, deterministic=True)[0], expected)
    before = policy(run)["normalize_obs.count"]
    assert command("evaluate", run, "--episodes", "3").status == 0
    assert policy(run)["normalize_obs.count"] == before

    kept = policy(runs.finish("observations", *arguments, "--normalize", "--no-normalize-reward"))
    assert "normalize_obs.mean" in kept
    assert "normalize_reward.mean" not in kept


def test_the_defaults_are_those_of_the_installed_library() -> None:
    pytest.importorskip("sb3_contrib")
    torch_names = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
    for name in ALGORITHMS:
        agent = find_agent(f"sb3:{name}").load()
        env = gymnasium.make("CartPole-v1" if name in ("dqn", "qrdqn") else "Pendulum-v1")
        one = agent(Setup(env.observation_space, env.action_space, (0,), 1, 100), agent.Config())
        known = inspect.signature(one._class).parameters
        compared = 0
        for key, value in one._arguments().items():
            expected = known[key].default
            if key == "train_freq":
                expected = (expected, "step")
            assert value == expected, (name, key)
            compared += 1
        assert compared > 8
        for key, value in one._policy_arguments("MlpPolicy").items():
            policy_class = one._class.policy_aliases["MlpPolicy"]
            expected = inspect.signature(policy_class).parameters[key].default
            if key == "net_arch":
                continue  # the library says None; that the parameters are the same shows what it means
            assert value == expected, (name, key)
        assert agent.Config().activation_fn in torch_names
        one._build([lambda env=env: env])
        shapes = {key: value.shape for key, value in one.model.policy.state_dict().items()}
        plain = one._class("MlpPolicy", DummyVecEnv([lambda env=env: env]), device="cpu", seed=0)
        assert shapes == {key: value.shape for key, value in plain.policy.state_dict().items()}, name


@pytest.mark.parametrize("name", ["ppo", "a2c", "dqn", "qrdqn"])
def test_without_a_limit_of_the_gradient_the_library_learns_as_with_one_that_is_never_met(name: str) -> None:
    if name == "qrdqn":
        pytest.importorskip("sb3_contrib")
    agent = find_agent(f"sb3:{name}").load()
    sizes = {"ppo": {"n_steps": 32, "batch_size": 32}, "a2c": {}}.get(name, {"learning_starts": 8, "train_freq": 1})
    learnt = []
    for limit in (0.0, 1e9):
        env = gymnasium.make("CartPole-v1")
        config = agent.Config(**sizes, max_grad_norm=limit)
        one = agent(Setup(env.observation_space, env.action_space, (SEED,), 1, 64), config)
        one._build([lambda env=env: env])
        one.model.get_env().seed(SEED)
        before = {key: value.clone() for key, value in one.model.policy.state_dict().items()}
        one.model.learn(64)
        learnt.append(one.model.policy.state_dict())
        assert any(not torch.equal(before[key], value) for key, value in learnt[-1].items())
    assert all(torch.equal(value, learnt[1][key]) for key, value in learnt[0].items())


# --- our run folder


def tags(run: Path) -> set[str]:
    return {row["metric"] for row in rows(run, SEED, "metrics")}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_leaves_a_run_folder_of_our_form(name: str, runs: Runs, command: Command) -> None:
    if name in ("trpo", "qrdqn", "tqc", "crossq"):
        pytest.importorskip("sb3_contrib")
    env = "CartPole-v1" if name in ("ppo", "dqn", "qrdqn", "trpo") else "Pendulum-v1"
    short = ("--env", env, "--seed", SEED, "--total-timesteps", "440", "--eval-every", "300", "--eval-episodes", "1",
             "--log-every", "20", "--num-envs", "2")  # fmt: skip
    flags: tuple[str, ...] = ("--net-arch", "16")
    flags += ("--n-steps", "16") if name in ("ppo", "a2c", "trpo") else ("--learning-starts", "380")
    if hasattr(ALGORITHMS[name].Config(), "batch_size"):
        flags += ("--batch-size", "16")
    if name == "crossq":
        flags += ("--net-arch-critic", "16")
    sb3 = runs.finish("sb3", *short, "--agent", f"sb3:{name}", *flags)
    ours = runs.finish("ours", *short, "--agent", "random")
    for folder in (sb3, ours):
        for path in folder.glob("seeds/*/checkpoints/*"):
            path.unlink()
    files = {
        run: {str(p.relative_to(run)).split("tfevents")[0] for p in run.rglob("*") if p.is_file()}
        for run in (sb3, ours)
    }
    assert files[sb3] == files[ours]
    for kind in ("episodes", "metrics", "evaluations"):
        first = [(run / "seeds" / str(SEED) / f"{kind}.csv").read_text().partition("\n")[0] for run in (sb3, ours)]
        assert first[0] == first[1]
    assert tags(ours) <= tags(sb3) | ({"charts/episodic_return", "charts/episodic_length"} - tags(ours))
    extra = tags(sb3) - tags(ours)
    assert "charts/learning_rate" in extra
    assert any(tag.startswith("losses/") for tag in extra)
    assert all(tag.startswith(("losses/", "charts/")) for tag in extra), extra
    assert not extra & {"losses/ent_coef", "losses/clip_range"}  # which have the tags of our agents
    assert ("charts/alpha" in extra) == (name in ("sac", "tqc", "crossq"))
    assert ("charts/clip_range" in extra) == (name == "ppo")
    scalars = EventAccumulator(str(sb3 / "tensorboard" / f"seed-{SEED}")).Reload().Tags()["scalars"]
    assert set(scalars) == tags(sb3) | {"evaluation/mean_return"}
    for how in ((), ("--stochastic",)):
        assert command("evaluate", sb3, "--episodes", "4", *how).status == 0
        (file,) = sb3.glob(f"evaluation-*-{'stochastic' if how else 'deterministic'}-4-0.json")
        again = json.loads(file.read_text())
        assert len(again["episode_returns"][str(SEED)]) == 4


def test_a_run_is_the_same_twice_however_often_it_is_evaluated_and_in_whatever_process(runs: Runs, forks: None) -> None:
    arguments = ("--env", "CartPole-v1", "--agent", "sb3:dqn", "--learning-starts", "40", "--total-timesteps", "400",
                 "--exploration-fraction", "0.5")  # fmt: skip
    alone = runs.finish("alone", *arguments, "--seed", "1")
    among = runs.finish("among", *arguments, "--seeds", "2", "--processes", "2")
    busy = runs.finish("busy", *arguments, "--seed", "1", "--eval-every", "30", "--log-every", "3")
    assert outcome(alone, 1) == outcome(among, 1)
    assert outcome(among, 0) != outcome(among, 1)
    for name in ("episodes.csv", "policy.safetensors"):
        assert outcome(alone, 1)[name] == outcome(busy, 1)[name]


@pytest.mark.parametrize(("flags", "said"), [
    (("--agent", "sb3:pppo"), "unknown agent 'sb3:pppo'; did you mean 'sb3:ppo'? (sb3 has a2c, ppo, dqn, ddpg, td3, "
                              "sac, trpo, qrdqn, tqc, crossq)"),
    (("--agent", "sb3"), "--agent sb3: which one of the family? write sb3:a2c (a2c, ppo, dqn, ddpg, td3, sac, trpo, "
                         "qrdqn, tqc, crossq)"),
    (("--agent", "sb4:ppo"), "--agent sb4:ppo: there is no module 'sb4' to import; did you mean 'sb3'?"),
    (("--agent", "sb3:dqn", "--env", "Pendulum-v1"), "sb3:dqn cannot serve Pendulum-v1: it takes Discrete actions, "
                                                     "not Box"),
    (("--agent", "sb3:sac"), "sb3:sac cannot serve CartPole-v1: it takes Box actions, not Discrete"),
    (("--agent", "sb3:ppo", "--n-steps", "1", "--num-envs", "1"), "sb3:ppo: `n_steps * n_envs` must be greater than 1. "
                                                                  "Currently n_steps=1 and n_envs=1"),
    (("--agent", "sb3:sac", "--env", "Pendulum-v1", "--ent-coef", "some"), "sb3:sac: --ent-coef some is neither a "
                                                                           "number, auto nor auto_0.1"),
    (("--agent", "sb3:sac", "--env", "Pendulum-v1", "--ent-coef", "auto0.1"),
     "sb3:sac: --ent-coef auto0.1 is neither a number, auto nor auto_0.1"),
    (("--agent", "sb3:sac", "--env", "Pendulum-v1", "--ent-coef", "auto_0"), "sb3:sac: --ent-coef auto_0 is neither"),
    (("--agent", "sb3:sac", "--env", "Pendulum-v1", "--target-entropy", "auto_1"),
     "sb3:sac: --target-entropy auto_1 is neither a number nor auto"),
    (("--agent", "sb3:ppo", "--use-sde"), "sb3:ppo: generalized State-Dependent Exploration (gSDE) can only be used "
                                          "with continuous actions."),
    (("--agent", "sb3:dqn", "--train-freq-unit", "episode", "--num-envs", "2"),
     "sb3:dqn: You must use only one env when doing episodic training."),
    (("--agent", "sb3:ppo", "--policy", "CnnPolicy"), "sb3:ppo: You should use NatureCNN only with images not with "),
    (("--agent", "sb3:ppo", "--policy", "MinAtarPolicy"), "sb3:ppo: MinAtarPolicy takes small images, as MinAtar's "),
    (("--agent", "sb3:ppo", "--learning_rate", "1"), "unknown argument '--learning_rate'; did you mean "
                                                     "'--learning-rate'?"),
    (("--agent", "sb3:td3", "--action-noise", "norml"), "--action-noise: 'norml' is none of none, normal, ou; "
                                                        "did you mean 'normal'?"),
    (("--agent", "sb3:ppo", "--normalize", "--env", "CliffWalking-v1"), "sb3:ppo: VecNormalize only supports "),
])  # fmt: skip
def test_what_cannot_be_is_said_in_one_line_and_leaves_nothing(flags: tuple[str, ...], said: str, runs: Runs) -> None:
    stopped = runs.begin("bad", "--seed", "0", *flags)
    assert stopped.status == 2
    assert stopped.problem.startswith(said)
    assert runs.left() == []


def test_minatar_s_network_is_not_for_screens(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "screen.py").write_text(SCREEN)
    flags = "--env", f"{tmp_path / 'screen.py'}:Screen", "--agent", "sb3:dqn", "--policy", "MinAtarPolicy"
    assert runs.begin("bad", "--seed", "0", *flags).problem.startswith("sb3:dqn: MinAtarPolicy takes small images")


@pytest.mark.parametrize(("pixels", "status"), [(35, 2), (36, 0)])
def test_the_nature_network_takes_images_of_36_pixels_and_more(
    pixels: int, status: int, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "screen.py").write_text(SCREEN.replace("84, 84", f"{pixels}, 48"))
    flags = "--env", f"{tmp_path / 'screen.py'}:Screen", "--env-kwargs", "max_episode_steps=5", "--agent", "sb3:dqn"
    begun = runs.begin("r", "--seed", "0", *flags, "--total-timesteps", "10", "--buffer-size", "10")
    assert begun.status == status
    if status:
        assert "sb3:dqn: CnnPolicy takes images of at least 36 × 36 pixels, not Box(0, 255, (35, 48, 4)" in begun.err


SCREEN = """
import gymnasium, numpy as np
class Screen(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((84, 84, 4), np.uint8), {}
    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}
"""


def test_a_package_that_is_not_there_is_named_with_its_command(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    assert runs.begin("none", "--agent", "sb3:trpo", "--seed", "0").problem.endswith("): pip install sb3-contrib")
    assert "--cg-max-steps" in runs_help("sb3:trpo")


def runs_help(agent: str) -> str:
    from rlrepro.flags import train_parser

    source = find_agent(agent)
    return train_parser(source, *source.description()[:2]).format_help()


def test_every_flag_of_every_algorithm_is_taken_and_written() -> None:
    for name in ALGORITHMS:
        settings = parse_train(
            ["--agent", f"sb3:{name}", "--env", "Pendulum-v1", "--net-arch", "8", "--processes", "2"]
        )
        assert not isinstance(settings, Path)
        again = Settings.from_json(settings.settings.to_json(), "settings.json")
        assert again == settings.settings
        assert again.groups() == [(0,), (1,), (2,), (3,), (4,)]
        assert again.processes == 2


# --- the door

LEFT = """
import dataclasses, os, signal, time
import numpy as np
from rlrepro.agent import UnsupportedSpace, hyper

class Left:
    @dataclasses.dataclass(frozen=True)
    class Config:
        log: str = hyper("", "where to write when it began and ended", "ours")
        fail: int = hyper(-1, "the seed that fails", "ours")
        pause: float = hyper(0.0, "seconds before the first step", "ours")

    def __init__(self, setup, config):
        self.setup, self.config = setup, config

    def train(self, training):
        (seed,) = self.setup.seeds
        self.write("begin", seed)
        envs = [training.make_env(n) for n in range(self.setup.num_envs)]
        for env in envs:
            env.reset()
        time.sleep(self.config.pause)
        while training.env_step < self.setup.total_timesteps:
            for env in envs:
                *_, terminated, truncated, _ = env.step(0)
                if terminated or truncated:
                    env.reset()
            training.tell({"losses/seed": seed})
            if seed == self.config.fail and training.env_step >= 60:
                raise RuntimeError("it diverged")
        self.write("end", seed)

    def write(self, what, seed):
        if self.config.log:
            with open(self.config.log, "a") as file:
                file.write(f"{what} {seed} {time.monotonic()}\\n")

    def predict(self, obs, generator, deterministic):
        return np.zeros(len(obs), int)

    def get_policy(self):
        return {"nothing": np.zeros(1)}

    def set_policy(self, policy):
        assert policy["nothing"].shape == (1,)
"""
AGENT = """
import dataclasses
import numpy as np

class Nothing:
    def add(self, transition): pass
    def ready(self, step): return iter(())
    def cut(self): pass
    def get_state(self): return {}
    def set_state(self, state): pass

class Left:
    @dataclasses.dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, setup, config):
        self.memory = Nothing()
    def act(self, obs, step): return np.zeros(obs.shape[:2], int), {}
    def predict(self, obs, streams, deterministic): return np.zeros(obs.shape[:2], int)
    def update(self, batch, step): return {}
    def get_state(self): return {}
    def set_state(self, state): pass
    def get_policy(self): return {}
    def set_policy(self, policy): pass
"""


@pytest.fixture
def left(tmp_path: Path) -> str:
    """A trainer that always pushes left, in a file."""
    file = tmp_path / "left.py"
    file.write_text(LEFT)
    return f"{file}:Left"


def test_a_trainer_meets_the_episodes_and_the_evaluations_of_an_agent_that_does_the_same(
    runs: Runs, left: str, tmp_path: Path
) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    arguments = ("--env", "CartPole-v1", "--seed", "4", "--num-envs", "3", "--total-timesteps", "300",
                 "--eval-every", "90", "--eval-episodes", "2", "--log-every", "33")  # fmt: skip
    trainer = runs.finish("trainer", *arguments, "--agent", left)
    agent = runs.finish("agent", *arguments, "--agent", f"{tmp_path / 'agent.py'}:Left")
    for name in ("episodes.csv", "evaluations.csv"):
        assert outcome(trainer, 4)[name] == outcome(agent, 4)[name]
    assert len(rows(trainer, 4, "episodes")) > 20

    def curve(run: Path) -> list[tuple[str, ...]]:
        timed = ("charts/SPS", "time/fps", "losses/seed")
        values = rows(run, 4, "metrics")
        return [(row["env_step"], row["metric"], row["value"]) for row in values if row["metric"] not in timed]

    assert curve(trainer) == curve(agent)
    results = [RunFolder(run).read_json("run.json")["results"] for run in (trainer, agent)]
    assert results[0] == results[1]


def began_and_ended(log: Path) -> list[tuple[str, int]]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(what, int(seed)) for what, seed, _ in sorted(lines, key=lambda line: float(line[2]))]


def test_no_more_seeds_run_at_a_time_than_there_are_processes(
    runs: Runs, left: str, tmp_path: Path, forks: None
) -> None:
    log = tmp_path / "log"
    run = runs.finish("five", "--agent", left, "--seeds", "5", "--processes", "2", "--log", log, "--pause", "0.1")
    running, most = set(), 0
    for what, seed in began_and_ended(log):
        running = running | {seed} if what == "begin" else running - {seed}
        most = max(most, len(running))
    assert most == 2
    assert [len(rows(run, seed, "evaluations")) for seed in range(5)] == [2] * 5
    drawn = {name: EventAccumulator(str(run / "tensorboard" / name)).Reload() for name in ("mean", "seed-3")}
    assert {point.value for point in drawn["mean"].Scalars("losses/seed")} == {2.0}, "the mean of seeds 0 to 4"
    counts = [len(drawn[name].Scalars("losses/seed")) for name in drawn]
    assert counts[0] == counts[1] > 50


def test_a_seed_that_fails_is_told_and_the_others_go_to_their_end(
    runs: Runs, left: str, tmp_path: Path, forks: None
) -> None:
    log = tmp_path / "log"
    arguments = ("--agent", left, "--seeds", "4", "--processes", "1", "--log", log, "--fail", "1")
    stopped = runs.begin("failing", *arguments)
    assert stopped.status == 1
    assert stopped.problem.startswith("RuntimeError: it diverged (left.py:")
    assert "go on with: python -m rlrepro.train --resume" in stopped.problem
    assert "note: seed 1 stopped: RuntimeError: it diverged" in stopped.out
    assert [seed for what, seed in began_and_ended(log) if what == "end"] == [0, 2, 3]
    ends = [int(row["env_step"]) for row in rows(runs.folder / "failing", 1, "episodes")]
    assert 50 < ends[-1] <= 60, "what was over before it failed is kept"
    assert sorted(RunFolder(runs.folder / "failing").read_json("run.json")["results"]) == ["0", "2", "3"]
    log.unlink()
    again = runs.resume("failing")
    assert again.status == 1
    assert "cannot go on in the middle, and begins again from the start: seed 1\n" in again.out
    assert began_and_ended(log) == [("begin", 1)]
    about = RunFolder(runs.folder / "failing").read_json("run.json")
    assert (about["status"], sorted(about["results"])) == ("failed", ["0", "2", "3"])


@pytest.mark.parametrize("kind", ["MultiBinary(3)", "MultiDiscrete([2, 3])"])
@pytest.mark.parametrize("stochastic", [False, True])
def test_actions_of_several_parts_are_trained_and_evaluated(
    kind: str, stochastic: bool, runs: Runs, tmp_path: Path
) -> None:
    source = f"""
    import gymnasium as gym, numpy as np
    class Switches(gym.Env):
        max_episode_steps = 20
        observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.{kind}
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(3, np.float32), {{}}
        def step(self, action):
            assert self.action_space.contains(action), action
            return np.zeros(3, np.float32), float(action.sum()), False, False, {{}}
    """
    (tmp_path / "switches.py").write_text(textwrap.dedent(source))
    flags = (
        "--env",
        f"{tmp_path / 'switches.py'}:Switches",
        "--agent",
        "sb3:a2c",
        "--seed",
        "0",
        "--total-timesteps",
        "60",
    )
    done = runs.begin("r", *flags, *(["--no-eval-deterministic"] if stochastic else []))
    assert done.status == 0, done.err


def test_a_problem_of_the_settings_stops_all(runs: Runs, forks: None) -> None:
    flags = ("--agent", "sb3:ppo", "--n-steps", "1", "--seeds", "3", "--processes", "2")
    assert runs.begin("bad", *flags).status == 2
    assert runs.left() == []


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_stopped_at_a_random_moment_a_run_resumes_to_the_same_bytes(
    number: signal.Signals, runs: Runs, tmp_path: Path, forks: None
) -> None:
    processes = "2" if number == signal.SIGINT else "1"
    arguments = ("--env", "CartPole-v1", "--agent", "sb3:ppo", "--n-steps", "64", "--n-epochs", "1",
                 "--total-timesteps", "1000", "--seeds", "3", "--processes", processes)  # fmt: skip
    whole = runs.finish("whole", *arguments)
    command = ["--eval-every", "0", "--final-eval-episodes", "2", *arguments, "--run-dir", str(runs.folder)]

    def stop_when(folder: Path, found: Callable[[], bool]) -> int:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            os.close(1)
            os._exit(train.main([*command, "--name", folder.name]))
        deadline = time.monotonic() + 60
        while not found() and time.monotonic() < deadline:
            time.sleep(0.005)
        # A killed parent takes its forked children along only here, where they share its pipes.
        (os.killpg if number == signal.SIGKILL else os.kill)(child, number)
        return os.waitpid(child, 0)[1]

    folder = runs.folder / "stopped"
    status = stop_when(folder, lambda: any((folder / "seeds/1/checkpoints").glob("step-*")))
    assert os.WIFSIGNALED(status) if number == signal.SIGKILL else os.WEXITSTATUS(status) == 130
    before = {seed: (folder / "seeds" / str(seed) / "policy.safetensors").exists() for seed in range(3)}
    assert not before[2]
    assert not before[1]
    kept = {seed for seed in range(3) if any((folder / "seeds" / str(seed) / "checkpoints").glob("step-*"))}
    assert {0, 1} <= kept
    outcomes = runs.resume("stopped")
    assert (outcomes.status, outcomes.err) == (0, "")
    of_the_last = ("for seed 2: begins again", "seed 2 had not begun")
    assert sum(said in outcomes.out for said in of_the_last) == (kept != {0, 1, 2})
    for seed in range(3):
        assert outcome(folder, seed) == outcome(whole, seed)
    results = [RunFolder(run).read_json("run.json")["results"] for run in (folder, whole)]
    assert results[0] == results[1]


def test_a_trainer_that_lacks_a_part_or_breaks_is_named(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LEFT.replace("def set_policy", "def put_policy"))
    said = runs.begin("lacks", "--agent", f"{file}:Left", "--seed", "0").problem
    assert said.endswith("Left' has no set_policy; see docs/bring-your-own-training.md")
    cases = {
        "one.py": (LEFT.replace("np.zeros(len(obs), int)", "0"), "predict() gives actions of shape (), not (2,)"),
        "two.py": (LEFT.replace("make_env(n)", "make_env(n + 1)"),
                   "two.py:Left: sub-environment 1 of --num-envs 1 was asked for"),
        "three.py": (LEFT.replace("def train(self, training):", "def train(self, training):\n        raise "
                     "UnsupportedSpace('Box actions, not Discrete')"), "it takes Box actions, not Discrete"),
    }  # fmt: skip
    for name, (source, line) in cases.items():
        (tmp_path / name).write_text(source)
        assert line in runs.begin(name[:-3], "--agent", f"{tmp_path / name}:Left", "--seed", "0").problem


def test_an_environment_that_breaks_is_named_with_its_seed(runs: Runs, left: str, tmp_path: Path) -> None:
    count = itertools.count()
    for broken, line in {
        "raise OSError('no wheel')": "raised OSError: no wheel in step, broken0.py:12 (seed 7, sub-environment 0)",
        "reward = float('nan')": "gave the reward nan (seed 7, sub-environment 0)",
        "reward = -1e39": "gave the reward -1e+39, beyond 3.40282e+38 (seed 7, sub-environment 0)",
        "obs[0] = float('inf')": "gave an observation with NaN or infinity (seed 7, sub-environment 0)",
        "obs = np.zeros(2, np.float32)": "gave an observation of shape [2], not [1] (seed 7, sub-environment 0)",
    }.items():
        name = f"broken{next(count)}"
        (tmp_path / f"{name}.py").write_text(
            "import gymnasium, numpy as np\n"
            "class Walk(gymnasium.Env):\n"
            "    observation_space = gymnasium.spaces.Box(-9e9, 9e9, (1,), np.float32)\n"
            "    action_space = gymnasium.spaces.Discrete(2)\n"
            "    t = 0\n"
            "    def reset(self, *, seed=None, options=None):\n"
            "        super().reset(seed=seed)\n"
            "        return np.zeros(1, np.float32), {}\n"
            "    def step(self, action):\n"
            "        self.t += 1\n"
            "        obs, reward = np.zeros(1, np.float32), 1.0\n"
            f"        if self.t == 60: {broken}\n"
            "        return obs, reward, self.t % 20 == 0, False, {}\n"
        )
        env = f"{tmp_path / name}.py:Walk"
        stopped = runs.begin(name, "--agent", left, "--env", env, "--seed", "7")
        assert stopped.status == 1
        assert line in stopped.problem
        assert len(rows(runs.folder / name, 7, "episodes")) == 2


def test_a_trainer_that_ends_early_says_so(runs: Runs, tmp_path: Path) -> None:
    file = tmp_path / "early.py"
    file.write_text(LEFT.replace("self.setup.total_timesteps:", "40:"))
    told = runs.begin("early", "--agent", f"{file}:Left", "--seed", "0")
    assert told.status == 0
    assert "ended by itself after 40 of 120 env steps (seed 0)" in told.out
    file.with_name("never.py").write_text(LEFT.replace("self.setup.total_timesteps:", "0:"))
    told = runs.begin("never", "--agent", f"{tmp_path / 'never.py'}:Left", "--seed", "0")
    assert told.status == 0
    assert "ended by itself after 0 of 120 env steps (seed 0)" in told.out
    assert "\n  run folder  " in told.out, "how it began is said all the same"
