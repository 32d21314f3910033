"""`rlrepro scoreboard`: the verdicts of several reproductions as one Markdown table, losses included."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from rlrepro.errors import Problem, count_of
from rlrepro.flags import Parser
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.markdown import md, show, table_row
from rlrepro.papers.pages.rows import SYMBOLS, row_of
from rlrepro.papers.stats.power import OpenBy
from rlrepro.papers.units.results import open_reproduction
from rlrepro.papers.verdicts.verdict import REPRODUCED, WORDS, Judgement, Verdict, judge

BEGIN, END = "<!-- scoreboard -->", "<!-- /scoreboard -->"


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser(prog="rlrepro scoreboard", description="The verdicts of several reproductions as one table.")
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="FOLDER", help="reproductions (all of experiments/ that have results)")
    add("--summary", action="store_true", help="a row a reproduction, not a row a claim")
    add("--write", type=Path, metavar="FILE", help=f"put it into FILE, between {BEGIN} and {END}")
    asked = parser.parse_args(arguments)
    cards = sorted(path.parent for path in Path("experiments").glob("*/card.toml"))
    folders = asked.folders or [folder for folder in cards if (folder / "results" / "results.json").is_file()]
    if not folders:
        raise Problem("no reproduction is named, and no folder of experiments/ has results")
    idle = [] if asked.folders else [folder for folder in cards if folder not in folders]
    text = scoreboard(judged(folders), asked.write.parent if asked.write else Path(), asked.summary, idle)
    show(text, asked.write, BEGIN, END)
    return 0


def judged(folders: Sequence[Path]) -> dict[Path, Judgement]:
    """The verdicts of each reproduction."""
    once = {folder.resolve(): folder for folder in reversed(folders)}  # the first of several names of one
    return {folder: judge(*open_reproduction(folder)) for folder in folders if folder in once.values()}


def scoreboard(
    judgements: Mapping[Path, Judgement], beside: Path, summary: bool = False, idle: Sequence[Path] = ()
) -> str:
    """What these reproductions say, a row a claim (or a reproduction), then the totals; links relative to `beside`.

    Of the `idle` folders, whose cards have no results yet, the totals tell how many claims wait.
    """
    rows = []
    for folder, judgement in judgements.items():
        link = quote(Path(os.path.relpath(folder / "report.md", beside or ".")).as_posix())
        rows += [_summary(judgement, link)] if summary else _rows(judgement, link)
    of_claims = ["card", "claim", "environment", "reported", "measured", "reproduced means", "verdict"]
    head = ["reproduction", "agents", "environments", "verdicts"] if summary else of_claims
    table = [head, ["---"] * len(head), *rows]
    return "\n".join([*map(table_row, table), "", *_totals(list(judgements.values())), *_waiting(idle)])


def _rows(judgement: Judgement, link: str) -> list[list[str]]:
    made = []
    for verdict in judgement.verdicts:
        row = row_of(judgement.card, verdict)
        seeds = f"({row.seeds})" if row.seeds else ""
        cells = [
            judgement.card.name,
            row.id,
            row.environment,
            f"{row.reported} {row.spread}".strip(),
            " ".join(filter(None, (row.measured, row.interval, seeds))),
            _meaning(verdict, row.margin),
        ]
        star = r" \*" * bool(row.qualified) + " †" * row.is_changed
        made.append([*map(md, cells), f"[{SYMBOLS[row.word]} {row.word}]({link}){star}"])
    return made


def _summary(judgement: Judgement, link: str) -> list[str]:
    card = judgement.card
    claims = [verdict.claim for verdict in judgement.verdicts]
    used = [name for claim in claims for name in _implementations(claim)]
    agents = dict.fromkeys(card.implementations[name].agent if name else "measured by functions" for name in used)
    environments = dict.fromkeys(name for claim in claims for name in claim.environments)
    return [f"[{md(card.name)}]({link})", md(", ".join(agents)), md(", ".join(environments)), _counted([judgement])]


def _implementations(claim: Claim | Order) -> tuple[str, ...]:
    return (claim.better, claim.worse) if isinstance(claim, Order) else (claim.implementation,)


def _counted(judgements: Sequence[Judgement]) -> str:
    found = {word: sum(judgement.count(word) for judgement in judgements) for word in WORDS}
    return ", ".join(f"{count} {word}" for word, count in found.items() if count)


def _meaning(verdict: Verdict, margin: str) -> str:
    """What it takes for *reproduced*."""
    means = verdict.means if verdict.kind in REPRODUCED else verdict.kind
    means = f"equal within {margin}" if verdict.kind == "equivalence" else means
    return means + "; a control" * verdict.is_control + "; any solver's" * verdict.is_loose


def _totals(judgements: Sequence[Judgement]) -> list[str]:
    verdicts = [verdict for judgement in judgements for verdict in judgement.verdicts]
    reproduced = [verdict for verdict in verdicts if verdict.word == "reproduced"]
    papers = f"{len(judgements)} reproduction{'s' * (len(judgements) != 1)}"
    lines = [f"{count_of(len(verdicts), 'claim')} of {papers}: **{_counted(judgements)}**."]
    if kinds := Counter(verdict.means for verdict in reproduced):
        lines.append(f"Of the reproduced, {', '.join(f'{count} {means}' for means, count in kinds.most_common())}.")
    rules = [verdict for verdict in reproduced if verdict.means == REPRODUCED["rule"]]
    if bounds := sum(verdict.kind in ("at least", "at most") for verdict in rules):
        lines.append(f"Of the {len(rules)} by a rule, {bounds} keep a bound (at least or at most so much).")
    lines += _about_equal([verdict for verdict in reproduced if verdict.kind == "equivalence"])
    if controls := sum(verdict.is_control and verdict.kind != "equivalence" for verdict in reproduced):
        lines.append(f"Of the others reproduced, {controls} a random policy's return would meet too.")
    if peers := sum(
        one.word == "reproduced" and _is_of_a_peer(of.card, one) for of in judgements for one in of.verdicts
    ):
        lines.append(f"Of the reproduced, {peers} by a library's own algorithms (`sb3:`), not by our agents.")
    if lenient := sum(_is_by_tolerance(verdict) for verdict in reproduced):
        lines.append(f"Reached within the card's tolerance by seeds of which too few reach it outright: {lenient}.")
    turned = [one.word for one in verdicts if isinstance(one.claim, Claim) and one.claim.less_is_better]
    told = [f"{turned.count(a)} {a} {b}" for a, b in (("above", "worse"), ("below", "better")) if a in turned]
    if told:
        lines.append(f"Above and below are higher and lower: of numbers of which less is better, {', '.join(told)}.")
    if any(verdict.qualified for verdict in reproduced):
        lines.append(r"\* rests on an assumption.")
    if changed := sum(bool(verdict.changed) for verdict in verdicts):
        ran = [verdict.is_held for verdict in verdicts if verdict.word != "not run"]
        of = "" if all(ran) else f", of {sum(ran)} whose results keep what was claimed"
        lines.append(f"† changed on the card after results for it were kept: {changed}{of}.")
    return [*lines, *_about_open([verdict for verdict in verdicts if verdict.word == "inconclusive"])]


def _about_open(inconclusive: Sequence[Verdict]) -> list[str]:
    """What leaves them open, other than too few seeds of ours."""
    early = sum(one.is_early for one in inconclusive)
    inconclusive = [one for one in inconclusive if not one.is_early]
    decided = sum(bool(one.alone) for one in inconclusive)
    open_by = Counter(one.seeds_needed.open_by for one in inconclusive if one.seeds_needed and not one.alone)
    lines = [f"Of the inconclusive, {early} have fewer than {stats.MIN_SEEDS} seeds yet."] if early else []
    if by_correction := decided + open_by["correction"]:
        lines.append(
            f"Of the inconclusive, {by_correction} are left open by the correction for their card's other claims: "
            f"without it {decided} are decided by these seeds, and {open_by['correction']} would be by more."
        )
    reasons: dict[OpenBy, str] = {
        "paper": "as what the paper prints leaves too much open (few seeds, a wide spread or none)",
        "guards": "by the guards of the test, by which a small spread counts for more",
        "guards and correction": "by these guards and the correction, of which neither alone would",
    }
    told = [f"{open_by[reason]} {text}" for reason, text in reasons.items() if open_by[reason]]
    if told:
        count = sum(open_by[reason] for reason in reasons)
        lines.append(f"Of the other inconclusive, {count} no number of our seeds decides: {'; '.join(told)}.")
    return lines


def _about_equal(equal: Sequence[Verdict]) -> list[str]:
    """How many of these equalities tell one agent from another."""
    controls = sum(one.is_control for one in equal)
    loose = sum(one.is_loose and not one.is_control for one in equal)
    control = "control" if controls == 1 else "controls"
    kinds = (
        (controls, f"{control} (a random policy's return is too)"),
        (loose, "any solver's (the best return known is)"),
    )
    told = [f"{count} {kind}" for count, kind in kinds if count]
    if not told:
        return []
    none = ": none tells apart two agents that solve the task" if controls + loose == len(equal) else ""
    return [f"Of the {len(equal)} equal within a margin, {' and '.join(told)}{none}."]


def _is_of_a_peer(card: Card, verdict: Verdict) -> bool:
    """Whether it was a library's algorithm that was trained."""
    names = [name for name in _implementations(verdict.claim) if name]
    return bool(names) and all(card.implementations[name].agent.startswith("sb3:") for name in names)


def _is_by_tolerance(verdict: Verdict) -> bool:
    """Whether a published agent counts as reached by seeds that come near it, and would not by those that reach it."""
    test = verdict.test
    return isinstance(test, stats.Acceptance) and stats.chance_of_so_many(test.outright, test.seeds) > stats.ALPHA


def _waiting(folders: Sequence[Path]) -> list[str]:
    """The cards that nothing was trained for yet; those that are not whole are passed over."""
    cards: list[Card] = []
    for folder in folders:
        with contextlib.suppress(Problem):
            cards.append(load_card(str(folder / "card.toml")))
    if not cards:
        return []
    named = ", ".join(f"{md(card.name)} ({len(card.claims) + len(card.orders)})" for card in cards)
    return [f"Nothing was trained yet for the claims of {named}."]
