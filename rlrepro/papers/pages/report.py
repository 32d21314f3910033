"""`rlrepro report FOLDER`: a reproduction's page, made of its card and results alone.

report.html   one file, nothing loaded from elsewhere
report.md     the verdicts as a table, for a README
badge.svg     the count of verdicts
verdicts.json the verdicts for other programs
figures/      every figure as SVG, and as PDF with --pdf

The same card and results give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem, count_of
from rlrepro.flags import Parser
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import own_cards
from rlrepro.papers.markdown import fenced, md, table_row
from rlrepro.papers.pages import provenance
from rlrepro.papers.pages.rows import SYMBOLS, again, commands, counts, coverages, listed, row_of, value_text
from rlrepro.papers.units.results import find_reproduction, open_reproduction
from rlrepro.papers.verdicts.verdict import Judgement, judge
from rlrepro.papers.verdicts.verdict_json import verdicts_json

_STYLES = {"reproduced": "green", "above": "blue", "below": "red", "inconclusive": "yellow"}


def main(arguments: Sequence[str]) -> int:
    """`rlrepro report`; the exit status."""
    parser = Parser(prog="rlrepro report", description="Write a reproduction's page from its card and results.")
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="with card.toml and results, a card of the kit, or the name of another in reproductions/",
    )
    parser.add_argument("--into", type=Path, metavar="DIR", help="where to write (FOLDER; of the kit's: reports/NAME)")
    parser.add_argument("--pdf", action="store_true", help="write every figure as PDF too")
    asked = parser.parse_args(arguments)
    folder, into = find_reproduction(asked.folder), asked.into
    if folder in (path.parent for path in own_cards()) and not Path(asked.folder).exists():
        into = into or Path("reports") / folder.name
    write_report(folder, show=True, into=into, pdf=asked.pdf)
    return 0


def write_report(folder: Path, show: bool = False, into: Path | None = None, pdf: bool = False) -> Judgement:
    """Judge `folder`'s card by its results and write the report there, or `into` another folder.

    `Problem` where the card or the results are not there, damaged, or not of one another.
    """
    from rlrepro.papers.pages import page

    judgement = judge(*open_reproduction(folder))
    html, drawings = page.render(judgement, pdf)
    into = into or folder
    files = {
        "report.html": html.encode(),
        "report.md": markdown(judgement, "overview" in drawings).encode(),
        "badge.svg": badge(judgement).encode(),
        "verdicts.json": verdicts_json(judgement),
    }
    for name, drawing in drawings.items():
        files[f"figures/{name}.svg"] = drawing.svg
        if drawing.pdf:
            files[f"figures/{name}.pdf"] = drawing.pdf
    try:
        (into / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{into} cannot be written to: {error.strerror}") from None
    for name, data in files.items():
        write_whole(into / name, data)
    if show:
        _show(judgement, into)
    return judgement


# --- Markdown


def markdown(judgement: Judgement, has_overview: bool = False) -> str:
    """The verdicts as a table, for a README; with the figure of all claims where there is one."""
    card, scale = judgement.card, judgement.scale
    paper = card.paper
    link = f"[{md(paper.title)}](<{paper.url}>)" if re.match(r"https?://[^\s<>]+$", paper.url) else md(paper.title)
    total = ", ".join(f"{count} {word}" for word, count in counts(judgement))
    lines = [f"# {md(card.name)}", "", f"{link}, {md(paper.authors)}, {paper.year}.", ""]
    lines += [md(paper.summary), ""] if paper.summary else []
    if scale != 1:
        lines += [f"> **NOT COMPARABLE**: run at {scale:g} of the paper's steps.", ""]
    lines += [f"![{total}](badge.svg)", "", f"{count_of(len(judgement.verdicts), 'claim')}: {total}.", ""]
    lines += [
        "| claim | environment | reported | measured | margin | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for verdict in judgement.verdicts:
        row = row_of(card, verdict)
        measured = " ".join(filter(None, (row.measured, row.interval, f"({row.seeds})" if row.seeds else "")))
        star = " \\*" if row.qualified else ""
        word = f"**{SYMBOLS[row.word]} {row.word}**{star}: {md(row.why)}" + "; a control" * verdict.is_control
        word += "; any solver's" * verdict.is_loose
        cells = [row.id, row.environment, f"{row.reported} {row.spread_text}".strip(), measured, row.margin]
        lines.append(f"| {' | '.join([*map(md, cells), word])} |")
    lines += ["", " ".join(_how_to_read(judgement)), *_listed([*coverages(judgement.verdicts), *judgement.notes])]
    claims = [verdict.claim for verdict in judgement.verdicts]
    notes = [f"- **{md(claim.id)}**: {md(claim.note)}" for claim in claims if claim.note]
    deviations = [*_environments(card), *(f"- {md(text)}" for text in card.deviations)]
    lines += ["", "What is known of single claims:", "", *notes] if notes else []
    lines += ["", "Where this differs from the paper's way:", "", *deviations] if deviations else []
    if has_overview:
        lines += ["", "![Each claim's difference from the paper, in margins](figures/overview.svg)"]
    lines += _provenance(judgement)
    lines += ["", f"{again(card)}:", "", fenced(*commands(judgement)), ""]
    return "\n".join(lines)


def _how_to_read(judgement: Judgement) -> list[str]:
    """What the columns measured and verdict say, in sentences."""
    told = ["Measured: mean over seeds and its 95 % t interval, which knows of no bounds of the returns."]
    if any(verdict.decision is not None for verdict in judgement.verdicts) and judgement.card.num_tested > 1:
        told.append("p: after Holm's correction over all of the card's claims that a test decides, run or not.")
    if any(re.search(r"\d seeds would decide it|\d would if it were alone", one.why) for one in judgement.verdicts):
        told.append(
            "A number of seeds that would decide a claim does so four times in five, if means and spreads are as seen."
        )
    if any(verdict.qualified for verdict in judgement.verdicts):
        told.append(r"\* rests on an assumption that the verdict names.")
    return told


def _listed(texts: Sequence[str]) -> list[str]:
    return ["", *(f"- {md(text)}" for text in texts)] if texts else []


def _environments(card: Card) -> list[str]:
    """Of each that is not the paper's own: which that is, and how they differ."""
    made = []
    for name in card.environments:
        one = provenance.environment(card, name)
        wrapped = f", wrapped in {one['wrappers']}" if one["wrappers"] else ""
        here = one["run"] + wrapped
        differs = "" if one["differs"].startswith("nothing") else f": {one['differs']}"
        if differs or one["paper"] != here:
            made.append(f"- The paper's {md(one['paper'])} is {md(here)} here{md(differs)}.")
    return made


def _provenance(judgement: Judgement) -> list[str]:
    """By which protocol claims were scored, and what was trained, with what."""
    card, results = judgement.card, judgement.results
    used = {card.protocol_of(verdict.claim) for verdict in judgement.verdicts}
    lines = [
        f"- **{md(name)}**: {md(protocol.describe())}" for name, protocol in card.protocols.items() if protocol in used
    ]
    if lines:
        lines = ["", "Scored by:", "", *lines]
    rows = [
        (name, run, value_text(unit.settings.get("total_timesteps", "—")))
        for name, unit in results.units.items()
        for run in unit.runs
    ]
    if rows:
        head = ["trained or measured", "env steps", "seeds", "from", "commit"]
        lines += ["", *map(table_row, (head, ["---"] * len(head)))]
    for name, run, steps in rows:
        started, commit = str(run.get("started", ""))[:10], re.sub(r"^(\w{10})\w*", r"\1", provenance.commit_text(run))
        cells = (name, steps, provenance.seeds_text(run.get("seeds", ())), started, commit)
        lines.append(table_row([md(cell) for cell in cells]))
    versions: dict[str, dict[str, None]] = {}
    for making in provenance.makings(results):
        versions.setdefault(making["versions"], {}).update(dict.fromkeys(making["units"]))
    for text, units in versions.items():
        of = f" of {md(listed(list(units)))}" if len(versions) > 1 else ""
        lines += ["", f"Versions{of}: {md(text or 'not recorded')}."]
    pages = "each run's command and hardware are in report.html, and each seed's score in verdicts.json too"
    return [*lines, "", f"Curves, statistics, hyperparameters with their sources, {pages}."]


# --- badge


def badge(judgement: Judgement) -> str:
    """A shield that counts the verdicts, losses too."""
    total = len(judgement.verdicts)
    found = dict(counts(judgement))
    right = [f"{found.pop('reproduced', 0)}/{total}", *(f"{count} {word}" for word, count in found.items())]
    colour = "#00734f"
    for word, its in (("inconclusive", "#8a5d00"), ("above", "#005a8f"), ("below", "#a84300")):
        colour = its if word in found else colour
    if {"not run", "not comparable"} & set(found):
        colour = "#5f6368"
    return shield("reproduced", " · ".join(right), colour)


def shield(left: str, right: str, colour: str) -> str:
    """Two texts side by side as SVG; `colour` lies behind the right one."""
    widths = [round(6.6 * len(text) + 12) for text in (left, right)]
    title, total = escape(f"{left} {right}"), sum(widths)
    texts = "".join(
        f'<text x="{x + width / 2:g}" y="14" textLength="{width - 12}">{escape(text)}</text>'
        for x, width, text in ((0, widths[0], left), (widths[0], widths[1], right))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" aria-label="{title}">'
        f'<title>{title}</title><clipPath id="r"><rect width="{total}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{widths[0]}" height="20" fill="#3c4043"/>'
        f'<rect x="{widths[0]}" width="{widths[1]}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f"{texts}</g></svg>\n"
    )


# --- terminal


def _show(judgement: Judgement, into: Path) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if judgement.scale != 1:
        console.print(f"NOT COMPARABLE: run at {judgement.scale:g} of the paper's steps", style="bold red")
    table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    table.add_column("claim", overflow="fold", max_width=28)
    table.add_column("reported", overflow="fold")
    table.add_column("measured, 95 % interval", overflow="fold")
    table.add_column("verdict", overflow="fold")
    rows = [row_of(judgement.card, verdict) for verdict in judgement.verdicts]
    for row in rows:
        word = Text(f"{SYMBOLS[row.word]} {row.word}{' *' if row.qualified else ''}", _STYLES.get(row.word, "dim"))
        first = f"{row.measured} {row.interval}".strip()
        measured = Text("\n".join(filter(None, (first, row.seeds))))
        table.add_row(Text(row.id), Text(f"{row.reported} {row.spread}".strip()), measured, word)
    console.print(table)
    told = [
        row
        for row in rows
        if row.word in ("above", "below", "inconclusive")
        or (row.word == "not comparable" and row.measured == "—")
        or row.qualified
        or row.is_changed
    ]
    if told:
        console.print()
    for row in told:
        console.print(Padding(Text.assemble((row.id, "bold"), f": {row.why}"), (0, 0, 0, 2)))
    console.print()
    for name in ("report.html", "report.md", "badge.svg", "verdicts.json"):
        console.print(Text(str(into / name)), soft_wrap=True)
