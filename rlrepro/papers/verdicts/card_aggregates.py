"""Each agent over all tasks of a card: normalised scores with intervals, and who beats whom."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np

from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim
from rlrepro.papers.scoring import score
from rlrepro.papers.stats import aggregates
from rlrepro.papers.units.results import Results
from rlrepro.papers.units.unit import unit_name


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """One agent over a card's tasks: normalised scores (0: random, 1: best), with intervals."""

    agent: str
    tasks: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]  #: one tuple a task, a value a seed
    estimates: Mapping[str, stats.Estimate]
    thresholds: tuple[float, ...]
    profile: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Improvement:
    """The probability that a run of `better` beats one of `worse` on the tasks that both have."""

    better: str
    worse: str
    tasks: tuple[str, ...]
    estimate: stats.Estimate


def of_agents(card: Card, results: Results) -> tuple[tuple[Aggregate, ...], tuple[Improvement, ...], list[str]]:
    """Normalised scores of each agent over those of the card's tasks that say what a random and the best policy get.

    Of several claims on one task the one that looks furthest into the run counts. Where one agent is on the card twice
    for a task, its implementations stand apart. A task of which a seed has no score is left out, and a note says so:
    those that survived would speak for all.
    """
    looked_at: set[str] = set()
    left_out: list[str] = []
    by_agent: dict[str, dict[str, np.ndarray]] = {}
    names = _names(card)
    for claim in sorted(_claims_of_agents(card), key=lambda c: -(card.protocols[c.protocol].to_step or math.inf)):
        environment = card.environments[claim.environments[0]]
        name = unit_name(claim.implementation, environment.name)
        unit = results.units.get(name)
        if (
            unit is None
            or name in looked_at
            or claim.aggregate
            or environment.random is None
            or card.protocols[claim.protocol].of != "return"
        ):
            continue
        looked_at.add(name)
        scored = score(card.protocols[claim.protocol].scaled(results.scale), unit.histories, unit.planned)
        if scored.missing:
            left_out.append(f"{name} is in no aggregate: {scored.missing_text}.")
        elif scored.per_seed:
            tasks = by_agent.setdefault(names[claim.implementation], {})
            tasks.setdefault(environment.name, np.array([environment.normalised_score(v) for v in scored.values]))
    made = []
    for agent, tasks in by_agent.items():
        if any(len(values) < 2 for values in tasks.values()):
            continue
        scores = list(tasks.values())
        top = max(1.0, *(float(values.max()) for values in scores))
        thresholds = np.linspace(0.0, math.ceil(top * 10) / 10, 101)
        generator = np.random.default_rng(aggregates.BOOTSTRAP_SEED)
        estimates = aggregates.aggregates(scores, generator)
        profile = aggregates.profile_estimate(scores, thresholds, generator)
        made.append(
            Aggregate(agent, tuple(tasks), tuple(map(tuple, scores)), estimates, tuple(thresholds.tolist()), profile)
        )
    improvements = []
    for one, other in itertools.combinations(made, 2):
        common = [task for task in one.tasks if task in other.tasks]
        if not common:
            continue
        x, y = ([np.array(side.scores[side.tasks.index(task)]) for task in common] for side in (one, other))
        estimate = aggregates.improvement_estimate(x, y, np.random.default_rng(aggregates.BOOTSTRAP_SEED))
        improvements.append(Improvement(one.agent, other.agent, tuple(common), estimate))
    return tuple(made), tuple(improvements), left_out


def _claims_of_agents(card: Card) -> list[Claim]:
    return [claim for claim in card.claims if not claim.measurement]


def _names(card: Card) -> dict[str, str]:
    """What each implementation is called in the aggregates: its agent, where that says which."""
    where: dict[tuple[str, str], set[str]] = {}
    for claim in _claims_of_agents(card):
        for environment in claim.environments:
            agent = card.implementations[claim.implementation].agent
            where.setdefault((agent, environment), set()).add(claim.implementation)
    twice = {agent for (agent, _), several in where.items() if len(several) > 1}
    return {name: name if one.agent in twice else one.agent for name, one in card.implementations.items()}
