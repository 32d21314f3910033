"""`rlrepro published`: the book of published results, asked and shown."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlrepro.errors import Problem
from rlrepro.flags import Parser, whole_number
from rlrepro.papers.book.published import (
    BOOK,
    Book,
    Published,
    base_name,
    load_book,
    load_traps,
    short,
    version,
    write_book,
)
from rlrepro.papers.spreads import SPREADS


def main(arguments: Sequence[str]) -> int:
    """`rlrepro published`; the exit status."""
    if arguments[:1] == ["convert"]:
        return _convert(arguments[1:])
    if arguments[:1] == ["traps"]:
        about = "Print docs/metric-traps.md: why two published numbers with one name are often two things."
        Parser(prog="rlrepro published traps", description=about).parse_args(arguments[1:])
        print(traps_page(), end="")
        return 0
    parser = Parser(
        prog="rlrepro published",
        description="What papers and projects have published.",
        epilog="rlrepro published traps: why two numbers with one name are often two things. "
        "rlrepro published convert FILE: bring numbers of your own into a book.",
    )
    parser.add_argument("id", nargs="?", help="show this one number in full")
    parser.add_argument("--env", metavar="ENV", help="an environment's id or base name: Hopper-v5, Hopper")
    parser.add_argument("--agent", metavar="AGENT", help="an algorithm: td3, sb3:ppo")
    parser.add_argument("--paper", metavar="TEXT", help="a part of the source's name, citation or id")
    parser.add_argument("--limit", type=whole_number(1, 100_000), metavar="N", help="rows to show (20; of --json all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--book", type=Path, default=BOOK, metavar="FILE", help="another book (.jsonl; the package's own)"
    )
    asked = parser.parse_args(arguments)
    book = load_book(asked.book)
    if asked.id is not None:
        if asked.env or asked.agent or asked.paper:
            raise Problem("an id names one number: leave --env, --agent and --paper out")
        rows = [book.get(asked.id, ("traps", "convert"))]
    elif not (asked.env or asked.agent or asked.paper):
        if asked.json:
            rows = list(book.rows)
        else:
            _show_sources(book)
            return 0
    else:
        rows = book.ask(asked.env, asked.agent, asked.paper)
    if asked.json:
        print(json.dumps([row.to_table() for row in rows[: asked.limit]], ensure_ascii=False, indent=2))
    elif asked.id is not None:
        _show_one(rows[0])
    else:
        _show(rows, asked.env, asked.limit or 20)
    return 0


def _convert(arguments: Sequence[str]) -> int:
    from rlrepro.papers.book.convert import convert

    parser = Parser(
        prog="rlrepro published convert",
        description="Bring TOML files of published numbers into a book; rows of the same id are replaced.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="TOML files with [[result]] tables")
    parser.add_argument("--into", type=Path, default=BOOK, metavar="BOOK", help="the book (.jsonl; the package's own)")
    asked = parser.parse_args(arguments)
    if asked.into.suffix != ".jsonl":
        raise Problem(f"--into {asked.into}: a book is a .jsonl file")
    new = convert(asked.files, load_traps())
    old = load_book(asked.into).rows if asked.into.exists() else ()
    rows = {row.id: row for row in (*old, *new)}
    write_book(rows.values(), asked.into)
    print(f"{len(new):,} rows read, {len(rows):,} in {asked.into}")
    return 0


def _console() -> Console:
    return Console(highlight=False)


def _show_sources(book: Book) -> None:
    console = _console()
    counts = Counter(row.paper for row in book.rows)
    for paper, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        console.print(f"{count:>6,}  {paper}", markup=False)
    console.print(f"{len(book.rows):>6,}  numbers: rlrepro published --env ENV --agent AGENT shows them")


def _show(rows: Sequence[Published], env: str | None, limit: int) -> None:
    """A table where there is room for one, else some lines a row; then what a reader must know of them."""
    console = _console()
    shown = rows[:limit]
    if console.width >= 120:
        _show_table(shown, console)
    else:
        for row in shown:
            console.print(f"{row.value()}  {row.algorithm} on {row.env}", style="bold", markup=False)
            spread = f"; ± {row.spread_kind}" if row.has_spread else ""
            for text in (row.label, f"{row.size()}{spread}", row.protocol.describe(), row.id):
                for line in textwrap.wrap(text, max(20, console.width - 4), break_on_hyphens=False):
                    console.print(f"    {line}", markup=False, soft_wrap=True)
    if len(rows) > len(shown):
        console.print(f"{len(rows) - len(shown):,} more: --limit {len(rows)}", style="dim")
    for name, count in Counter(name for row in shown for name in row.traps).items():
        text = load_traps().cautions[name].text
        console.print(f"note ({count} row{'s' * (count > 1)}): {text}", style="yellow", markup=False)
    for text in _version_notes(shown, env):
        console.print(f"version: {text}", style="yellow", markup=False)


def _show_table(rows: Sequence[Published], console: Console) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("algorithm", "env", "steps", "mean ± spread", "seeds", "protocol", "source, id"):
        table.add_column(column, justify="right" if column in ("steps", "seeds") else "left")
    for row in rows:
        kind = f"\n({row.spread_kind})" if row.has_spread else ""
        cells = (
            f"{row.algorithm}\n{row.variant}" if row.variant else row.algorithm,
            row.env,
            "?" if row.steps is None else short(row.steps),
            row.value() + kind,
            "?" if row.seeds is None else str(row.seeds),
            row.protocol.describe(),
            f"{row.paper}\n{row.id}",
        )
        table.add_row(*map(Text, cells))
    console.print(table)


def _version_notes(rows: Sequence[Published], env: str | None) -> list[str]:
    """What changed between the versions that the rows and the question name."""
    versions: dict[str, set[int]] = {}
    for name in (*(row.env for row in rows), *([env] if env else [])):
        if (number := version(name)) is not None:
            versions.setdefault(base_name(name), set()).add(number)
    notes = []
    for base, numbers in versions.items():
        _, changes = load_traps().between(base, min(numbers), max(numbers))
        for one in changes:
            verdict = "comparable" if one.same else "NOT comparable"
            notes.append(f"{base} -v{one.first} and -v{one.second}: {verdict}; {one.change}")
    return notes


def _show_one(row: Published) -> None:
    console = _console()
    seeds = ", ".join(f"{value:g}" for value in row.per_seed)
    kind = row.spread_kind if row.has_spread else "none"
    facts = {
        "id": row.id,
        "paper": row.paper,
        "citation": row.citation,
        "algorithm": row.algorithm,
        "variant": row.variant,
        "environment": row.env + (f" ({row.env_note})" if row.env_note else ""),
        "steps": "not stated" if row.steps is None else f"{row.steps:,}{' frames' * row.frames}",
        "seeds": "not stated" if row.seeds is None else str(row.seeds),
        "value": row.value(),
        "spread": SPREADS[kind] if kind == "none" else f"{kind}: {SPREADS[kind]}",
        "per seed": seeds,
        "protocol": row.protocol.describe(),
        "of which": row.protocol.note if row.protocol.statistic != "other" else "",
        "where": row.where,
        "read from": row.read_from,
        "hyperparameters": row.hyperparameters,
    }
    for name, text in facts.items():
        if text:
            console.print(f"{name:<16} {text}", markup=False, soft_wrap=True)
    for text in row.warnings:
        console.print(f"{'note':<16} {text}", style="yellow", markup=False, soft_wrap=True)


def traps_page() -> str:
    """docs/metric-traps.md."""
    traps = load_traps()
    lines = [
        "# Metric traps\n",
        "\n",
        "Two published numbers with one name are often two things. Each trap below was met in a real source. A\n",
        "number in the book (`rlrepro published`) carries its own protocol and the kind of its spread; where that is\n",
        "not enough, it carries a warning. `rlrepro.papers.protocol.refuse` keeps a score by one protocol from\n",
        "answering a claim by another. This page is made from `rlrepro/papers/book/data/traps.toml`:\n",
        "\n",
        "```bash\n",
        "rlrepro published traps > metric-traps.md\n",
        "```\n",
        "\n",
        "## The traps, one by one\n",
        "\n",
        "| | trap | handled by | how | rows |\n",
        "| --- | --- | --- | --- | --- |\n",
    ]
    for number, trap in enumerate(traps.traps, 1):
        rows = ", ".join(f"`{row}`" for row in trap.rows) or "none"
        lines.append(f"| {number} | {trap.title} | {trap.by} | {trap.handled} | {rows} |\n")
    lines += [
        "\n",
        "*Protocol*: the row's protocol says it. *Spread*: the kind of its spread does. *Caution*: the row carries a\n",
        "warning. *Version*: the list of versions below does. *Loop*: training here does not have the problem.\n",
        "\n",
        "## Warnings that rows carry\n",
        "\n",
        "| name | what a reader is told | compared? |\n",
        "| --- | --- | --- |\n",
    ]
    for name, caution in traps.cautions.items():
        lines.append(f"| `{name}` | {caution.text} | {f'no: {caution.bars}' if caution.bars else 'yes'} |\n")
    lines += [
        "\n",
        "## Kinds of spread\n",
        "\n",
        "| kind | what the ± is |\n",
        "| --- | --- |\n",
        *(f"| {kind} | {text} |\n" for kind, text in SPREADS.items()),
        "\n",
        "## Versions of environments\n",
        "\n",
        "A step that is not listed is not known, and numbers across it are compared with nothing.\n",
        "\n",
        "| environment | versions | comparable | what changed |\n",
        "| --- | --- | --- | --- |\n",
    ]
    for one in traps.versions:
        name = "MuJoCo tasks not listed for this step" if one.env == "mujoco" else one.env
        comparable = "with a caution" if one.same and one.tell else "yes" if one.same else "no"
        lines.append(f"| {name} | -v{one.first}, -v{one.second} | {comparable} | {one.change} |\n")
    lines += [
        "\n",
        "## Environments by themselves\n",
        "\n",
        "`rlrepro card check`, `rlrepro reproduce --plan` and a reproduction's page warn of these, and of each step\n",
        "above that is not comparable, or is with a caution, where a card's environment meets them.\n",
        "\n",
        "| environment | where | what to know |\n",
        "| --- | --- | --- |\n",
    ]
    for note in traps.notes:
        where = ", ".join(f"-v{one}" for one in note.versions) or f"`{note.argument}`"
        lines.append(f"| {note.env} | {where} | {note.note} |\n")
    return "".join(lines)
