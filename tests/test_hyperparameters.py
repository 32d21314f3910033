"""Every hyperparameter of every agent is used: another value of it alone trains otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from rlrepro import loop
from rlrepro.agent import Setup
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.importing import installed
from rlrepro.streams import Streams
from rlrepro.vector import VectorEnv

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS, SEEDS = 64, (3,)
#: episodes end by themselves and by their time limit, and no rollout with them
TASKS = {
    "discrete": ("CartPole-v1", {"max_episode_steps": 13}),
    "box": ("Pendulum-v1", {"max_episode_steps": 13}),
    "table": ("WindyGridworld-v0", {"max_episode_steps": 13}),
}
_REPLAY = {"buffer_size": 20, "batch_size": 8, "learning_starts": 10, "train_every": 2, "hidden": (8, 6)}
_VALUES = {**_REPLAY, "target_every": 6, "learning_rate": 0.05, "max_grad_norm": 0.05}
_SOFT = {**_REPLAY, "actor_learning_rate": 0.01, "critic_learning_rate": 0.02}
_ROLLOUT = {"hidden": (8, 6), "num_steps": 10}
_PPO = {**_ROLLOUT, "num_minibatches": 2, "learning_rate": 0.01}
#: agents with the task that each has, its sub-environments, and what lets each hyperparameter count within a few steps
FORMS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "ppo": ("ppo", "discrete", 2, {**_PPO, "max_grad_norm": 0.05, "anneal": True, "anneal_clip": True,
                                   "clip_range": 0.02, "clip_value_loss": True}),
    "ppo, box": ("ppo", "box", 2, {**_PPO, "target_kl": 0.001}),
    "ppo_split": ("ppo_split", "box", 2, {**_ROLLOUT, "batch_size": 7, "num_value_epochs": 2, "learning_rate": 0.01,
                                          "clip_range": 0.02}),
    "a2c": ("a2c", "discrete", 2, {**_ROLLOUT, "max_grad_norm": 0.05}),
    "a2c, box": ("a2c", "box", 2, {**_ROLLOUT, "separate": True, "anneal": True}),
    "trpo": ("trpo", "box", 2, {**_ROLLOUT, "batch_size": 7, "num_value_epochs": 2, "target_kl": 0.4, "cg_steps": 4}),
    "trpo, strict": ("trpo", "box", 2, {**_ROLLOUT, "target_kl": 0.4, "kl_slack": 0.3, "line_search_steps": 2}),
    "reinforce": ("reinforce", "box", 2, {"hidden": (8, 6)}),
    "dqn": ("dqn", "discrete", 1, {**_VALUES, "prioritised": True, "num_steps": 2, "epsilon_eval": 0.2}),
    "c51": ("c51", "discrete", 1, {**_VALUES, "num_atoms": 11, "v_min": -5.0, "v_max": 5.0}),
    "qrdqn": ("qrdqn", "discrete", 1, {**_VALUES, "num_quantiles": 5}),
    "rainbow": ("rainbow", "discrete", 1, {**_VALUES, "num_atoms": 11, "v_min": -5.0, "v_max": 5.0}),
    "pqn": ("pqn", "discrete", 2, {**_ROLLOUT, "num_minibatches": 2, "max_grad_norm": 0.05, "anneal": True}),
    "ddpg": ("ddpg", "box", 2, {**_SOFT, "output_init": 0.01}),
    "td3": ("td3", "box", 2, {**_SOFT, "output_init": 0.01}),
    "sac": ("sac", "box", 2, {**_SOFT, "alpha_learning_rate": 0.03, "log_std_range": (-0.5, -0.4)}),
    "sac_discrete": ("sac_discrete", "discrete", 1, {**_SOFT, "alpha_learning_rate": 0.03, "target_every": 6}),
    **{name: (name, "table", 2, {}) for name in
       ("q_learning", "double_q_learning", "sarsa", "expected_sarsa", "dyna_q", "differential_sarsa")},
    "sarsa_lambda": ("sarsa_lambda", "discrete", 2, {}),
}  # fmt: skip
#: what counts only in the second form of an agent
_OF_SECOND = {
    "ppo, box": {"log_std_init", "target_kl"},
    "a2c, box": {"log_std_init", "separate", "value_learning_rate", "value_eps"},
    "trpo, strict": {"line_search_steps"},
}
#: another value where one step up is none, or changes too little
_OTHERS = {"num_minibatches": 4, "num_tilings": 16, "learning_starts": 15, "random_steps": 30, "epsilon_eval": 0.7}


class Heard:
    """What an agent did and learnt, as the loop tells it."""

    due = 10**9

    def __init__(self) -> None:
        self.metrics: list[Any] = []

    def updated(self, metrics: Mapping[str, Any]) -> None:
        self.metrics.append({tag: value.tolist() for tag, value in loop.as_arrays(metrics).items()})

    def ended(self, env_step: int, episodes: list[loop.Episode]) -> None:
        self.metrics.append((env_step, episodes))

    def tick(self, env_step: int) -> None:
        raise NotImplementedError


def trained(form: str, **changed: Any) -> str:
    """All that an agent showed: its episodes, metrics, parameters before and after, and how it is evaluated."""
    name, task, num_envs, options = FORMS[form]
    source = find_env(*TASKS[task], ())
    env = VectorEnv(source.batch(num_envs), SEEDS, num_envs)
    agent_class: Any = find_agent(name).load()
    setup = Setup(env.observation_space, env.action_space, SEEDS, num_envs, STEPS)
    agent = agent_class(setup, agent_class.Config(**{**options, **changed}))
    first, heard = _policy(agent), Heard()
    obs = env.reset()
    loop.train(agent, env, STEPS, heard, loop.EpisodeCounter(len(SEEDS), num_envs))
    seen = np.repeat(obs, 50, 1)
    chosen = [agent.predict(seen, Streams(SEEDS, "evaluation"), greedy).tolist() for greedy in (True, False)]
    return repr((first, heard.metrics, _policy(agent), chosen))


def _policy(agent: Any) -> dict[str, Any]:
    return {name: value.tolist() for name, value in loop.as_arrays(agent.get_policy()).items()}


@cache
def as_it_is(form: str) -> str:
    return trained(form)


def fields(form: str) -> dict[str, dataclasses.Field[Any]]:
    config: Any = find_agent(FORMS[form][0]).load().Config
    return {field.name: field for field in dataclasses.fields(config)}


def others(value: Any, field: dataclasses.Field[Any]) -> Iterator[Any]:
    """Other values of a hyperparameter."""
    if field.name in _OTHERS:
        yield _OTHERS[field.name]
    elif field.metadata["choices"]:
        yield from (choice for choice in field.metadata["choices"] if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield 0.7 * value + 0.07
    else:
        yield (*value[:-1], value[-1] + type(value[-1])(1))


def counts(form: str, name: str) -> bool:
    """Whether a hyperparameter is to be looked at in this form of its agent."""
    if form in _OF_SECOND:
        return name in _OF_SECOND[form]
    return not any(name in own for second, own in _OF_SECOND.items() if second.startswith(f"{form},"))


CASES = [
    (form, name, other)
    for form, (_, _, _, options) in FORMS.items()
    for name, field in fields(form).items()
    if counts(form, name)
    for other in others(options.get(name, field.default), field)
]


@pytest.mark.parametrize(("form", "name", "other"), CASES, ids=lambda part: str(part))
def test_another_value_of_a_hyperparameter_trains_otherwise(form: str, name: str, other: Any) -> None:
    assert trained(form, **{name: other}) != as_it_is(form)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_values_train_alike(form: str) -> None:
    assert trained(form) == as_it_is(form)


def test_no_agent_and_no_hyperparameter_is_left_out() -> None:
    ours = {name for name, kind in installed("agents").items() if kind.module.startswith("rlrepro.agents.")}
    assert {agent for agent, *_ in FORMS.values()} == ours - {"random"}
    looked_at = {(FORMS[form][0], name) for form, name, _ in CASES}
    assert looked_at == {(FORMS[form][0], name) for form in FORMS for name in fields(form)}
