"""The common loop: the only caller of `env.step` in training, and evaluation.

The loop cannot tell which algorithm it runs. It owns the clock, counts the episodes, and tells a record what
happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from rlrepro.agent import Agent, Metrics, Policy
from rlrepro.errors import AgentFault, EvaluationFailed, kind_of
from rlrepro.stateful import Stateful
from rlrepro.streams import Streams, env_seed
from rlrepro.vector import EnvBatch, EnvironmentFailed, VectorEnv, check_actions, check_numbers, to_env

LONG_EPISODE = 100_000  #: env steps; an evaluation warns of an episode that lasts so long


class Episode(NamedTuple):
    """A finished episode of one sub-environment."""

    row: int  #: which of the S seeds
    env: int
    episode_return: float  #: undiscounted sum of the environment's own rewards
    episode_length: int
    terminated: bool
    truncated: bool


class Listener(Protocol):
    """Who is told of a run by the loop."""

    due: int  #: the env step at which `tick` is wanted next

    def updated(self, metrics: Metrics) -> None:
        """The agent has learnt from a batch."""

    def ended(self, env_step: int, episodes: list[Episode]) -> None:
        """These episodes ended with the step that ended at `env_step`."""

    def tick(self, env_step: int) -> None:
        """`due` is reached."""


class EpisodeCounter(Stateful):
    """Returns and lengths of the running episodes, `[S, N]`."""

    STATE = ("episode_return", "episode_length")

    def __init__(self, num_seeds: int, num_envs: int) -> None:
        self.episode_return = np.zeros((num_seeds, num_envs))
        self.episode_length = np.zeros((num_seeds, num_envs), np.int64)

    def clear(self) -> None:
        self.episode_return[:] = self.episode_length[:] = 0

    def add(self, reward: np.ndarray) -> None:
        self.episode_return += reward
        self.episode_length += 1

    def take(self, ended: np.ndarray, terminated: np.ndarray, truncated: np.ndarray) -> list[Episode]:
        """The episodes that `ended` `[S, N]` names; their counts begin anew."""
        episodes = [
            Episode(
                row,
                env,
                float(self.episode_return[row, env]),
                int(self.episode_length[row, env]),
                bool(terminated[row, env]),
                bool(truncated[row, env]),
            )
            for row, env in np.argwhere(ended).tolist()
        ]
        self.episode_return[ended] = 0.0
        self.episode_length[ended] = 0
        return episodes


def train(
    agent: Agent,
    env: VectorEnv,
    total_timesteps: int,
    listener: Listener,
    counter: EpisodeCounter,
    first_step: int = 0,
) -> None:
    """Train from `first_step` until each seed has seen `total_timesteps` env steps; `env` has been reset."""
    obs = env.obs
    prefetch = getattr(agent.memory, "prefetch", None)
    for step in range(first_step, total_timesteps, env.num_envs):
        # Batches that are due after this step and hold nothing of it: the device draws them now, and learns from them
        # while the environments take the step. `ready` would have given the same ones, after the same `act`.
        batches = prefetch(step, env.num_envs) if prefetch else iter(())
        batch = next(batches, None)
        action, extras = check_acted(agent.act(obs, step))
        env_step = step + env.num_envs
        while batch is not None:
            listener.updated(agent.update(batch, step))
            batch = next(batches, None)
        transition, obs = env.step(action, extras)
        agent.memory.add(transition)
        counter.add(env.reward)
        if env.ended is not None:
            listener.ended(env_step, counter.take(env.ended, env.terminated, env.truncated))
        for batch in agent.memory.ready(step):
            listener.updated(agent.update(batch, step))
        if env_step >= listener.due:
            listener.tick(env_step)


class Evaluation(NamedTuple):
    """Episodes of a fixed policy, `[S, E]`."""

    episode_return: np.ndarray
    episode_length: np.ndarray


def evaluate(
    agent: Policy,
    batch: EnvBatch,
    seeds: Sequence[int],
    num_episodes: int,
    deterministic: bool,
    purpose: Sequence[str | int] = ("evaluation",),
    watch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """`num_episodes` episodes a seed by `agent.predict`, on `batch` of S × K sub-environments.

    Episode e of seed s begins from a stream of its own, derived from s, e and `purpose`, and every slot plays a
    fixed share of the episodes: short ones are not over-represented, and no other stream is touched. `watch` is
    called after every step with the length of the longest running episode and its seed.
    """
    num_seeds = len(seeds)
    action_space = batch.action_space
    streams = Streams(seeds, *purpose, "policy")
    num_slots = evaluation_slots(num_episodes)
    shape = (num_seeds, num_slots)
    wanted = (*shape, *(action_space.shape or ()))
    episode = np.tile(np.arange(num_slots), num_seeds)  # which episode each slot plays
    row = np.repeat(np.arange(num_seeds), num_slots)

    def begin(index: np.ndarray) -> np.ndarray:
        first = batch.reset(index, [env_seed(seeds[row[i]], *purpose, int(episode[i])) for i in index])
        try:
            check_numbers(first, np.zeros(len(index)))
        except EnvironmentFailed as failure:
            raise EnvironmentFailed(int(index[failure.index]), failure.what) from None
        return first

    returns, lengths = np.zeros((num_seeds, num_episodes)), np.zeros((num_seeds, num_episodes), np.int64)
    active = np.ones(num_seeds * num_slots, bool)
    running_return, running_length = np.zeros(len(active)), np.zeros(len(active), np.int64)
    try:
        obs = begin(np.arange(len(active)))
        while active.any():
            action = agent.predict(obs.reshape(*shape, *obs.shape[1:]), streams, deterministic)
            check_actions(action, wanted, action_space, "predict")
            flat = to_env(action.reshape(len(active), *action.shape[2:]), action_space)
            obs, reward, terminated, truncated = batch.step(flat, active)
            check_numbers(obs, reward, active)
            running_return[active] += reward[active]
            running_length[active] += 1
            ended = np.flatnonzero((terminated | truncated) & active)
            if len(ended):
                returns[row[ended], episode[ended]] = running_return[ended]
                lengths[row[ended], episode[ended]] = running_length[ended]
                running_return[ended], running_length[ended] = 0.0, 0
                episode[ended] += num_slots
                again = ended[episode[ended] < num_episodes]
                active[ended[episode[ended] >= num_episodes]] = False
                obs = obs.copy()
                if len(again):
                    obs[again] = begin(again)
            if watch is not None:
                longest = int(running_length.argmax())
                watch(int(running_length[longest]), seeds[row[longest]])
    except EnvironmentFailed as failure:
        seed = seeds[failure.index // num_slots]
        raise EvaluationFailed(f"the environment {failure.what} (evaluation, seed {seed})") from failure
    return Evaluation(returns, lengths)


class LongEpisodeWarning:
    """Watches an evaluation: tells, once, of an episode that runs on and on.

    Without a time limit the episode of a policy that walks in a circle never ends.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn, self._told = warn, False

    def __call__(self, longest: int, seed: int) -> None:
        if longest < LONG_EPISODE or self._told:
            return
        self._told = True
        self._warn(
            f"an episode of seed {seed} has not ended after {longest:,} env steps (evaluation); where the environment "
            "has no time limit, --env-kwargs max_episode_steps=N (or a card's kwargs) gives it one"
        )


def evaluation_slots(num_episodes: int) -> int:
    """How many sub-environments a seed are stepped together: a function of the number of episodes alone."""
    return min(num_episodes, 100)


def evaluation_metrics(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The metrics of an evaluation by tag, `[S]`."""
    return {
        "eval/mean_reward": evaluation.episode_return.mean(1),
        "eval/mean_ep_length": evaluation.episode_length.mean(1),
    }


def check_acted(acted: Any) -> tuple[Any, Any]:
    """`AgentFault` where an agent's `act` gave no pair."""
    if not isinstance(acted, tuple) or len(acted) != 2:
        raise AgentFault(
            f"the agent's act gives {kind_of(acted)}, not a pair: actions [S, N, ...], extras ({{}}: none)"
        )
    return acted


def check_metrics(metrics: Mapping[str, Any], num_seeds: int) -> None:
    """`AgentFault` where a metric of `update` is not one number a seed."""
    if not isinstance(metrics, Mapping):
        raise AgentFault(
            f"the agent's update gives {type(metrics).__name__}, not metrics by tag (an empty dict for none)"
        )
    for tag, value in metrics.items():
        check_tag(tag)
        shape = list(getattr(value, "shape", ()))
        if shape != [num_seeds]:
            raise AgentFault(f"the agent's update gives the metric {tag!r} of shape {shape}, not [{num_seeds}]: [S]")


def check_tag(tag: str) -> None:
    """`AgentFault` where the name of a metric would break the rows of metrics.csv."""
    if not isinstance(tag, str) or not tag.isprintable() or set(tag) & set(',"'):
        raise AgentFault(f"the agent gives a metric called {tag!r}: expected a text without commas or quotes")


def took_no_part(metrics: Mapping[str, np.ndarray], num_seeds: int) -> np.ndarray:
    """`[S]`: the seeds that an update left out: all their `losses/` are NaN (all metrics, where no tag begins so)."""
    losses = [value for tag, value in metrics.items() if tag.startswith("losses/")] or list(metrics.values())
    return np.logical_and.reduce(np.isnan(losses)) if losses else np.zeros(num_seeds, bool)


def as_arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors by name, of any device, as arrays."""
    return {
        tag: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        for tag, value in tensors.items()
    }
