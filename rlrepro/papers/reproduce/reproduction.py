"""`python -m rlrepro.reproduce CARD`: train and measure what a card's claims need, score, judge, and write the page.

reproductions/NAME/
  card.toml      the card as it was
  runs/          a folder for each unit, with its run folders; may be deleted once all is finished
  before-mending/  run folders without a score, of code that was mended since
  results/       every episode and evaluation of every seed: what verdicts and page are made of
  report.html  report.md  badge.svg  verdicts.json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import os
import shlex
import sys
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlrepro import resume, train
from rlrepro.checkpoint import make_folder, write_whole
from rlrepro.errors import Interrupted, Problem, told, without_advice
from rlrepro.flags import Parser, seed_list, whole_number
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.histories import lost_record, read_run
from rlrepro.papers.units.measure import measure
from rlrepro.papers.units.results import REPRODUCTIONS, Results, UnitResults, read_results, settle, write_results
from rlrepro.papers.units.unit import (
    Unit,
    check_unit,
    choose,
    claimed,
    differences,
    measured_settings,
    seeds_of,
    settings_of,
    shared,
    units_that_answer,
)
from rlrepro.plugins import own_code
from rlrepro.record import RunFolder
from rlrepro.request import Request
from rlrepro.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

SEEDS = 10  #: as few as a verdict takes


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduce by a command line; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    return told(lambda: _main(arguments), "interrupted; the same command goes on")


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = Parser(
        prog="python -m rlrepro.reproduce",
        description="Reproduce a paper: train what its card's claims need, score, judge, and write the page.",
    )
    add = made.add_argument
    add("card", metavar="CARD", help="a card.toml, its folder, or the name of a card that comes with the kit")
    add("--claims", nargs="+", default=[], metavar="ID", help="only these claims; * and ? fit any letters (all)")
    add("--seeds", type=seed_list, default=SEEDS, metavar="N|LIST", help="at least so many, or these (10)")
    add("--into", type=Path, metavar="DIR", help="where everything goes (reproductions/NAME)")
    add("--scale", type=_scale, default=1.0, metavar="X", help="run a fraction X of the steps; NOT comparable")
    add("--processes", type=whole_number(1, 1024), metavar="N", help="processes at a time (one a core)")
    add("--plan", action="store_true", help="say what it takes: steps, hours, disk, seeds, from short trial runs")
    return made


def _main(arguments: Sequence[str]) -> int:
    asked = parser().parse_args(arguments)
    card = load_card(asked.card)
    claims, orders = choose(card, asked.claims)
    units = units_that_answer(card, claims, orders)
    seeds = tuple(range(asked.seeds)) if isinstance(asked.seeds, int) else asked.seeds
    if asked.plan:
        from rlrepro.papers.reproduce.plan import show_plan

        show_plan(card, claims, orders, units, seeds, asked.scale, asked.processes)
        return 0
    name = card.name + (f"-scale-{asked.scale!r}" if asked.scale != 1 else "")
    folder = asked.into or REPRODUCTIONS / name
    command = ["python", "-m", "rlrepro.reproduce", *arguments]
    reproduction = Reproduction(folder, card, asked.scale, command, asked.processes)
    failed = reproduction.run(units, seeds)
    from rlrepro.papers.pages.report import write_report

    if (folder / "results" / "results.json").exists():
        write_report(folder, show=True)
    if failed:
        raise _Unfinished(
            f"{len(failed)} of {len(units)} units did not finish ({', '.join(failed)}); the same command tries again"
        )
    return 0


class _Unfinished(Problem):
    exit_status = 1


class _NeverBegan(Problem):
    """The card asks for what cannot be."""


@dataclasses.dataclass
class Reproduction:
    """A folder in which a card is reproduced."""

    folder: Path
    card: Card
    scale: float
    command: Sequence[str]
    processes: int | None = None

    def run(self, units: Sequence[Unit], seeds: Sequence[int], exactly: bool = False) -> list[str]:
        """Train and measure what is not there yet; the units that did not finish.

        `exactly` these seeds, also of a measurement that says how many make its number.
        """
        from rich.console import Console

        console = Console()
        self._check_nothing_else_lies_here()
        make_folder(self.folder)
        lock = RunFolder(self.folder)
        lock.lock(patience=0.0)
        try:
            return self._run(
                [(unit, tuple(seeds) if exactly else seeds_of(self.card, unit, seeds)) for unit in units], console
            )
        finally:
            lock.unlock()

    def _run(self, units: Sequence[tuple[Unit, tuple[int, ...]]], console: Console) -> list[str]:
        results = self._results()
        for name, file in self._of_other_code(results, {unit.name for unit, _ in units}).items():
            results, where = self._set_aside(name, results)
            text = f"{name} begins anew: {file} was changed, and none of its seeds had a score{where}"
            console.print(text, style="yellow", highlight=False, soft_wrap=True, markup=False)
        plans = [(unit, seeds, self._settings(unit, seeds)) for unit, seeds in units]
        for unit, _, settings in plans:
            self._check_same(settings, results.units.get(unit.name), self.folder / "results")
        if self._bring_card():  # what runs is named from here
            plans = [(unit, seeds, self._settings(unit, seeds)) for unit, seeds in units]
        failed = []
        for index, (unit, seeds, settings) in enumerate(plans, 1):
            title = f"\\[{index}/{len(plans)}] {unit.implementation} on {unit.environment}"
            if not set(seeds) - _finished(results.units.get(unit.name)):
                there = f"{len(seeds)} seeds are" if len(seeds) > 1 else "it is"
                console.print(f"[bold]{title}[/]: {there} there already", highlight=False)
                continue
            console.print(f"[bold]{title}[/] for {', '.join(unit.claims)}", highlight=False, soft_wrap=True)
            planned, added = self._plan(unit, results.units.get(unit.name), seeds)
            parts: Iterator[tuple[UnitResults | None, list[str]]]
            if isinstance(settings, Settings):
                parts = self._trained(unit, settings, results.units.get(unit.name), len(plans) > 1)
            else:
                parts = measure(self.card, unit, settings, seeds, results.units.get(unit.name), self.command)
            for done, problems in parts:  # each is kept before the next begins
                if done is not None and done.histories:
                    have = results.units.get(unit.name)
                    terms = (have and have.claimed) or claimed(self.card, unit)
                    done = dataclasses.replace(done, claimed=terms, planned=planned, added=added)
                    results = dataclasses.replace(results, units={**results.units, unit.name: done})
                    write_results(self.folder / "results", results, only=unit.name)
                for problem in problems:
                    console.print(f"  {problem}", style="red", highlight=False, soft_wrap=True, markup=False)
            if set(seeds) - _finished(results.units.get(unit.name)):
                failed.append(unit.name)
        return failed

    def _of_other_code(self, results: Results, asked: Collection[str]) -> dict[str, str]:
        """The units among the `asked` ones that broke without a score and whose code was changed since: which file.

        `Problem` where a unit that did not break, or that has a score, was made with other code.
        """
        now = own_code.hashes(self.card.code(self.card.named))
        runs = [(name, self.folder / "results", run) for name, unit in results.units.items() for run in unit.runs]
        folders = [run for run in sorted((self.folder / "runs").glob("*/*")) if run.is_dir()]
        runs += [(run.parent.name, run, self._about(run)) for run in folders]
        found: dict[str, str] = {}
        for unit, place, run in runs:
            for file in own_code.changed(run.get("code") or {}, now):
                if not self._broke(unit, results):
                    raise Problem(f"{place} was made with another {file}: put that back, or choose another --into")
                if unit in asked:
                    found[unit] = file
        return found

    def _broke(self, unit: str, results: Results) -> bool:
        """Whether every seed of a unit that was run broke, or had not finished when others did."""
        kept = results.units[unit].histories if unit in results.units else ()
        folders = [run for run in (self.folder / "runs" / unit).glob("*") if run.is_dir()]
        in_folders = [history for run in folders for history in read_run(run)[1]]
        failed = all(self._about(run).get("status") == "failed" for run in folders)
        some = any(history.broke for history in (*kept, *in_folders))
        return failed and some and all(history.stopped for history in (*kept, *in_folders))

    def _set_aside(self, unit: str, results: Results) -> tuple[Results, str]:
        """Results without what a unit had given, and where its run folders, if there are any, lie from now on.

        Killed before a seed of it ends, the next command takes those that it asks for as planned.
        """
        if (before := results.units.get(unit)) is not None:
            emptied = dataclasses.replace(before, runs=(), histories=())
            results = dataclasses.replace(results, units={**results.units, unit: emptied})
        runs, aside = self.folder / "runs" / unit, self.folder / "before-mending"
        names = (f"{unit}-{count}" for count in itertools.count(1))
        place = next(place for name in names if not (place := aside / name).exists())
        with contextlib.ExitStack() as locks:
            for path in (path for path in runs.glob("*") if path.is_dir()):
                folder = RunFolder(path)
                folder.lock(patience=0.0)
                locks.callback(folder.unlock)
            if before is not None:
                write_results(self.folder / "results", results)
            if not runs.is_dir():
                return results, ""
            make_folder(aside)
            runs.rename(place)
        return results, f"; its runs are kept in {place}"

    def _bring_card(self) -> bool:
        """Copy the card here, with the code that lies beside it: from now on these run. Whether there is such code."""
        code = self._code_beside()
        for file, data in code.items():
            make_folder((self.folder / file).parent)
            write_whole(self.folder / file, data)
        write_whole(self.folder / "card.toml", self.card.text.encode())
        self.card = dataclasses.replace(self.card, file=self.folder / "card.toml")
        return bool(code)

    def _code_beside(self) -> dict[str, bytes]:
        """The files of code that lie beside the card, and are copied with it."""
        named = self.card.code(self.card.named).items()
        return {file: data for file, data in named if file.endswith(".py") and own_code.is_inside(file)}

    def _check_nothing_else_lies_here(self) -> None:
        """`Problem` where the card, or its code, would be written over what no reproduction put here."""
        there = self.folder / "card.toml"
        with contextlib.suppress(OSError):
            if self.card.file is not None and os.path.samefile(self.card.file, there):
                return
        if (self.folder / ".lock").exists() or (self.folder / "results" / "results.json").exists():
            theirs, paper = _paper(there), self.card.paper
            others = {name for name, value in theirs.items() if value != getattr(paper, name)}
            if "title" in others and len(others) > 1:  # one alone may have been mended
                raise Problem(f"{self.folder} holds the reproduction of {theirs['title']!r}: choose another --into")
            return
        files = {"card.toml": self.card.text.encode(), **self._code_beside()}
        for file, data in files.items():
            if (self.folder / file).exists() and (self.folder / file).read_bytes() != data:
                raise Problem(f"{self.folder / file} is another, and would be written over: choose another --into")

    def _about(self, run: Path) -> dict[str, Any]:
        """What its run.json says, with the code in this folder named from here."""
        about, here = RunFolder(run).read_json("run.json"), Path(os.path.abspath(self.folder))
        if "code" in about:
            about["code"] = {own_code.to_folder(name, here): digest for name, digest in about["code"].items()}
        return about

    def _settings(self, unit: Unit, seeds: Sequence[int]) -> Settings | dict[str, Any]:
        """Of a run, or of a measurement."""
        if unit.is_measured:
            check_unit(self.card, unit)
            return measured_settings(self.card, unit)
        return settings_of(self.card, unit, seeds, self.scale)

    def _results(self) -> Results:
        if not (self.folder / "results" / "results.json").exists():
            return Results(self.scale, {})
        settle(self.folder / "results")
        try:
            results = read_results(self.folder / "results")
        except Problem as problem:
            again = f"; with {self.folder / 'results'} moved away, what {self.folder / 'runs'} has is gathered again"
            raise Problem(f"{problem}{again if (self.folder / 'runs').is_dir() else ''}") from None
        if results.scale != self.scale:
            raise Problem(
                f"{self.folder} holds runs at scale {results.scale!r}, not {self.scale!r}: choose another --into"
            )
        return results

    def _trained(
        self, unit: Unit, settings: Settings, have: UnitResults | None, among_others: bool
    ) -> Iterator[tuple[UnitResults, list[str]]]:
        """`_train`. What cannot be trained stops no other unit; of what is interrupted, what had finished is there."""
        runs = self.folder / "runs" / unit.name
        try:
            yield self._train(unit, settings, have)
        except _NeverBegan as problem:
            if not among_others:
                raise
            yield self._gather(runs, settings, have), [str(problem)]
        except Interrupted:
            yield self._gather(runs, settings, have, finished_only=True), []
            raise

    def _train(self, unit: Unit, settings: Settings, have: UnitResults | None) -> tuple[UnitResults, list[str]]:
        """Resume what was begun, train what is lacking, and gather all."""
        runs, problems = self.folder / "runs" / unit.name, list[str]()
        failed = {seed for path in runs.glob("failed-*") for seed in RunFolder.open(path)[1].seeds}
        for path in sorted(p for p in runs.glob("seeds-*") if p.is_dir()):
            folder, found = RunFolder.open(path)
            if set(found.seeds) <= _finished(have):
                continue
            self._check_same(settings, found, path)
            if folder.is_finished:
                problems += self._lost(folder, set(found.seeds) - _finished(have))
                continue
            if found.named_code != settings.named_code:
                theirs = next((name for name in found.named_code if name not in settings.named_code), found.agent)
                raise Problem(
                    f"{path} was begun elsewhere, with {theirs}, and cannot go on here: move {self.folder} back to "
                    f"where it was, or {path} away, and its seeds begin anew"
                )
            in_subprocess = folder.read_json("run.json").get("status") != "interrupted" or not failed.isdisjoint(
                found.seeds
            )
            processes = self.processes if found.env_processes == 1 else None  # where one process trains all
            go_on = functools.partial(resume.resume, path, brief=True, in_subprocess=in_subprocess, processes=processes)
            problems += self._attempt(path, go_on, settings, found.seeds)
        have = self._gather(runs, settings, have)
        lacking = [s for s in settings.seeds if s not in _finished(have) | self._begun(runs)]
        problems += self._alone(runs, settings, [seed for seed in lacking if seed in failed])
        if fresh := [seed for seed in lacking if seed not in failed]:
            problems += self._begin(runs, settings, fresh)
        return self._gather(runs, settings, have), problems

    def _begin(self, runs: Path, settings: Settings, seeds: Sequence[int], in_subprocess: bool = False) -> list[str]:
        processes = min(self.processes or settings.processes, len(seeds))
        env_processes = settings.env_processes if processes == 1 else 1
        own = dataclasses.replace(settings, seeds=tuple(seeds), processes=processes, env_processes=env_processes)
        request = Request(own, runs, "seeds-" + _label(seeds))
        begin = functools.partial(train.begin, request, self.command, brief=True, in_subprocess=in_subprocess)
        return self._attempt(runs / str(request.name), begin, own, seeds)

    def _alone(self, runs: Path, settings: Settings, seeds: Sequence[int]) -> list[str]:
        """Each seed in a run and a process of its own: one may end the process that it runs in."""
        return [line for seed in seeds for line in self._begin(runs, settings, [seed], in_subprocess=True)]

    def _attempt(self, path: Path, do: Any, settings: Settings, seeds: Sequence[int]) -> list[str]:
        """Train. Where several seeds fail together, those that are unfinished begin anew, each in a run of its own, so
        that one that crashes takes no other with it; a full disk or a killed process leaves the run to be resumed.
        """
        try:
            do()
            return []
        except Problem as problem:
            if problem.exit_status == Interrupted.exit_status:  # also before the run began
                again = f"{str(problem).split(';')[0]}; go on with: {shlex.join(self.command)}"
                raise Interrupted(again) from problem
            if problem.exit_status == Problem.exit_status:
                raise _NeverBegan(str(problem)) from problem
            if len(seeds) == 1:
                return [f"seed {seeds[0]} stopped: {without_advice(problem)}"]
            if problem.from_outside:
                return [without_advice(problem)]
            if not path.exists():  # its process died before it began
                return self._alone(path.parent, settings, seeds)
            unfinished = [history.seed for history in read_run(path)[1] if history.stopped]
            _set_aside(path)
            return self._alone(path.parent, settings, unfinished)

    def _lost(self, folder: RunFolder, seeds: Collection[int]) -> list[str]:
        """Set a finished run aside where what some of its seeds had recorded is lost: these begin anew."""
        lost = {seed: why for seed in sorted(seeds) if (why := lost_record(folder, seed))}
        if lost:
            _set_aside(folder.path)
        return [f"{folder}: seed {seed} begins anew: {why}" for seed, why in lost.items()]

    def _check_same(self, wanted: Settings | dict[str, Any], found: Settings | UnitResults | None, place: Path) -> None:
        """`Problem` where runs that are there were made with other settings than the card now asks for."""
        if found is None:
            return
        folder = self.card.folder
        theirs = found.settings if isinstance(found, UnitResults) else shared(found, folder)
        ours = wanted if isinstance(wanted, dict) else shared(wanted, folder)
        for path, value, other in differences(ours, theirs, folder):
            raise Problem(
                f"{place} was run with {path} = {other!r}, and the card now says {value!r}: "
                "move it away, or choose another --into"
            )

    def _plan(
        self, unit: Unit, have: UnitResults | None, asked: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The seeds that a unit is to have, those of runs that were begun among them; and which of them were added:
        asked for once as many had run as a verdict takes. A plan only grows.
        """
        if unit.is_measured and not self.card.is_as_asked(unit.implementation):
            return (), ()
        before = {*(have.planned or have.seeds)} if have else set()
        wanted = {*asked, *self._begun(self.folder / "runs" / unit.name)}
        added = {*have.added} if have else set()
        if len(_finished(have)) >= SEEDS:
            added |= wanted - before
        return tuple(sorted(before | wanted)), tuple(sorted(added))

    @staticmethod
    def _begun(runs: Path) -> set[int]:
        """The seeds that stand in a run: what of them is unfinished goes on with the next command."""
        return {seed for path in runs.glob("seeds-*") if path.is_dir() for seed in RunFolder.open(path)[1].seeds}

    def _gather(
        self, runs: Path, settings: Settings, have: UnitResults | None, finished_only: bool = False
    ) -> UnitResults:
        """What is known of a unit: the results kept, and the run folders."""
        histories = {h.seed: h for h in have.histories} if have else {}
        abouts = list(have.runs) if have else []
        for path in (*sorted(runs.glob("seeds-*")), *sorted(runs.glob("failed-*"))):
            _, read = read_run(path)
            new = [h for h in read if h.seed not in histories or histories[h.seed].stopped]
            if finished_only or path.name.startswith("failed-"):  # what had finished before others stopped
                new = [h for h in new if not h.stopped]
            if not new:
                continue
            histories.update({h.seed: h for h in new})
            about = self._about(path)
            whose = {"folder": path.name, "started": about.get("started")}
            earlier = [a["seeds"] for a in abouts if whose.items() <= a.items()]  # gathered before it went on
            seeds = sorted({h.seed for h in new}.union(*earlier))
            one = {"seeds": seeds, "folder": path.name, **{name: about[name] for name in _KEPT if name in about}}
            others = [{**a, "seeds": [seed for seed in a["seeds"] if seed not in one["seeds"]]} for a in abouts]
            abouts = [a for a in others if a["seeds"]] + [one]
        return UnitResults(
            shared(settings, self.card.folder), tuple(abouts), tuple(histories[s] for s in sorted(histories))
        )


#: of what run.json says of a run, for its results
_KEPT = (
    "command", "started", "ended", "status", "reason", "versions", "git", "code", "hardware", "resumed", "mended",
)  # fmt: skip


def _set_aside(run: Path) -> None:
    """Of a run folder what has finished is still gathered, and the other seeds begin anew, each in a run of its own."""
    names = (f"failed-{count}-{run.name.removeprefix('seeds-')}" for count in itertools.count(1))
    run.rename(next(place for name in names if not (place := run.with_name(name)).exists()))


def _paper(card: Path) -> dict[str, str]:
    """Title, authors and address of a card's paper; {} where they cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        paper = tomllib.loads(card.read_text(encoding="utf-8"))["paper"]
        return {name: str(paper[name]) for name in ("title", "authors", "url")}
    return {}


def _finished(unit: UnitResults | None) -> set[int]:
    return {h.seed for h in unit.histories if not h.stopped} if unit else set()


def _label(seeds: Sequence[int]) -> str:
    contiguous = len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-to-{seeds[-1]}" if contiguous else "-".join(map(str, seeds))[:100]


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value
