"""Training that leaves no run folder: for probes, and for functions that measure what no return tells."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition
from rlrepro.loop import Episode, EpisodeCounter, train
from rlrepro.plugins.env_source import EnvSource
from rlrepro.vector import VectorEnv


def train_agent(
    agent_class: type[Any],
    config: Mapping[str, Any] | Any,
    env: EnvSource,
    seeds: Sequence[int],
    steps: int,
    after: Callable[[Any, Transition], None] | None = None,
    num_envs: int = 1,
) -> Any:
    """Train an agent, by its `Config` or the values of one, on the common loop: `steps` env steps of each seed, of
    `num_envs` sub-environments; the agent.

    `after(agent, transition)` sees what came of a step `[S, N, ...]`, not learnt yet.
    """
    batch = env.batch(len(seeds) * num_envs)
    whole = agent_class.Config(**config) if isinstance(config, Mapping) else config
    with contextlib.closing(_Watched(batch, seeds, num_envs, env.name)) as watched:
        setup = Setup(batch.observation_space, batch.action_space, tuple(seeds), num_envs, steps)
        watched.agent = agent = agent_class(setup, whole)
        watched.tell_after = after
        watched.reset()
        train(agent, watched, steps, _Unheard(), EpisodeCounter(len(seeds), num_envs))
    return agent


class _Watched(VectorEnv):
    """Tells of each step."""

    agent: Any = None
    tell_after: Callable[[Any, Transition], None] | None = None

    def step(self, action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        transition, obs = super().step(action, extras)
        if self.tell_after is not None:
            self.tell_after(self.agent, transition)
        return transition, obs


class _Unheard:
    """A record that keeps nothing."""

    due = 1 << 62

    def updated(self, metrics: Metrics) -> None: ...

    def ended(self, env_step: int, episodes: list[Episode]) -> None: ...

    def tick(self, env_step: int) -> None: ...
