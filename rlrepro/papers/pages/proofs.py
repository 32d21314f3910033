"""`rlrepro proofs`: what has been shown of each agent, and what each learns, as two Markdown tables.

The tables have no claim of their own: spaces are found by building the agent, learning and claims are read from the
committed results of reproductions, agreement with other code and probes from what was measured last.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from rlrepro import probe
from rlrepro.agent import Setup, UnsupportedSpace
from rlrepro.errors import Problem
from rlrepro.flags import Parser
from rlrepro.papers.book.published import agent_name
from rlrepro.papers.cards.card import Card, Claim, Implementation
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.markdown import show, table_row
from rlrepro.papers.pages.rows import number
from rlrepro.papers.stats import Welch, mean_interval, welch
from rlrepro.papers.verdicts.verdict import WORDS
from rlrepro.plugins.agents import find_agent, whole_agents

BEGIN, END = "<!-- proofs -->", "<!-- /proofs -->"
HEAD = ("agent", "algorithm", "actions", "images", "seeds", "probes", "equal to", "trained on", "claims")
LEARNING_HEAD = ("agent", "task", "env steps", "returns", "ours", "Stable-Baselines3", "ours − theirs", "reproduction")
_PEER = "sb3:"
_NO_CLAIM = "no reproduction yet"
_REFERENCE = "nothing: it is the reference"  #: what an agent learns to which no probe applies


@dataclasses.dataclass(frozen=True)
class Learned:
    """What an agent reached on a task, and what its peer reached there with the settings that both have."""

    environment: str
    folder: Path  #: of the reproduction that it was learnt in
    steps: int  #: env steps of a seed when it had reached it
    returns: str  #: which of them count: "training" or "evaluation"
    values: np.ndarray  #: a number a seed
    peer: np.ndarray  #: empty where there is none
    peer_has: str = ""  #: what the peer has and ours has not
    lost: int = 0  #: seeds of ours that have no number
    peer_lost: int = 0
    random: float | None = None  #: what a random policy has there, where the card says it

    @property
    def is_above_random(self) -> bool:
        """Whether it is above a random policy's return with its 95 % interval; where no seed differs, at all."""
        low = mean_interval(self.values).low if len(self.values) > 1 else None
        return self.random is not None and low is not None and low > self.random

    @property
    def is_whole(self) -> bool:
        """Whether every seed of both sides has a number: those that are left are no fair sample."""
        return not self.lost and not self.peer_lost

    @property
    def test(self) -> Welch | None:
        """Ours less its peer's; None without a peer, with a single seed, where a seed is lost or none differs."""
        if not self.is_whole:
            return None
        if min(len(self.values), len(self.peer)) < 2 or not (self.values.std() or self.peer.std()):
            return None
        return welch(self.values, self.peer)

    @property
    def is_below(self) -> bool:
        """Whether it is below its peer with significance, 5 %, two-sided; at all, where no seed of either differs."""
        if self.test is None:
            return (
                self.is_whole
                and min(len(self.values), len(self.peer)) > 1
                and bool(self.values.mean() < self.peer.mean())
            )
        return self.test.difference < 0 and self.test.p_difference < 0.05


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser(prog="rlrepro proofs", description="What has been shown of each agent, and what each learns.")
    add = parser.add_argument
    add("agents", nargs="*", metavar="AGENT", help="agents (all that are installed)")
    add("--experiments", type=Path, default=Path("experiments"), metavar="FOLDER", help="reproductions (experiments)")
    add("--agreement", type=Path, default=Path("docs/agreement.json"), metavar="FILE",
        help="what the differential tests measured (docs/agreement.json)")  # fmt: skip
    add("--probes", type=Path, default=Path("docs/probes.json"), metavar="FILE",
        help="what rlrepro probe --write kept (docs/probes.json)")  # fmt: skip
    add("--write", type=Path, metavar="FILE", help=f"put it into FILE, between {BEGIN} and {END}")
    asked = parser.parse_args(arguments)
    for path in (asked.experiments, asked.agreement, asked.probes):
        if not path.exists():
            raise Problem(f"there is no {path}: run this in a checkout after `make proofs`, or name another place")
    names, broken = (asked.agents, []) if asked.agents else whole_agents()
    if broken and asked.write:
        raise Problem(f"{'; '.join(broken)}: nothing is written, which would lack it")
    for why in broken:
        print(f"rlrepro: {why}", file=sys.stderr)
    found = reproductions(asked.experiments)
    shown = table(names, found, agreement(asked.agreement), probe.read(asked.probes))
    text = f"{shown}\n\n{learning_table(names, found, asked.write.parent if asked.write else Path())}"
    show(text, asked.write, BEGIN, END)
    return 0


def table(
    names: Sequence[str],
    found: Mapping[str, Sequence[Shown]],
    agreed: Mapping[str, Mapping[str, float]],
    probed: Mapping[str, Mapping[str, bool | None]],
) -> str:
    """What has been shown of each agent, a row an agent."""
    rows = []
    for name in names:
        on_probes = probed.get(name, {})
        learns = not on_probes or any(solved is not None for solved in on_probes.values())
        otherwise = "not compared yet" if learns else "nothing: it computes nothing"
        proved = _probed(on_probes), _agreed(agreed.get(name, {})) or otherwise
        learnt, claims = _counted(found.get(name, []))
        rows.append([*described(name), *proved, learnt if learns else _REFERENCE, claims])
    return _markdown(HEAD, rows)


def learning_table(names: Sequence[str], found: Mapping[str, Sequence[Shown]], beside: Path) -> str:
    """What each agent learns, a row an agent and task; links relative to `beside`."""
    rows = [_row(name, one, beside) for name in names for one in _a_task_each(found.get(name, []))]
    return _markdown(LEARNING_HEAD, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map(table_row, [head, ["---"] * len(head), *rows]))


def described(name: str) -> list[str]:
    """Name, algorithm, actions, images and seeds."""
    source = find_agent(name)
    agent_class = source.load()
    text = (sys.modules[agent_class.__module__].__doc__ or agent_class.__doc__ or "").strip()
    algorithm = re.split(r"\.\s+(?=[A-Z])", " ".join(text.partition("\n\n")[0].split()))[0].rstrip(".")
    refused = {kind: [_refusal(agent_class, one, space) for one in _OBSERVATIONS] for kind, space in _ACTIONS.items()}
    actions = [kind for kind, reasons in refused.items() if not all(reasons)]
    no_images = _refusal(agent_class, _IMAGE, _ACTIONS[actions[0]] if actions else _ACTIONS["discrete"])
    images = f"no: {no_images.partition(', not ')[0]}" if no_images else "yes"
    stacked = "stacked" if getattr(agent_class, "stackable", True) else "a process each"
    return [f"`{name}`", algorithm, ", ".join(actions) or "none", images, stacked]


def _refusal(agent_class: type[Any], observation: Any, action: Any) -> str:
    """Why it cannot be built for an observation and an action space, or ""."""
    config, values = probe.preset(agent_class, action)
    seeds = (0, 1) if getattr(agent_class, "stackable", True) else (0,)
    try:
        agent_class(Setup(observation, action, seeds, int(values.get("num_envs", 1)), 1000), config)
    except UnsupportedSpace as error:
        return str(error)
    return ""


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


def _probed(found: Mapping[str, bool | None]) -> str:
    """How many of the probes that apply are solved, and which are not."""
    if not found:
        return "not probed yet"
    applying = {name: solved for name, solved in found.items() if solved is not None}
    failed = [name for name, solved in applying.items() if not solved]
    text = f"{len(applying) - len(failed)} of {len(applying)}" if applying else "none applies"
    return f"{text} (**not** {', '.join(failed)})" if failed else text


def _agreed(found: Mapping[str, float]) -> str:
    return "; ".join(f"{what} ({error:.0e})" if error else f"{what} (exactly)" for what, error in sorted(found.items()))


@dataclasses.dataclass(frozen=True)
class Shown:
    """A claim of an agent: its verdict, and what was learnt for it."""

    word: str
    learned: Learned | None


def reproductions(experiments: Path) -> dict[str, list[Shown]]:
    """The claims of each agent over all reproductions that have a page."""
    found: dict[str, list[Shown]] = {}
    for file in sorted(experiments.glob("*/verdicts.json")):
        card = load_card(str(file.parent / "card.toml"))
        rows = {row["claim"]: row for row in _rows(file)}
        agents_own = [claim for claim in card.claims if not claim.measurement]
        for claim in card.claims:
            row = rows.get(claim.id, {})
            if claim.measurement:
                if agent := card.measurements[claim.measurement].agent:
                    found.setdefault(agent, []).append(Shown(row.get("verdict", "not run"), None))
                continue
            peers = [
                other for other in agents_own if _values(rows.get(other.id, {})).size and is_peer(card, other, claim)
            ]
            peer = min(peers, key=lambda other: bool(_lacking(card, other)), default=None)
            agent = card.implementations[claim.implementation].agent
            learned = _learned(file.parent, card, claim, row)
            if learned is not None and peer is not None:
                its = rows[peer.id]
                learned = dataclasses.replace(
                    learned, peer=_values(its), peer_has=_lacking(card, peer), peer_lost=len(its.get("missing", ()))
                )
            found.setdefault(agent, []).append(Shown(row.get("verdict", "not run"), learned))
    return found


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["verdicts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(
            f"{file} has no verdicts ({error}); rlrepro report {shlex.quote(str(file.parent))} writes them"
        ) from None


def is_peer(card: Card, other: Claim, claim: Claim) -> bool:
    """Whether another claim is of Stable-Baselines3's form of the agent, as long, on the same published number."""
    theirs, ours = (card.implementations[one.implementation] for one in (other, claim))
    if not theirs.agent.startswith(_PEER) or ours.agent.startswith(_PEER):
        return False

    def told(one: Claim, by: Implementation) -> tuple[Any, ...]:
        steps = by.hyperparameters["total_timesteps"].value
        return agent_name(by.agent), steps, one.environments, one.protocol, one.reported

    return told(other, theirs) == told(claim, ours)


def _lacking(card: Card, peer: Claim) -> str:
    """What a peer was trained with that no agent here has."""
    explores = card.implementations[peer.implementation].hyperparameters.get("use_sde")
    return "gSDE" if explores is not None and explores.value else ""


def _learned(folder: Path, card: Card, claim: Claim, row: Mapping[str, Any]) -> Learned | None:
    values, protocol = _values(row), card.protocol_of(claim)
    if not len(values) or protocol.of != "return":
        return None
    total = card.implementations[claim.implementation].hyperparameters["total_timesteps"].value
    steps = protocol.to_step or total
    lost = len(row.get("missing", ()))
    random = card.environments[claim.environments[0]].random if len(claim.environments) == 1 else None
    where = ", ".join(claim.environments)
    return Learned(where, folder, steps, protocol.returns, values, np.empty(0), lost=lost, random=random)


def _values(row: Mapping[str, Any]) -> np.ndarray:
    return np.array(list(row.get("per_seed", {}).values()), np.float64)


def _counted(found: Sequence[Shown]) -> tuple[str, str]:
    """The cells of what it learns and of its claims."""
    counts = {word: sum(one.word == word for one in found) for word in WORDS}
    claims = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    tasks = _a_task_each(found)
    if not tasks:
        return "no task yet" if counts["not run"] == len(found) else "no task: see its claims", claims or _NO_CLAIM
    known = [one for one in tasks if one.random is not None]
    trained = f"{len(tasks)} task{'s' * (len(tasks) != 1)}"
    if known:
        trained += f", above random on {sum(one.is_above_random for one in known)}"
        trained += f" of {len(known)}" * (len(known) != len(tasks))
    if peers := [one for one in tasks if len(one.peer)]:
        tested, below = [one for one in peers if one.is_whole], sum(one.is_below for one in peers)
        trained += f"; {len(peers)} beside Stable-Baselines3"
        trained += f", **below** on {below}" if below else ", none below" if tested else ""
        trained += f", {len(peers) - len(tested)} not tested" * (len(tested) < len(peers))
    return trained, claims


def _a_task_each(found: Sequence[Shown]) -> list[Learned]:
    """Of each task one: of a reproduction the latest, then those with a peer before others, then the highest mean."""
    latest: dict[tuple[str, Path], Learned] = {}
    learned = [shown.learned for shown in found if shown.learned is not None]
    for one in sorted(learned, key=lambda one: (one.steps, len(one.peer) > 0)):
        latest[one.environment, one.folder] = one
    best: dict[str, Learned] = {}
    for one in sorted(latest.values(), key=lambda one: (one.environment, len(one.peer) > 0, one.values.mean())):
        best[one.environment] = one
    return list(best.values())


def _row(name: str, one: Learned, beside: Path) -> list[str]:
    decimals = 3 if np.abs(one.values).max() < 10 else 1
    page = quote(Path(os.path.relpath(one.folder / "report.md", beside or ".")).as_posix())
    return [
        f"`{name}`",
        one.environment,
        f"{one.steps:,}",
        one.returns,
        _estimate(one.values, decimals, one.lost),
        _peer(name, one, decimals),
        _difference(one, decimals),
        f"[{one.folder.name}]({page})",
    ]


def _peer(name: str, one: Learned, decimals: int) -> str:
    """What Stable-Baselines3's form of an agent reached, or why there is nothing of it."""
    if len(one.peer):
        return _estimate(one.peer, decimals, one.peer_lost) + f" with {one.peer_has}" * bool(one.peer_has)
    try:
        find_agent(_PEER + name)
    except Problem:
        return "has none"
    return "not trained"


def _difference(one: Learned, decimals: int) -> str:
    """From its peer, with the 95 % interval where there is one."""
    if not len(one.peer):
        return "—"
    text = number(one.values.mean() - one.peer.mean(), decimals)
    if one.test is not None:
        bounds = (one.test.difference + sign * one.test.half_width for sign in (-1, 1))
        text += f" [{', '.join(number(bound, decimals) for bound in bounds)}]"
    text += ", not tested: seeds are lost, or have not run" * (not one.is_whole)
    return text + " **below**" * one.is_below


def _estimate(values: np.ndarray, decimals: int, lost: int) -> str:
    """Mean, 95 % interval and number of seeds."""
    interval = mean_interval(values)
    text = number(interval.value, decimals)
    if interval.low is not None and interval.high is not None:
        text += f" [{number(interval.low, decimals)}, {number(interval.high, decimals)}]"
    return f"{text} ({len(values)}{f' of {len(values) + lost}' if lost else ''})"
