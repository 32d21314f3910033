"""A group of seeds as a run's settings have it: the agent or the policy, its environments, and all that they learnt."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from rlrepro.agent import Agent, Memory, Policy, Setup, Trainer, UnsupportedSpace, owns_loop
from rlrepro.errors import Problem, RunStopped, close_quietly, one_line, place_of
from rlrepro.loop import EpisodeCounter, as_arrays
from rlrepro.networks import flattened
from rlrepro.normalise import NormalisedEnv, NormalisedPolicy, Statistics, normalised_space
from rlrepro.plugins import own_code
from rlrepro.plugins.agents import find_agent
from rlrepro.plugins.environments import find_env
from rlrepro.settings import Settings
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams
from rlrepro.vector import EnvBatch, VectorEnv

_MEMORY_PARTS = ("add", "ready", "cut", "get_state", "set_state")


class Group(Stateful):
    """S seeds in training. `get_state` is all that a resume needs but the environments' own state, for `go_on`."""

    STATE = ("agent", "memory", "normalise", "counter")

    def __init__(self, settings: Settings, batch: EnvBatch, seeds: tuple[int, ...]) -> None:
        """Takes a batch of S × N sub-environments. `Problem` where the agent cannot serve them."""
        space = batch.observation_space
        check_observations(settings, space)
        self.normalise = Statistics.of_settings(settings, space, len(seeds))
        self.setup = setup_of(settings, batch, seeds)
        self.agent: Agent = build_agent(settings, self.setup)
        if not hasattr(self.agent, "memory"):
            raise Problem(f"{settings.agent} sets no self.memory when it is made; see docs/write-an-agent.md")
        missing = [part for part in _MEMORY_PARTS if not hasattr(self.memory, part)]
        if missing:
            raise Problem(
                f"the memory of {settings.agent} has no {' and no '.join(missing)}; see docs/write-an-agent.md"
            )
        where = batch, seeds, settings.num_envs, own_code.shown(settings.env)
        self.env = VectorEnv(*where) if self.normalise is None else NormalisedEnv(self.normalise, *where)
        self.counter = EpisodeCounter(len(seeds), settings.num_envs)

    @property
    def memory(self) -> Memory:
        return self.agent.memory

    @property
    def policy(self) -> Policy:
        """What is evaluated: the agent, and what it has learnt to normalise by."""
        return _normalised(self.agent, self.normalise)

    def go_on(self, env_step: int, env_state: Mapping[str, Any] | None) -> None:
        """Go on from `env_step`; with new episodes where the environments' state is lost."""
        self.env.env_step = env_step
        if env_state is not None:
            self.env.set_state(env_state)
            return
        self.env.begin_anew(env_step)
        self.memory.cut()
        self.counter.clear()


class OneSeed:
    """A trainer as the `Policy` that evaluations take: a seed axis of length one before everything."""

    def __init__(self, trainer: Trainer, action_space: gymnasium.Space[Any]) -> None:
        self.trainer, self._space = trainer, action_space

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        action = np.asarray(self.trainer.predict(obs[0], streams.generators[0], deterministic))
        wanted = (obs.shape[1], *(self._space.shape or ()))
        if action.shape != wanted:
            raise RunStopped(f"predict() gives actions of shape {action.shape}, not {wanted}")
        if isinstance(self._space, Discrete):
            action = action.astype(np.int64) - self._space.start  # an agent's actions count from 0
        return action[None]

    def get_policy(self) -> dict[str, np.ndarray]:
        return {name: value[None] for name, value in as_arrays(self.trainer.get_policy()).items()}

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        self.trainer.set_policy({name: torch.as_tensor(value)[0] for name, value in policy.items()})


def check_observations(settings: Settings, space: Any) -> None:
    if not isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary):
        raise Problem(
            f"{settings.agent} cannot serve {settings.env}: no agent takes {type(space).__name__} "
            f"observations{flattened(space)}"
        )
    shape = list(space.shape or ())
    if 0 in shape:
        raise Problem(f"{settings.agent} cannot serve {settings.env}: its observations, {shape}, are empty")


def build_agent(settings: Settings, setup: Setup) -> Any:
    """The agent or trainer of these settings; `Problem` where it cannot serve the environment."""
    agent_class = find_agent(settings.agent).load()
    try:
        config = settings.config(agent_class.Config)
    except TypeError as error:  # of a run's settings: a command line was looked at before
        text = str(error).split("() ", 1)[-1]
        raise Problem(f"{settings.agent} takes other hyperparameters than it did in these settings: {text}") from error
    with problems_of(settings):
        return agent_class(setup, config)


def check_serves(settings: Settings) -> None:
    """`Problem` where the agent cannot serve the environment: both are made, on the host."""
    env = find_env(settings.env, settings.env_kwargs, settings.wrappers).make()
    close_quietly(env)
    build_policy(dataclasses.replace(settings, device="cpu"), env, settings.seeds)


def build_policy(settings: Settings, env_spaces: Any, seeds: tuple[int, ...]) -> Policy:
    """The agent that `build_agent` makes, to be evaluated: with its normaliser, or as one seed that owns its loop."""
    check_observations(settings, env_spaces.observation_space)
    agent = build_agent(settings, setup_of(settings, env_spaces, seeds))
    if owns_loop(type(agent)):
        return OneSeed(agent, env_spaces.action_space)
    return _normalised(agent, Statistics.of_settings(settings, env_spaces.observation_space, len(seeds)))


def _normalised(agent: Agent, statistics: Statistics | None) -> Policy:
    return agent if statistics is None else NormalisedPolicy(agent, statistics)


def setup_of(settings: Settings, env_spaces: Any, seeds: tuple[int, ...]) -> Setup:
    space = env_spaces.observation_space
    return Setup(
        normalised_space(space) if settings.normalise_obs else space,
        env_spaces.action_space,
        seeds,
        settings.num_envs,
        settings.total_timesteps,
        settings.device,
    )


@contextlib.contextmanager
def problems_of(settings: Settings) -> Iterator[None]:
    """What an agent raises before it has begun, as a `Problem`."""
    try:
        yield
    except UnsupportedSpace as error:
        raise Problem(f"{settings.agent} cannot serve {settings.env}: it takes {error}") from error
    except ValueError as error:
        raise Problem(f"{settings.agent}: {error}") from error
    except AttributeError as error:
        if not (dataclasses.is_dataclass(error.obj) and type(error.obj).__name__ == "Config"):
            raise
        what = f"its Config has no {error.name!r}, which is read{place_of(error) or ' by the class that it extends'}"
        raise Problem(f"{settings.agent}: {what}; extend that class's Config, or mend the name") from error
    except (RuntimeError, MemoryError, TypeError) as error:
        if is_out_of_memory(error):
            raise Problem(f"{settings.agent} does not fit into memory: {one_line(error)}") from error
        raise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, or that a size is beyond 64 bits."""
    words = (
        r"(not enough|out of) memory|(can't|cannot|unable to|tried to) allocate|memoryallocation|"
        "overflowed with sizes|overflow when unpacking"
    )
    return isinstance(error, MemoryError) or re.search(words, str(error).lower()) is not None
