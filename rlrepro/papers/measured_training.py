"""Training inside of a measurement, for functions that measure what no return tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition
from rlrepro.loop import Episode, EpisodeCounter, train
from rlrepro.plugins import EnvSource
from rlrepro.vector import VectorEnv


def train_agent(
    agent_class: type[Any],
    config: Mapping[str, Any],
    env: EnvSource,
    seeds: Sequence[int],
    steps: int,
    before: Callable[[Any, np.ndarray], None] | None = None,
    after: Callable[[Any, Transition], None] | None = None,
) -> Any:
    """Train an agent for `steps` env steps of each seed, on the common loop with one sub-environment; the agent.

    `before(agent, obs)` sees what is acted on, with all learnt that came before, and `after(agent, transition)` what
    came of it, not learnt yet. Both see `[S, 1, ...]`.
    """
    batch = env.batch(len(seeds))
    setup = Setup(batch.observation_space, batch.action_space, tuple(seeds), 1, steps)
    agent = agent_class(setup, agent_class.Config(**config))
    watched = _Watched(batch, seeds, 1, env.name)
    watched.tell_before, watched.tell_after = before, after
    watched.agent = agent
    watched.reset()
    try:
        train(agent, watched, steps, _Unheard(), EpisodeCounter(len(seeds), 1))
    finally:
        watched.close()
    return agent


class _Watched(VectorEnv):
    """Tells of each step."""

    agent: Any = None
    tell_before: Callable[[Any, np.ndarray], None] | None = None
    tell_after: Callable[[Any, Transition], None] | None = None

    def step(self, action: np.ndarray, extras: Mapping[str, Any]) -> tuple[Transition, np.ndarray]:
        if self.tell_before is not None:
            self.tell_before(self.agent, self.obs)
        transition, obs = super().step(action, extras)
        if self.tell_after is not None:
            self.tell_after(self.agent, transition)
        return transition, obs


class _Unheard:
    """A record that keeps nothing."""

    due = 2**62

    def updated(self, env_step: int, metrics: Metrics) -> None: ...

    def ended(self, env_step: int, episodes: list[Episode]) -> None: ...

    def tick(self, env_step: int) -> None: ...
