"""`rlrepro proofs`: what has been shown of each agent, as one Markdown table.

The table has no claim of its own: spaces are found by building the agent, learning and claims are read from the
committed results of reproductions, agreement with other code from what the differential tests measured last.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.agent import Setup, UnsupportedSpace
from rlrepro.cards import Claim, load_card
from rlrepro.errors import Problem
from rlrepro.flags import Parser
from rlrepro.plugins import find_agent, installed
from rlrepro.results import read_results
from rlrepro.scoreboard import insert
from rlrepro.stats import mean_interval, welch
from rlrepro.verdict import WORDS, Verdict, judge

BEGIN, END = "<!-- proofs -->", "<!-- /proofs -->"
HEAD = ("agent", "algorithm", "actions", "images", "seeds", "equal to", "learns", "claims")
_PEER = "sb3:"


@dataclasses.dataclass(frozen=True)
class Learned:
    """What an agent reached on a task, and what its peer reached there with the same settings."""

    environment: str
    values: np.ndarray  #: a number a seed
    peer: np.ndarray  #: empty where there is none
    card: str

    @property
    def is_below(self) -> bool:
        """Whether it is below its peer with significance, 5 %, two-sided."""
        if min(len(self.values), len(self.peer)) < 2 or not (self.values.std() or self.peer.std()):
            return False
        return bool(self.values.mean() < self.peer.mean() and welch(self.values, self.peer).p_difference < 0.05)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser(prog="rlrepro proofs", description="What has been shown of each agent, as one table.")
    add = parser.add_argument
    add("agents", nargs="*", metavar="AGENT", help="agents (all that are installed)")
    add("--experiments", type=Path, default=Path("experiments"), metavar="FOLDER", help="reproductions (experiments)")
    add("--agreement", type=Path, default=Path("docs/agreement.json"), metavar="FILE",
        help="what the differential tests measured (docs/agreement.json)")  # fmt: skip
    add("--write", type=Path, metavar="FILE", help=f"put it into FILE, between {BEGIN} and {END}")
    asked = parser.parse_args(arguments)
    names = asked.agents or list(installed("agents"))
    text = table(names, asked.experiments, agreement(asked.agreement))
    if asked.write is None:
        print(text)
        return 0
    print(f"{asked.write}: {'written' if insert(asked.write, text, BEGIN, END) else 'up to date'}")
    return 0


def table(names: Sequence[str], experiments: Path, agreed: Mapping[str, Mapping[str, float]]) -> str:
    """The table, a row an agent."""
    found = reproductions(experiments)
    rows = [[*described(name), _agreed(agreed.get(name, {})), *_shown(found.get(name, []))] for name in names]
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def described(name: str) -> list[str]:
    """Name, algorithm, actions, images and seeds."""
    source = find_agent(name)
    agent_class = source.load()
    text = (sys.modules[agent_class.__module__].__doc__ or agent_class.__doc__ or "").strip()
    algorithm = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    actions = [kind for kind, space in _ACTIONS.items() if _serves(agent_class, _OBSERVATIONS, space)]
    images = _serves(agent_class, [_IMAGE], _ACTIONS[actions[0]] if actions else _ACTIONS["discrete"])
    stacked = "stacked" if getattr(agent_class, "stackable", True) else "a process each"
    return [f"`{name}`", algorithm, ", ".join(actions) or "none", "yes" if images else "no", stacked]


def _serves(agent_class: type[Any], observations: Sequence[Any], action: Any) -> bool:
    """Whether it can be built for one of these observation spaces and this action space."""
    for observation in observations:
        kind = type(action).__name__
        presets = getattr(agent_class, "PRESETS", {})
        values = {**presets.get("*", {}), **presets.get(kind, {})}
        fields = {field.name for field in dataclasses.fields(agent_class.Config)}
        config = agent_class.Config(**{name: value for name, value in values.items() if name in fields})
        try:
            agent_class(Setup(observation, action, (0, 1), int(values.get("num_envs", 1)), 1000), config)
        except UnsupportedSpace:
            continue
        return True
    return False


def _spaces() -> tuple[list[Any], dict[str, Any], Any]:
    from gymnasium.spaces import Box, Discrete

    return (
        [Box(-1.0, 1.0, (3,), np.float32), Discrete(5)],
        {"discrete": Discrete(2), "continuous": Box(-1.0, 1.0, (2,), np.float32)},
        Box(0, 255, (4, 84, 84), np.uint8),
    )


_OBSERVATIONS, _ACTIONS, _IMAGE = _spaces()


def agreement(file: Path) -> dict[str, dict[str, float]]:
    """`{agent: {what it was compared with: worst relative error}}`; empty where the file is not there."""
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(a): {str(b): float(e) for b, e in with_.items()} for a, with_ in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise Problem(f"{file} is no record of agreement: {error}") from None


def _agreed(found: Mapping[str, float]) -> str:
    return "; ".join(f"{what} ({error:.0e})" for what, error in sorted(found.items())) or "no independent code is known"


def reproductions(experiments: Path) -> dict[str, list[tuple[Verdict, Learned | None]]]:
    """The verdicts of each agent over all reproductions, and what it learnt."""
    found: dict[str, list[tuple[Verdict, Learned | None]]] = {}
    for file in sorted(experiments.glob("*/results/results.json")):
        card = load_card(str(file.parent.parent / "card.toml"))
        verdicts = judge(card, read_results(file.parent)).verdicts
        for verdict in verdicts:
            if isinstance(verdict.claim, Claim):
                agent = card.implementations[verdict.claim.implementation].agent
                peers = [v for v in verdicts if _is_peer(card, v, verdict.claim)]
                found.setdefault(agent, []).append((verdict, _learned(verdict, peers, card.name)))
    return found


def _is_peer(card: Any, verdict: Verdict, claim: Claim) -> bool:
    """Whether a verdict is of Stable-Baselines3's agent, on the same published number."""
    other = verdict.claim
    return (
        isinstance(other, Claim)
        and other.id != claim.id
        and card.implementations[other.implementation].agent.startswith(_PEER)
        and (other.environments, other.protocol, other.reported) == (claim.environments, claim.protocol, claim.reported)
    )


def _learned(verdict: Verdict, peers: Sequence[Verdict], card: str) -> Learned | None:
    if verdict.score is None or not verdict.score.per_seed:
        return None
    peer = next((p.score.values for p in peers if p.score is not None and p.score.per_seed), np.empty(0))
    return Learned(", ".join(verdict.claim.environments), verdict.score.values, peer, card)


def _shown(found: Sequence[tuple[Verdict, Learned | None]]) -> list[str]:
    """The cells of what it learns and of its claims."""
    learned = [one for _, one in found if one is not None]
    counts = {word: sum(verdict.word == word for verdict, _ in found) for word in WORDS}
    claims = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return ["; ".join(_best(learned)) or "not measured yet", claims or "no card yet"]


def _best(learned: Sequence[Learned]) -> Iterator[str]:
    """A text a task: the results with a peer before those without, then the highest mean."""
    tasks = sorted({one.environment for one in learned})
    for task in tasks:
        one = max((o for o in learned if o.environment == task), key=lambda o: (len(o.peer) > 0, o.values.mean()))
        interval = mean_interval(one.values)
        text = f"{task} {one.values.mean():.4g}"
        if interval.low is not None and interval.high is not None:
            text += f" [{interval.low:.4g}, {interval.high:.4g}]"
        text += f" ({len(one.values)} seeds)"
        if len(one.peer):
            text += f", sb3 {one.peer.mean():.4g}" + (" **below**" if one.is_below else "")
        yield text
