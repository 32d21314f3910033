"""`rlrepro compare RUN…`: runs of any origin against each other, by one protocol, and against published numbers."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem
from rlrepro.flags import MAX_STEPS, Parser, whole_number
from rlrepro.papers import stats
from rlrepro.papers.book.published import BOOK
from rlrepro.papers.compare.comparison import Beside, Comparison, Pair, Panel, Side, compare, published_number
from rlrepro.papers.compare.score import LAST_EPISODES, add_source_flags, return_text
from rlrepro.papers.importers import KINDS, load
from rlrepro.papers.importers.found import COMPARED
from rlrepro.papers.markdown import md, table_row
from rlrepro.papers.protocol import STATISTICS, Protocol

STATISTIC_FLAGS = {name.replace(" ", "-"): name for name in STATISTICS if name not in ("one agent", "other")}


@dataclasses.dataclass(frozen=True)
class _Table:
    title: str
    columns: tuple[str, ...]  #: the first is a label, the others numbers
    rows: tuple[tuple[str, ...], ...]


def _tables(panel: Panel, threshold: float | None) -> list[_Table]:
    made = []
    if panel.protocol is not None and panel.sides:
        columns = ("", "seeds", "mean", "95 % interval", "sd", "IQM")
        made.append(_Table(stats.capital(panel.protocol.describe()), columns, tuple(map(_side_row, panel.sides))))
        if threshold is not None:
            title = f"Env steps until {_watched(panel.protocol)} first reached {threshold:g}"
            rows = [(side.label, *_reached_row(side.reached or {})) for side in panel.sides]
            made.append(_Table(title, ("", "reached", "median", "earliest", "latest"), tuple(rows)))
    if panel.pairs:
        columns = ("pair", "difference", "95 % interval", "p", "p (Holm)", "P(better)")
        made.append(_Table("Each pair, first − second", columns, tuple(map(_pair_row, panel.pairs))))
    if panel.beside:
        columns = ("published", "reported", "runs", "measured", "difference", "p (Holm)")
        made.append(_Table("Beside published numbers", columns, tuple(map(_beside_row, panel.beside))))
    return made


def _side_row(side: Side) -> tuple[str, ...]:
    have, all_ = len(side.score.per_seed), len(side.group.histories)
    return (
        side.label, str(all_) if have == all_ else f"{have} of {all_}", return_text(side.score.mean),
        _interval(side.interval), return_text(side.sd), return_text(side.iqm),
    )  # fmt: skip


def _watched(protocol: Protocol) -> str:
    """What is held against a threshold."""
    if protocol.returns == "evaluation":
        return "an evaluation"
    return f"the mean of {protocol.last or LAST_EPISODES:,} training episodes"


def _reached_row(reached: Mapping[int, int | None]) -> tuple[str, ...]:
    """How many seeds reached the threshold; the median over all, those that never did being last; the range."""
    steps = [step for step in reached.values() if step is not None]
    median = float(np.median([math.inf if step is None else step for step in reached.values()]))
    middle = f"{median:,.0f}" if math.isfinite(median) else "half or more never did"
    ends = (f"{min(steps):,}", f"{max(steps):,}") if steps else ("", "")
    return (f"{len(steps)} of {len(reached)}", middle if steps else "never", *ends)


def _pair_row(pair: Pair) -> tuple[str, ...]:
    estimate = pair.improvement
    chance = f"{estimate.value:.2f}"
    if estimate.low is not None:
        chance += f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    interval = _range(pair.low, pair.high)
    return (
        f"{pair.a} − {pair.b}", return_text(pair.difference), interval, "" if pair.p is None else stats.p_text(pair.p),
        "" if pair.p_holm is None else stats.p_text(pair.p_holm), chance,
    )  # fmt: skip


def _beside_row(one: Beside) -> tuple[str, ...]:
    reported = return_text(one.number.reported.mean)
    if one.number.reported.spread is not None:
        reported += f" ± {return_text(one.number.reported.spread)}"
    if one.score is None:
        return one.number.row.id, reported, one.label, "not comparable", "", ""
    if isinstance(one.test, stats.Acceptance):
        difference = f"{one.test.reached} of {one.test.seeds} seeds reach it"
    else:
        difference = return_text(one.score.mean - one.number.reported.center)
        if one.test is not None and one.test.low is not None and math.isfinite(one.test.low):
            difference += f" {_range(one.test.low, one.test.high)}"
    return (
        one.number.row.id, reported, one.label, return_text(one.score.mean), difference,
        "" if one.p_holm is None else stats.p_text(one.p_holm),
    )  # fmt: skip


def _notes(panel: Panel) -> list[str]:
    notes = list(panel.notes)
    for one in panel.beside:
        about = f"{one.number.row.id} ({one.number.label}; {one.number.row.protocol.describe()})"
        notes.append(about + (f" and {one.label} cannot be compared: {one.why}." if one.why else "."))
        notes += [f"{one.number.row.id} and {one.label}: {caveat}." for caveat in one.caveats]
    return list(dict.fromkeys(notes))


def _interval(estimate: stats.Estimate | None) -> str:
    return "" if estimate is None else _range(estimate.low, estimate.high)


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{return_text(low)}, {return_text(high)}]"


def as_markdown(comparison: Comparison) -> str:
    """The comparison as a page."""
    lines = ["# Comparison", ""]
    for panel in comparison.panels:
        lines += [f"## {md(panel.title)}", ""]
        for table in _tables(panel, comparison.threshold):
            lines += [
                f"{md(table.title)}:",
                "",
                table_row(table.columns),
                table_row(["---", *["---:"] * (len(table.columns) - 1)]),
            ]
            lines += [table_row([md(cell) for cell in row]) for row in table.rows] + [""]
        notes = _notes(panel)
        lines += [f"- {md(note)}" for note in notes] + [""] * bool(notes)
    lines += [*_METHODS, "", "![Curves](compare.svg)", ""]
    return "\n".join(lines)


_METHODS = (
    "Means are over seeds, with their t interval; sd is the sample standard deviation over seeds, IQM the",
    "interquartile mean. Pairs are tested by a Welch test whose variances are guarded against a few seeds that look",
    "alike by chance, corrected by Holm over all pairs; the probability that a seed of the first beats one of the",
    f"second has its bootstrap interval where both have {stats.MIN_SEEDS} seeds.",
)


def as_csv(comparison: Comparison) -> str:
    """A row for each seed: its score, or why it has none, and when it reached the threshold."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COMPARED)
    for panel in comparison.panels:
        for side in panel.sides:
            about = (panel.env, side.label, side.group.source, side.score.protocol.describe())
            for history in side.group.histories:
                value = side.score.per_seed.get(history.seed)
                reached = (side.reached or {}).get(history.seed)
                missing = side.score.missing.get(history.seed, "")
                cells = ("" if value is None else repr(value), missing, "" if reached is None else reached)
                writer.writerow((*about, history.seed, *cells))
    return out.getvalue()


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write compare.md, compare.csv and compare.svg; the same bytes every time."""
    from rlrepro.papers.compare.figure import draw

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"--into {folder}: {error.strerror}") from None
    written = []
    for name, data in (
        ("compare.md", as_markdown(comparison).encode()),
        ("compare.csv", as_csv(comparison).encode()),
        ("compare.svg", draw(comparison)),
    ):
        write_whole(folder / name, data)
        written.append(folder / name)
    return written


# --- the command


def main(arguments: Sequence[str]) -> int:
    """`rlrepro compare`; the exit status."""
    asked = _parser().parse_args(arguments)
    protocol = _protocol(asked)
    published = [published_number(identity, asked.book) for identity in dict.fromkeys(asked.published)]
    groups = load(asked.runs, asked.kind, dict(asked.column), asked.env, asked.labels)
    comparison = compare(groups, protocol, published, asked.threshold)
    _show(comparison)
    if asked.into is not None:
        written = write(comparison, asked.into)
        print(f"written: {', '.join(map(str, written))}")
    return 0 if any(panel.sides or panel.beside for panel in comparison.panels) else 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="rlrepro compare",
        description="Hold runs of any origin against each other, and against published numbers.",
        epilog="Without a protocol: the last 100 training episodes where all have episodes, else the last evaluation.",
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help=f"{', '.join(KINDS.values())}, or a folder of these")
    add("--labels", nargs="+", metavar="LABEL", help="a name for each RUN; those of one name are one group")
    add_source_flags(parser)
    add("--returns", choices=("training", "evaluation"), help="what is scored")
    add("--statistic", choices=tuple(STATISTIC_FLAGS), help="what is made of it (mean)")
    add("--last", type=_last, metavar="N|all", help="how many episodes or evaluations count, the latest")
    add("--after-step", type=whole_number(0, MAX_STEPS), metavar="STEP", help="only what comes after this env step")
    add("--to-step", type=whole_number(1, MAX_STEPS), metavar="STEP", help="only what comes up to this env step")
    add("--threshold", type=_number, metavar="X", help="count the env steps until the score first reaches X")
    add("--published", nargs="+", default=[], metavar="ID", help="published numbers (rlrepro published lists them)")
    add("--book", type=Path, default=BOOK, metavar="FILE", help="the book that they are in (.jsonl; the package's own)")
    add("--into", type=Path, metavar="DIR", help="write compare.md, compare.csv and compare.svg there")
    return parser


def _protocol(asked: argparse.Namespace) -> Protocol | None:
    """The protocol that the flags name; None where there are none."""
    statistic = STATISTIC_FLAGS[asked.statistic or "mean"]
    if all(v is None for v in (asked.returns, asked.statistic, asked.last, asked.after_step, asked.to_step)):
        return None
    returns = asked.returns or ("training" if statistic == "mean" else "evaluation")
    last: int | None = asked.last or None
    if asked.last is None and statistic == "mean" and asked.after_step is None:
        last = LAST_EPISODES if returns == "training" else 1
    table: dict[str, Any] = {"returns": returns, "statistic": statistic, "last": last} | {
        name: getattr(asked, name) for name in ("after_step", "to_step")
    }
    return Protocol.from_table({name: value for name, value in table.items() if value is not None})


def _last(text: str) -> int:
    """How many points count; 0 for all."""
    return 0 if text == "all" else whole_number(1, MAX_STEPS)(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return value


def _show(comparison: Comparison) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for panel in comparison.panels:
        console.print(Text(panel.title, "bold"))
        for one in _tables(panel, comparison.threshold):
            console.print(Text(one.title), soft_wrap=True)
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for index, column in enumerate(one.columns):
                table.add_column(column, justify="right" if index else "left", overflow="fold")
            for row in one.rows:
                table.add_row(*map(Text, row))
            console.print(table)
        for note in _notes(panel):
            console.print(Text(f"note: {note}"), soft_wrap=True)
        console.print()
    if any(panel.pairs for panel in comparison.panels):
        console.print(" ".join(_METHODS), style="dim")
