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
        star = r" \*" * bool(row.qualified) + " †" * row.is_changed + " ‡" * row.is_joined
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
    papers = f"{len(judgements)} reproduction{'s' * (len(judgements) != 1)}"
    lines = [f"{count_of(len(verdicts), 'claim')} of {papers}: **{_counted(judgements)}**."]
    lines += _by_meaning(judgements)
    lines += _about_open([verdict for verdict in verdicts if verdict.word == "inconclusive"])
    return [*lines, *_about_marks(verdicts)]


#: whose work it was that came out as claimed
_WHOSE = ("reproduced by the kit's agents", "by a library's (`sb3:`)", "by a card's functions")


def _by_meaning(judgements: Sequence[Judgement]) -> list[str]:
    """A table of how many were reproduced in which sense, and by what; empty where none was."""
    made: dict[str, list[tuple[str, Verdict]]] = {}
    for judgement in judgements:
        for verdict in judgement.verdicts:
            made.setdefault(verdict.means, []).append((_whose(judgement.card, verdict), verdict))
    rows = []
    for means, found in made.items():
        reproduced = [(whose, verdict) for whose, verdict in found if verdict.word == "reproduced"]
        by = Counter(whose for whose, _ in reproduced)
        of_these = "; ".join(_of_these([verdict for _, verdict in reproduced])) or "—"
        rows.append([means, str(len(found)), *(str(by[whose]) for whose in _WHOSE), of_these])
    if not any(verdict.word == "reproduced" for found in made.values() for _, verdict in found):
        return []
    head = ["*reproduced* means", "claims", *_WHOSE, "of these"]
    return ["", *map(table_row, [head, ["---"] * len(head), *rows])]


def _whose(card: Card, verdict: Verdict) -> str:
    """Whether it was an agent of the kit that was trained, a library's algorithm, or a function that measured."""
    names = [name for name in _implementations(verdict.claim) if name]
    if not names:
        measurement = card.measurements[verdict.claim.measurement] if isinstance(verdict.claim, Claim) else None
        return _WHOSE[0 if measurement is not None and measurement.agent else 2]
    return _WHOSE[all(card.implementations[name].agent.startswith("sb3:") for name in names)]


def _of_these(reproduced: Sequence[Verdict]) -> list[str]:
    """What there is to know of claims that were reproduced in one sense."""
    told = []
    if bounds := sum(verdict.kind in ("at least", "at most") for verdict in reproduced):
        told.append(f"{bounds} keep a bound (at least or at most so much)")
    controls = sum(verdict.is_control for verdict in reproduced)
    loose = sum(verdict.is_loose and not verdict.is_control for verdict in reproduced)
    if controls:
        told.append(f"{controls} {'control' if controls == 1 else 'controls'} (a random policy's return would do too)")
    if loose:
        told.append(f"{loose} any solver's (the best return known would do too)")
    if reproduced and all(one.kind == "equivalence" for one in reproduced) and controls + loose == len(reproduced):
        told[-1] += ": none tells apart two agents that solve the task"
    if lenient := sum(_is_by_tolerance(verdict) for verdict in reproduced):
        told.append(f"{lenient} within the card's tolerance, by seeds of which too few reach it outright")
    return told


def _about_open(inconclusive: Sequence[Verdict]) -> list[str]:
    """What leaves them open, each counted once."""
    reasons = Counter(map(_left_open_by, inconclusive))
    told = [f"- {reasons[key]}: {text}" for key, text in _OPEN.items() if reasons[key]]
    return ["", f"Of the {len(inconclusive)} inconclusive:", "", *told] if told else []


#: what leaves a claim open, by the keys of `_left_open_by`
_OPEN = {
    "lost": "seeds that were run have no score",
    "early": f"fewer than {stats.MIN_SEEDS} seeds were run yet",
    "seeds": "more seeds would decide it",
    "alone": "decided by these seeds, but for the correction for the card's other claims",
    "correction": "more seeds would decide it, but for that correction",
    "paper": "no number of seeds does: what was published leaves too much open (few seeds, a wide spread or none)",
    "guards": "none does by the guards of the test, by which a small spread counts for more",
    "guards and correction": "none does by these guards and the correction, though by either alone some would",
    "agent": "shown neither that enough seeds reach the published agent, nor that too few do",
    "bound": "shown neither that a bound is kept, nor that it is not",
    "order": "shown neither that an order holds, nor that it does not",
    "": "something else, which the verdict says",
}


def _left_open_by(verdict: Verdict) -> str:
    """A key of `_OPEN`."""
    needed = verdict.seeds_needed
    if verdict.is_early:
        return "early"
    if verdict.is_lacking:
        return "lost"
    if verdict.alone:
        return "alone"
    if needed is not None:
        return "seeds" if needed.seeds is not None else needed.open_by
    if isinstance(verdict.test, stats.Acceptance):
        return "agent"
    if verdict.test is None:
        return ""
    return {"at least": "bound", "at most": "bound", "order": "order"}.get(verdict.kind, "")


def _about_marks(verdicts: Sequence[Verdict]) -> list[str]:
    """What words and signs of the table mean that need it."""
    told = []
    turned = [one.word for one in verdicts if isinstance(one.claim, Claim) and one.claim.less_is_better]
    worse = [f"{turned.count(a)} {a} {b}" for a, b in (("above", "worse"), ("below", "better")) if a in turned]
    if worse:
        told.append(f"Above and below are higher and lower: of numbers of which less is better, {', '.join(worse)}.")
    if any(verdict.qualified for verdict in verdicts if verdict.word == "reproduced"):
        told.append(r"\* rests on an assumption.")
    if changed := sum(bool(verdict.changed) for verdict in verdicts):
        ran = [verdict.is_held for verdict in verdicts if verdict.word != "not run"]
        of = "" if all(ran) else f", of {sum(ran)} whose results keep what was claimed"
        told.append(f"† changed on the card after results for it were kept: {changed}{of}.")
    if joined := sum(verdict.is_joined for verdict in verdicts):
        told.append(f"‡ seeds came after others were judged, and the test knows of no such look: {joined}.")
    return ["", *told] if told else []


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
    return ["", f"Nothing was trained yet for the claims of {named}."]
