"""docs/calibration.md: the tables of what `rlrepro calibrate` simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rlrepro.papers.calibration.simulation import (
    CLAIMS,
    FAR_PAPER_SEEDS,
    MARGINS,
    NARROW_RATIOS,
    PAPER_SEEDS,
    RATES,
    SEEDS,
    TASKS,
)
from rlrepro.papers.stats import ALPHA, MIN_SEEDS


def markdown(found: dict[str, Any]) -> str:
    """The tables for people."""
    error = 2 * math.sqrt(ALPHA * (1 - ALPHA) / found["repetitions"])
    lines = [
        "# Calibration by simulation",
        "",
        f"Made by `rlrepro calibrate --seed {found['seed']} --repetitions {found['repetitions']} --experiments "
        f"{found['experiments']}`, whose numbers come with the kit (`--show` prints them, and the tests hold parts of "
        "them to the code). The tests themselves stand in [statistics.md](statistics.md).",
        "",
        f"{found['repetitions']} repetitions a cell: a rate of 5 % is known to ± {100 * error:.1f} %. Each row has the "
        f"worst of paper seeds {', '.join(map(str, PAPER_SEEDS))}, the paper's spread half, equal and twice ours, and "
        "margins of 1, 2 and 4 standard deviations of ours, in both directions; in brackets the plain test, which is "
        "Welch's and the two one-sided tests with it, or with the spread unknown the t test that takes the paper's "
        "number for the truth. Power is the rate of *reproduced* where truth and spreads are equal, by the guarded "
        "test, margins of 1, 2 and 4 sd, at 3 / 5 / 10 paper seeds.",
        *_tests_table(found["tests"], known=True),
        *_tests_table(found["tests"], known=False),
        *_narrow_table(found["narrow"]),
        *_far_table(found["far"]),
        *_limits_table(found["limits"]),
        *_rules_table(found["rules"]),
        *_holm_table(found["holm"]),
        *_pairs_table(found["pairs"]),
        *_rare_table(found["rare"]),
        *_coverage_table(found),
    ]
    return "\n".join(lines) + "\n"


def _tests_table(rows: Sequence[dict[str, Any]], known: bool) -> list[str]:
    lines = [
        "",
        f"## The paper's spread is {'known' if known else 'unknown (paper seeds also 1)'}",
        "",
        "| seeds | returns | reproduced on the margin | above or below at equality "
        + " ".join(f"| power, {margin:g} sd" for margin in MARGINS)
        + " |",
        f"| ---: | --- | ---: | ---: |{' ---: |' * len(MARGINS)}",
    ]
    for row in (row for row in rows if row["known"] == known):
        rates = _rates_of(row)
        powers = [
            " / ".join(_percent(row[f"power, margin {margin:g} sd, {m} paper seeds"], 0) for m in PAPER_SEEDS)
            for margin in MARGINS
        ]
        if row["seeds"] < MIN_SEEDS:
            powers = ["–"] * len(MARGINS)
            if not known:
                rates[1] = f"abstains ({_percent(row['wrong side, plain'])})"
        lines.append(f"| {row['seeds']} | {row['shape']} | {' | '.join((*rates, *powers))} |")
    return lines


def _rates_of(row: dict[str, Any]) -> list[str]:
    """The rates of wrong verdicts, in brackets those of the plain test."""
    rates = [f"{_percent(row[rate])} ({_percent(row[f'{rate}, plain'])})" for rate in RATES]
    if row["seeds"] < MIN_SEEDS:
        rates[0] = f"abstains ({_percent(row['on margin, plain'])})"
    return rates


def _narrow_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [name for name in rows[0] if name.startswith(RATES)]
    ratios = " and ".join([", ".join(f"{ratio:g}" for ratio in NARROW_RATIOS[:-1]), f"{NARROW_RATIOS[-1]:g}"])
    return [
        "",
        "## Margins within the spread of our seeds",
        "",
        f"The worst of paper seeds {', '.join(map(str, PAPER_SEEDS))} (with the spread unknown also 1) and of spreads "
        f"of the paper's that are {ratios} times ours. Where 80 % of returns are at the cap, ten seeds show no spread "
        "at all in 11 % of cases: half a margin then stands for it, which is little where margins are narrow. Those "
        "rows are not held to 5 %, the others are.",
        "",
        f"| returns | seeds | margin | {' | '.join(names)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in names)} |",
        *(
            f"| {row['shape']} | {row['seeds']} | {row['margin']:g} sd | "
            f"{' | '.join(_percent(row[name]) for name in names)} |"
            for row in rows
        ),
    ]


def _far_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    far: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        far.setdefault((row["seeds"], row["shape"]), []).extend(_rates_of(row))
    return [
        "",
        "## Spreads far apart",
        "",
        f"Both are known, one ten times the other; paper seeds {', '.join(map(str, FAR_PAPER_SEEDS))}, else as above. "
        "Where ours is the wide one, *above* and *below* hold at any number of seeds. What a paper's few seeds did not "
        "show of a wide spread no test can see, nor what ten of ours did not that all met the cap: those rates are not "
        "held to 5 %.",
        "",
        "| seeds | returns | ours ten times: reproduced on the margin | ours ten times: above or below at equality "
        "| the paper's ten times: reproduced on the margin | the paper's ten times: above or below at equality |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
        *(f"| {n} | {shape} | {' | '.join(rates)} |" for (n, shape), rates in far.items()),
    ]


def _limits_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [
        "",
        "## Where it cannot hold",
        "",
        "One side fails in 30 % of seeds and the other never, or both are lognormal with skewness 3.7; the true "
        "difference is the margin. What a paper's few seeds did not show no test can see: a claim's notes say so.",
        "",
        "| truth | seeds | paper seeds | reproduced on the margin |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {row['truth']} | {row['seeds']} | {row['paper seeds']} | "
            f"{'abstains, else ' if row['seeds'] < MIN_SEEDS else ''}{_percent(row['on margin'])} "
            f"({_percent(row['on margin, plain'])}) |"
            for row in rows
        ),
    ]


def _rules_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [name for name in rows[0] if name.startswith(("at ", "about", "beyond"))]
    return [
        "",
        "## Rules over seeds",
        "",
        "How often a printed bound, or the band of an *about*, is found kept where the true mean stands on its edge, "
        "and how often it is found beyond the band. A bound has no spread, and for a margin half a unit of its last "
        "printed digit, which is left out here: with it fewer are found kept, the fewer the coarser the number is "
        "printed. Its t test errs as t tests of skewed and capped returns do, and a failure that ten seeds did not "
        "meet it cannot see. These rates are not held to 5 %.",
        "",
        *_by_shape_and_seeds(rows, names),
    ]


def _by_shape_and_seeds(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    return [
        f"| returns | seeds | {' | '.join(names)} |",
        f"| --- | ---: | {' | '.join('---:' for _ in names)} |",
        *(f"| {row['shape']} | {row['seeds']} | {' | '.join(_percent(row[name]) for name in names)} |" for row in rows),
    ]


def _holm_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [name for name in rows[0] if name.startswith("any")]
    return [
        "",
        f"## A card of {CLAIMS} claims after Holm's correction, {MIN_SEEDS} seeds",
        "",
        f"| returns | paper seeds | margin | {' | '.join(names)} |",
        f"| --- | ---: | ---: | {' | '.join('---:' for _ in names)} |",
        *(
            f"| {row['shape']} | {row['paper seeds']} | {row['margin']:g} sd | "
            f"{' | '.join(_percent(row[name]) for name in names)} |"
            for row in rows
        ),
    ]


def _pairs_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    sizes = list(dict.fromkeys((row["seeds"], row["other seeds"]) for row in rows))
    rates = {(row["shape"], row["seeds"], row["other seeds"]): row for row in rows}
    lines = [
        "",
        "## Two groups of seeds",
        "",
        "How often two groups with one mean are told apart at 5 %, by the test of `rlrepro compare` and of claims of "
        "order, in brackets by Welch's; the worst of spreads of a tenth, half, one, two and ten times the other's. Of "
        "the seeds, the second number may be the wider spread's or the narrower's.",
        "",
        f"| returns | {' | '.join(f'{n} and {m} seeds' for n, m in sizes)} |",
        f"| --- | {' | '.join('---:' for _ in sizes)} |",
    ]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        found = [rates[shape, n, m] for n, m in sizes]
        cells = [f"{_percent(row['told apart'])} ({_percent(row['told apart, plain'])})" for row in found]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    return lines


def _rare_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = [name for name in rows[0] if name not in ("shape", "seeds")]
    return [
        "",
        "## Rare failures",
        "",
        "One seed in ten or twenty fails, by twenty times the spread of the others; the rates of the tables above, the "
        "worst of paper seeds, spreads and margins, and the coverage of the mean's interval. Ten seeds meet no failure "
        "of one in ten in 35 % of cases, of one in twenty in 60 %: of what they did not meet no test can tell, and "
        "nothing here is held to 5 %. Where a paper's seeds or its spread tell of failures, the test of a claim holds.",
        "",
        *_by_shape_and_seeds(rows, names),
    ]


def _coverage_table(found: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## Coverage of 95 % intervals",
        "",
        f"From the worst to the best shape. Those of the bootstrap have {found['experiments']} experiments on {TASKS} "
        f"tasks, {found['resamples']} resamples. Where it is not 95 ± 1.5 % a report says so. *band* is that of "
        'our mean\'s distance from a number printed with "about", for bands from far narrower than our spread to four '
        "times as wide; from a printed bound it is that of the mean.",
        "",
        f"| interval | {' | '.join(f'{n} seeds' for n in SEEDS)} |",
        f"| --- | {' | '.join('---:' for _ in SEEDS)} |",
    ]
    for kind, by_seeds in found["coverage"].items():
        ranges = [f"{_percent(low)}–{_percent(high)}" for low, high in by_seeds.values()]
        lines.append(f"| {kind} | {' | '.join(ranges)} |")
    return lines


def _percent(rate: float, digits: int = 1) -> str:
    return f"{100 * rate:.{digits}f}"
