"""`rlrepro verify`: a bundle's verdicts held against its results, and a claim of it run again."""

from __future__ import annotations

import dataclasses
import html
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from rlrepro.errors import Problem
from rlrepro.flags import Parser, seed_list
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.pages.report import markdown
from rlrepro.papers.scoring import History, Score, measured_score, score
from rlrepro.papers.sharing.bundle import (
    SUFFIX,
    Bundle,
    alike,
    contradictions,
    explained_otherwise,
    open_bundle,
    rejudged,
)
from rlrepro.papers.toml_tables import printable
from rlrepro.papers.units.results import Results, UnitResults, read_results
from rlrepro.papers.units.unit import Unit, choose, units_of, units_that_answer
from rlrepro.papers.verdicts.verdict import judge

_COMMAND = ("rlrepro", "verify")
_ALIKE = "statistically the same"


@dataclasses.dataclass(frozen=True)
class Likeness:
    """A claim's scores here and in the bundle, one a seed: alike within ± margin, different, or neither is shown.

    Both sides are runs of the same thing, so that nothing need be guarded against but chance: Welch's test of a
    difference, and the two one-sided tests on the margin with its standard error. A claim without a margin of its own
    has `SPREADS` standard deviations of the bundle's scores, within which what differs with significance differs.
    """

    SPREADS: ClassVar = 2.0

    here: np.ndarray
    there: np.ndarray
    margin: float  #: the claim's; 0: it has none
    same_scores: bool = False  #: every seed has the very score that it has in the bundle

    @property
    def test(self) -> stats.Welch | None:
        """Here − there; None where a side has one seed, which shows no spread."""
        return stats.welch(self.here, self.there) if min(len(self.here), len(self.there)) > 1 else None

    def word(self, alpha: float) -> str:
        """`alpha` is for *DIFFERENT*: all claims must be alike, which needs no correction for their number."""
        if self.same_scores:
            return f"{_ALIKE}: every seed has the same score"
        if (test := self.test) is None:
            lone = "was run again" if len(self.here) < 2 else "is in the bundle"
            return f"NOT DECIDED: one seed {lone}, which shows no spread"
        margin = self.margin or max(self.SPREADS * float(np.std(self.there)), 1e-6 * abs(float(self.there.mean())))
        differs = test.p_difference <= alpha
        equal = stats.equivalence_p(test.difference, test.se, test.df, margin) <= stats.ALPHA
        if equal and (self.margin or not differs):
            return f"{_ALIKE} within ± {margin:.4g}"
        if differs:
            return "DIFFERENT"
        return f"NOT DECIDED: neither shown to be the same within ± {margin:.4g}, nor different"

    def sentence(self, alpha: float) -> str:
        """The word, and what it rests on."""
        text = f"{self.word(alpha)}: {self.here.mean():.6g} here, {self.there.mean():.6g} in the bundle"
        if (test := self.test) is None:
            return text
        low, high = test.difference - test.half_width, test.difference + test.half_width
        return f"{text}; difference {test.difference:+.4g}, 95 % interval {low:.4g} to {high:.4g} (Welch)"


@dataclasses.dataclass(frozen=True)
class Rerun:
    """One unit run again: the same, or how it differs."""

    unit: str
    same_bits: tuple[int, ...]
    other_bits: tuple[int, ...]
    tests: Mapping[str, Likeness]  #: by claim, where bits differ
    lost: Mapping[str, str]  #: by claim, the seeds that have a score in the bundle and none here, and why
    alpha: float
    is_close: bool = False  #: computed numbers that are the same to nine digits

    @property
    def differs(self) -> bool:
        """Whether bits differ, and not every claim's scores are shown to be alike."""
        if not self.other_bits or self.is_close:
            return False
        told = [test.word(self.alpha).startswith(_ALIKE) for test in self.tests.values()]
        return bool(self.lost) or not told or not all(told)


def compare_reruns(
    card: Card, claims: Sequence[Claim | Order], units: Sequence[Unit], theirs: Results, ours: Results,
    seeds: Sequence[int],
) -> list[Rerun]:  # fmt: skip
    """Each unit's seeds held against the bundle's: bit for bit, else their scores against all of the bundle's.

    At 5 %, which the claims that are tested share where they are called different.
    """
    found = []
    for unit in units:
        there = {h.seed: h for h in theirs.units[unit.name].histories}
        here = {h.seed: h for h in ours.units[unit.name].histories}
        own = seeds if _takes_seeds(card, unit) else (0,)
        same = tuple(seed for seed in own if seed in here and _same_bits(there[seed], here[seed]))
        other = tuple(seed for seed in own if seed not in same)
        found.append((unit, same, other))
    tested = [(unit, claim) for unit, _, other in found if other for claim in claims if claim.id in unit.claims]
    alpha = stats.ALPHA / max(1, len(tested))
    reruns = []
    for unit, same, other in found:
        tests: dict[str, Likeness] = {}
        lost: dict[str, str] = {}
        if not _takes_seeds(card, unit):
            pair = (results.units[unit.name].histories[0].measured.tolist() for results in (theirs, ours))
            reruns.append(Rerun(unit.name, same, other, tests, lost, alpha, is_close=alike(*pair)))
            continue
        for claim in (claim for one, claim in tested if one is unit):
            of_bundle, of_rerun = (
                _score(card, claim, one.units[unit.name], among, theirs.scale)
                for one, among in ((theirs, None), (ours, seeds))
            )
            gone = {seed: why for seed, why in of_rerun.missing.items() if seed in of_bundle.per_seed}
            if gone:
                lost[claim.id] = dataclasses.replace(of_rerun, missing=gone).missing_text
            if of_bundle.per_seed and of_rerun.per_seed:
                equal = all(of_bundle.per_seed.get(seed) == value for seed, value in of_rerun.per_seed.items())
                tests[claim.id] = Likeness(of_rerun.values, of_bundle.values, _margin(card, claim), equal)
        reruns.append(Rerun(unit.name, same, other, tests, lost, alpha))
    return reruns


def _takes_seeds(card: Card, unit: Unit) -> bool:
    """Whether there is something to repeat: what is computed stands once, as seed 0."""
    return not unit.is_measured or card.measurements[unit.implementation].takes_seeds


def _same_bits(one: History, other: History) -> bool:
    names = ("episodes", "evaluations", "final", "measured")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return one.steps == other.steps and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def _score(card: Card, claim: Claim | Order, unit: UnitResults, seeds: Sequence[int] | None, scale: float) -> Score:
    """A claim's score of these seeds of a unit; None: of all."""
    protocol = card.protocol_of(claim).scaled(scale)
    of = measured_score if isinstance(claim, Claim) and claim.measurement else score
    return of(protocol, [h for h in unit.histories if seeds is None or h.seed in seeds])


def _margin(card: Card, claim: Claim | Order) -> float:
    """Within which scores count as the same; 0 where a claim has none: one of order, a bound, one agent's."""
    if not isinstance(claim, Claim) or claim.aggregate or claim.rule in ("at least", "at most"):
        return 0.0
    is_one_agents = not claim.measurement and card.protocol_of(claim).is_one_sided(claim.spread_kind)
    return 0.0 if is_one_agents else claim.margin


def circumstances(theirs: Results, ours: Results, units: Sequence[Unit]) -> list[str]:
    """Versions and hardware that differ between two sets of runs of the same units, of what both record."""
    lines = []
    sides = [_facts(results, units) for results in (theirs, ours)]
    for name in sorted({*sides[0]} & {*sides[1]}):
        there, here = (", ".join(sorted(side[name])) for side in sides)
        if there != here:
            lines.append(f"{name}: {there} in the bundle, {here} here")
    return lines


def _facts(results: Results, units: Sequence[Unit]) -> dict[str, set[str]]:
    facts: dict[str, set[str]] = {}
    for unit in units:
        for run in results.units[unit.name].runs:
            commit = (run.get("git") or {}).get("commit")
            values = {**run.get("versions", {}), **run.get("hardware", {}), "commit": commit}
            values.pop("cores", None)
            values |= {file: str(digest)[:10] for file, digest in (run.get("code") or {}).items()}
            for name, value in values.items():
                facts.setdefault(name, set()).add(str(value))
    return facts


def cheapest(card: Card, theirs: Results) -> Claim | Order:
    """The claim whose runs take the fewest env steps, of those that a bundle has the runs of."""

    def units(claim: Claim | Order) -> list[Unit]:
        return units_of(card, *(([claim], []) if isinstance(claim, Claim) else ([], [claim])))

    def steps(claim: Claim | Order) -> int:
        if isinstance(claim, Claim) and claim.measurement:
            return 0 if card.is_computed(claim) else 10**12  # what it takes is not known
        hyperparameters = [card.implementations[unit.implementation].hyperparameters for unit in units(claim)]
        return sum(int(one["total_timesteps"].value) for one in hyperparameters)

    everything: list[Claim | Order] = [*card.claims, *card.orders]
    there = [claim for claim in everything if all(unit.name in theirs.units for unit in units(claim))]
    return min(there or everything, key=steps)


def verify(
    file: Path, place: Path, patterns: Sequence[str] = (), seeds: int | tuple[int, ...] | None = None,
    trust: bool = False, into: Path | None = None, arguments: Sequence[str] = (),
) -> int:  # fmt: skip
    """Check a bundle and run a claim of it again, telling what comes out; 0: the same, 1: not.

    `arguments` are those of the command, by which an interrupted one is begun again.
    """
    from rlrepro.papers.reproduce.reproduction import Reproduction

    bundle = open_bundle(file, place, trust)
    card, theirs = bundle.card, bundle.results
    print(f"{bundle.name}: every file is as its manifest states", flush=True)
    made = rejudged(card, theirs)
    lines = contradictions(bundle.verdicts, made)
    if lines:
        print("its verdicts are NOT those that its results give:", *map(printable, lines), sep="\n  ")
        return 1
    print(f"its {len(card.claims) + len(card.orders)} verdicts are those that its results give", flush=True)
    if others := explained_otherwise(bundle.verdicts, made):
        told = printable(", ".join(others))
        print(f"it explains them in words that are not this version's, and were not held: {told}", flush=True)
    if note := _note_on_pages(bundle):
        print(note, flush=True)
    try:
        claims, orders = choose(card, patterns or [cheapest(card, theirs).id])
    except Problem as problem:  # the card lies in a folder that is gone when this is read
        raise Problem(str(problem).replace(str(card.file), str(file))) from None
    units = units_that_answer(card, claims, orders)
    chosen = _seeds(file, card, theirs, units, seeds)
    if into is not None:
        _check_own(into)
    reproduction = Reproduction(into or place / "again", card, theirs.scale, [*_COMMAND, *(arguments or [str(file)])])
    failed = []
    for takes_seeds, own in ((False, (0,)), (True, chosen)):
        if some := [unit for unit in units if _takes_seeds(card, unit) is takes_seeds]:
            failed += reproduction.run(some, own, exactly=True)
    if failed:
        print(f"could not be run again: {', '.join(failed)}")
        return 1
    ours = read_results(reproduction.folder / "results")
    reruns = compare_reruns(card, [*claims, *orders], units, theirs, ours, chosen)
    return report(reruns, circumstances(theirs, ours, units))


def _check_own(into: Path) -> None:
    """`Problem` where a folder has runs that no `rlrepro verify` made: they may be those that were packed."""
    if not (into / "results" / "results.json").is_file():
        return
    for unit in read_results(into / "results").units.values():
        for run in unit.runs:
            if not str(run.get("command")).startswith(f"{' '.join(_COMMAND)} "):
                made = printable(str(run.get("command")))
                raise Problem(f"{into} has runs of `{made}`, and none of them is run again: choose another --into")


def _note_on_pages(bundle: Bundle) -> str:
    """What to know of the pages in a bundle, which are texts of whoever packed it."""
    if not bundle.pages:
        return ""
    page = bundle.pages.get("report.md", b"")
    # Its folder may have had another name when it was written, of which the title is made, and the commands.
    title = re.fullmatch(r"# (.+)", page.decode(errors="replace").partition("\n")[0])
    name = html.unescape(re.sub(r"\\(.)", r"\1", title[1])) if title else bundle.card.name
    judgement = judge(bundle.card, bundle.results)
    named = dataclasses.replace(judgement, card=dataclasses.replace(judgement.card, name=name))
    if "report.md" in bundle.pages and page not in [markdown(named, has).encode() for has in (False, True)]:
        return "its report.md is NOT what this version writes of its results: `rlrepro report` writes the page anew"
    headed = f"its report.md is headed {printable(name)!r}" if name != bundle.card.name else ""
    html_page = "its report.html was not compared: `rlrepro report` writes the page anew"
    return "; ".join(filter(None, (headed, html_page if "report.html" in bundle.pages else "")))


def _seeds(
    file: Path, card: Card, theirs: Results, units: Sequence[Unit], asked: int | tuple[int, ...] | None
) -> tuple[int, ...]:
    """The seeds to run again: among those that the bundle has finished for every unit that takes seeds."""
    for unit in units:
        if unit.name not in theirs.units:
            raise Problem(f"{file} has no runs of {unit.name}: choose another claim")
    finished = {unit.name: {h.seed for h in theirs.units[unit.name].histories if not h.stopped} for unit in units}
    for unit in units:
        if not _takes_seeds(card, unit) and 0 not in finished.pop(unit.name):
            raise Problem(f"{file} has no number that {unit.name} computed")
    if not finished:
        return ()
    there = sorted(set.intersection(*finished.values()))
    if isinstance(asked, tuple):
        absent = [seed for seed in asked if seed not in there]
        if absent:
            raise Problem(f"{file} has no finished run of seed {absent[0]} (it has {', '.join(map(str, there))})")
        return asked
    if not there:
        raise Problem(f"{file} has no seed that finished {', '.join(finished)}")
    if asked is not None and asked > len(there):
        raise Problem(f"{file} has {len(there)} finished seeds, not {asked}")
    return tuple(there[:asked])


def report(reruns: Sequence[Rerun], different: Sequence[str]) -> int:
    """Print what came out; the exit status."""
    for one in reruns:
        count = len(one.same_bits) + len(one.other_bits)
        if one.other_bits and one.is_close:
            print(f"{one.unit}: the same to nine digits")
            continue
        if not one.other_bits:
            print(f"{one.unit}: the same bit for bit, {count} of {count} seeds")
            continue
        print(f"{one.unit}: {len(one.same_bits)} of {count} seeds are the same bit for bit")
        for claim, seeds in one.lost.items():
            print(f"  {claim}: DIFFERENT: no score of {printable(seeds)}, which has one in the bundle")
        for claim, test in one.tests.items():
            print(f"  {claim}: {test.sentence(one.alpha)}")
        if not one.tests and not one.lost:
            print("  no score can be made of them: nothing can be compared")
    if any(one.other_bits for one in reruns):
        why = "; ".join(different) or "none that the bundle records: the same versions and hardware"
        print(f"likely reason for other bits: {printable(why)}")
    return 1 if any(one.differs for one in reruns) else 0


# --- the command


def main(arguments: Sequence[str]) -> int:
    """`rlrepro verify`; the exit status: 0 the same, bit for bit or statistically, 1 not."""
    parser = Parser(prog="rlrepro verify", description="Check a bundle's verdicts and run a claim of it again.")
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", type=Path, help=f"NAME{SUFFIX}")
    add("--claims", nargs="+", default=[], metavar="ID", help="run these again; * and ? fit any letters (the cheapest)")
    add("--seeds", type=seed_list, metavar="N|LIST", help="so many of the bundle's seeds, or these (all)")
    add("--into", type=Path, metavar="DIR", help="keep the new runs there, and go on with them (a temporary folder)")
    add("--trust", action="store_true", help="run a card that names code which is no installed plug-in")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rlrepro-verify-") as place:
        return verify(asked.bundle, Path(place), asked.claims, asked.seeds, asked.trust, asked.into, arguments)
