"""`rlrepro score`: one source by every protocol side by side, so that it is seen how much the protocol matters."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from rlrepro.errors import Problem
from rlrepro.flags import Parser
from rlrepro.papers.importers import KINDS, ROLES, Group, load
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.scoring import Score, score

LAST_EPISODES = 100
LAST_EVALUATIONS = 10
PROTOCOLS = {
    f"last {LAST_EPISODES} training episodes": Protocol("training", last=LAST_EPISODES),
    "all training episodes": Protocol("training"),
    "last evaluation": Protocol("evaluation", last=1),
    f"mean of the last {LAST_EVALUATIONS} evaluations": Protocol("evaluation", last=LAST_EVALUATIONS),
    "max over time of the seeds' mean": Protocol("evaluation", "max of seed mean"),
    "mean of the seeds' maxima": Protocol("evaluation", "mean of seed maxima"),
    "area under the curve": Protocol("evaluation"),
    "final evaluation": Protocol("evaluation", "one agent"),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One protocol's number of one group."""

    name: str
    protocol: Protocol
    score: Score | None  #: None where it cannot be computed
    why: str = ""  #: why not, or a remark

    @property
    def population_sd(self) -> float:
        """Over seeds, divided by n; NaN with fewer than two."""
        return float(self.score.values.std()) if self.score and len(self.score.per_seed) > 1 else math.nan

    @property
    def sample_sd(self) -> float:
        """Over seeds, divided by n − 1; NaN with fewer than two."""
        return float(self.score.values.std(ddof=1)) if self.score and len(self.score.per_seed) > 1 else math.nan


def score_group(group: Group, protocol: Protocol) -> Score:
    """A group by a protocol. `Problem` where its points are not what the protocol counts.

    The last running mean of Stable-Baselines3 is the mean of the last hundred training episodes, once there were so
    many, and no other score.
    """
    if group.running is None or protocol.returns == "evaluation":
        return score(protocol, group.histories)
    if protocol.last != group.running or protocol.after_step is not None:
        raise Problem(f"{group.name} has running means of {group.running} episodes, not episodes")
    scored = score(dataclasses.replace(protocol, last=1), group.histories)
    points = {h.seed: h.episodes[h.episodes[:, 0] <= (protocol.to_step or math.inf), 0] for h in group.histories}
    few = {seed for seed in scored.per_seed if points[seed][-1] < group.full_from.get(seed, 0.0)}
    missing = {
        **scored.missing,
        **dict.fromkeys(sorted(few), f"it has fewer than the {group.running} episodes that count"),
    }
    per_seed = {seed: value for seed, value in scored.per_seed.items() if seed not in few}
    return dataclasses.replace(scored, protocol=protocol, per_seed=per_seed, missing=missing)


def score_all(group: Group) -> list[Line]:
    """A group by each of `PROTOCOLS`, as far as its data allow."""
    return [_line(group, name, protocol) for name, protocol in PROTOCOLS.items()]


def _line(group: Group, name: str, protocol: Protocol) -> Line:
    try:
        scored = score_group(group, protocol)
    except Problem as problem:
        return Line(name, protocol, None, str(problem))
    why = "" if scored.at_step is None else f"at env step {scored.at_step:,}"
    if scored.missing and len(set(scored.missing.values())) == 1 and not scored.per_seed:
        why = next(iter(scored.missing.values()))
    elif scored.missing:
        why = "; ".join(filter(None, (why, scored.missing_text)))
    return Line(name, protocol, scored, why)


def return_text(value: float | None) -> str:
    """A return as a table shows it: two decimals, more where it is small; nothing for NaN."""
    if value is None or math.isnan(value):
        return ""
    text = f"{value:.2f}" if value == 0 or 0.1 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "−")


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say how runs are read."""
    add = parser.add_argument
    add("--env", metavar="ENV", help="only this environment")
    add("--as", dest="kind", choices=tuple(KINDS), help="what the runs are (found out by looking at them)")
    add(
        "--column",
        action="append",
        default=[],
        type=_column,
        metavar="ROLE=NAME",
        help=f"a column of a CSV file or a tag of TensorBoard by its role ({', '.join(ROLES)}); "
        "kind=training, kind=evaluation or kind=final where no column says it; may be repeated",
    )


def _column(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROLE=NAME, as in return=mean_return")
    return role, name


def main(arguments: Sequence[str]) -> int:
    """`rlrepro score`; the exit status."""
    parser = Parser(
        prog="rlrepro score",
        description="Score one source by every protocol side by side.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help=f"{', '.join(KINDS.values())}, or a folder of these")
    add_source_flags(parser)
    asked = parser.parse_args(arguments)
    groups = load([asked.run], asked.kind, dict(asked.column), asked.env)
    for group in groups:
        _show(group)
    for note in dict.fromkeys(note for group in groups for note in group.notes):
        print(f"note: {note}")
    return 0


def _show(group: Group) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = f"{group.name} on {group.env}" if group.env else group.name
    count = len(group.histories)
    what = f" (each evaluation: {group.evaluation})" if group.evaluation else ""
    Console(highlight=False).print(Text(f"{title}: {count} seed{'s' * (count > 1)}{what}", "bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("protocol", overflow="fold")
    for column in ("mean", "population sd", "sample sd", "seeds"):
        table.add_column(column, justify="right", overflow="fold")
    remarks: dict[str, list[str]] = {}
    for line in score_all(group):
        if line.why:
            remarks.setdefault(line.why, []).append(line.name)
        if line.score and line.score.per_seed:
            cells = (return_text(line.score.mean), return_text(line.population_sd), return_text(line.sample_sd))
            table.add_row(*map(Text, (line.name, *cells, str(len(line.score.per_seed)))))
    if table.row_count:
        Console(highlight=False).print(table)
    for why, names in remarks.items():
        print(f"{', '.join(names)}: {why}")
    print()
