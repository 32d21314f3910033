"""Measurements: numbers of a paper that are no returns of an agent, made by the function that its card names.

A function with seeds is given them in groups and keeps what each group gave, so that a run that is stopped loses one
group at most; what is there is never made again. A seed's number does not depend on the group that it is in: that is
the function's to keep, as it is an agent's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.agent import Metrics, Setup, Transition
from rlrepro.errors import Problem, one_line
from rlrepro.loop import Episode, EpisodeCounter, train
from rlrepro.papers.cards import Card
from rlrepro.papers.protocol import History
from rlrepro.papers.results import UnitResults
from rlrepro.papers.units import Unit
from rlrepro.plugins import EnvSource, MeasurementSource, find_env, find_measurement
from rlrepro.record import circumstances, now
from rlrepro.vector import VectorEnv

GROUP = 1_000  #: seeds that a function is given at a time


def measure(
    card: Card, unit: Unit, settings: Mapping[str, Any], seeds: Sequence[int], have: UnitResults | None,
    command: Sequence[str],
) -> Iterator[tuple[UnitResults | None, list[str]]]:  # fmt: skip
    """Measure the seeds that are lacking, group by group; after each, all that is known, or None and what is wrong."""
    source = find_measurement(settings["function"])
    arguments = _arguments(card, unit, source)
    histories = {h.seed: h for h in have.histories} if have else {}
    runs = list(have.runs) if have else []
    lacking = [seed for seed in seeds if seed not in histories]
    begun = {**circumstances(command), "status": "finished"}
    done: list[int] = []
    for first in range(0, len(lacking), GROUP):
        group = tuple(lacking[first : first + GROUP])
        try:
            values = call(source, arguments, group)
        except Problem as problem:
            yield None, [str(problem)]
            return
        done += group
        for seed, own in zip(group, values, strict=True):
            histories[seed] = History(seed, np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 0, measured=own)
        made = [*runs, {**begun, "seeds": list(done), "ended": now()}]
        yield UnitResults(settings, tuple(made), tuple(histories[s] for s in sorted(histories))), []


def call(source: MeasurementSource, arguments: Mapping[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """`[S, k]`: what the function gives for these seeds; of one that takes none, S is 1. `Problem` where it fails."""
    own = {"seeds": tuple(seeds)} if source.takes_seeds else {}
    try:
        given = source.function(**own, **arguments)
    except Problem:
        raise
    except Exception as error:
        raise Problem(f"{source.name} raised {one_line(error)}") from error
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise Problem(f"{source.name} gave a {type(given).__name__}, not numbers") from None
    if source.takes_seeds:
        if values.shape != (len(seeds),):
            raise Problem(f"{source.name} gave numbers of shape {values.shape}, not one for each of {len(seeds)} seeds")
        return values[:, None]
    if values.ndim > 1 or values.size == 0:
        raise Problem(f"{source.name} gave numbers of shape {values.shape}, not one or a row of them")
    return values.reshape(1, -1)


def _arguments(card: Card, unit: Unit, source: MeasurementSource) -> dict[str, Any]:
    measurement, environment = card.measurements[unit.implementation], card.environments[unit.environment]
    arguments = {name: one.value for name, one in measurement.hyperparameters.items()}
    if source.takes_env:
        arguments["env"] = find_env(environment.run, environment.kwargs, environment.wrappers)
    return arguments


# ------------------------------------------------------------------------------ training inside of a measurement


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
