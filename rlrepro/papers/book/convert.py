"""TOML files of published numbers, as rows of the book: facts in, sentences out.

A file has `[[result]]` tables with `id`, `paper`, `citation`, `algorithm`, `env_id`, `metric` or `protocol`, `mean`,
`where` and `read_from`, and where the source says so `variant`, `env_version_note`, `steps`, `frames`, `seeds`,
`spread` with `spread_kind`, `low`, `high`, `per_seed`, `hyperparameters`, `traps` (names of cautions). `protocol` is a
table as `rlrepro.papers.protocol` knows it; a `metric` is a sentence, of which `sentences` knows some. What
else a table has, such as the quoted line, stays behind.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path

from rlrepro.errors import Problem, nearest
from rlrepro.papers.book import sentences
from rlrepro.papers.book.published import Published, Traps
from rlrepro.papers.book.sentences import Table
from rlrepro.papers.protocol import Protocol
from rlrepro.papers.spreads import SPREADS, spread_faults
from rlrepro.papers.toml_tables import is_number


def convert(files: Sequence[Path], traps: Traps) -> list[Published]:
    """The rows of these files. `Problem` names the file, the row and the field of the first fault."""
    rows: dict[str, Published] = {}
    for file in files:
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise Problem(f"{file}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Problem(f"{file} is not TOML: {error}") from None
        results = tables.get("result")
        if results is None:
            raise Problem(f"{file} has no [[result]] table{nearest('result', tables)}")
        if not isinstance(results, list) or not all(isinstance(table, dict) for table in results):
            raise Problem(f"{file}: result is not a list of tables ([[result]])")
        for number, table in enumerate(results, 1):
            place = f"{file}: {table['id'] if isinstance(table.get('id'), str) else f'result {number}'}"
            row = _row(table, place, traps)
            if row.id in rows:
                raise Problem(f"{place}: id: the same id is there twice")
            rows[row.id] = row
    return list(rows.values())


def _row(table: Table, place: str, traps: Traps) -> Published:
    def text(name: str, needed: bool = True) -> str:
        value = table.get(name, "")
        if not isinstance(value, str) or (needed and not value.strip()):
            raise Problem(f"{place}: {name}: {'missing' if name not in table else f'{value!r} is not a text'}")
        return " ".join(value.split())

    def number(name: str) -> float | None:
        value = table.get(name)
        if value is not None and not is_number(value):
            raise Problem(f"{place}: {name}: {value!r} is not a finite number")
        return None if value is None else float(value)

    def count(name: str) -> int | None:
        value = table.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise Problem(f"{place}: {name}: {value!r} is not a whole number above 0")
        return value

    identity = text("id")
    mean = number("mean")
    if mean is None:
        raise Problem(f"{place}: mean: missing")
    spread, low, high = number("spread"), number("low"), number("high")
    if type(table.get("frames", False)) is not bool:
        raise Problem(f"{place}: frames: {table['frames']!r} is neither true nor false")
    kind = _spread_kind(table, place)
    protocol, cautions = _protocol(table, kind, place)
    per_seed = table.get("per_seed", [])
    if not isinstance(per_seed, list) or not all(type(v) in (int, float) and math.isfinite(v) for v in per_seed):
        raise Problem(f"{place}: per_seed: not a list of finite numbers")
    seeds, steps = count("seeds"), count("steps")
    if protocol.statistic == "other" and seeds is None:
        per_seed = []  # the values of states, not of seeds
    given = table.get("traps", [])
    if not isinstance(given, list):
        raise Problem(f"{place}: traps: {given!r} is not a list of texts")
    for name in given:
        if not isinstance(name, str) or name not in traps.cautions:
            raise Problem(f"{place}: traps: no caution is called {name!r}{nearest(str(name), traps.cautions)}")
    fields = {
        "variant": text("variant", needed=False),
        "env": text("env_id"),
        "env_note": text("env_version_note", needed=False),
        "steps": steps,
        "where": text("where"),
        "read_from": text("read_from"),
        "hyperparameters": text("hyperparameters", needed=False),
    }
    row = Published(
        id=identity,
        paper=text("paper"),
        citation=text("citation"),
        algorithm=text("algorithm"),
        frames=table.get("frames", False),
        seeds=seeds,
        mean=mean,
        spread=spread,
        spread_kind=kind,
        low=low,
        high=high,
        per_seed=tuple(float(value) for value in per_seed),
        protocol=protocol,
        traps=tuple(dict.fromkeys((*cautions, *given))),
        **(fields if "protocol" in table else sentences.facts(table, fields)),
    )
    _check(row, place)
    return row


def _check(row: Published, place: str) -> None:
    """Rows whose numbers contradict each other."""
    if row.spread is not None and row.spread < 0:
        raise Problem(f"{place}: spread: {row.spread} is below 0")
    for field, text in spread_faults(row.spread_kind, row.mean, row.spread, row.low, row.high, bool(row.per_seed)):
        raise Problem(f"{place}: {field}: {text}")
    if not row.per_seed:
        return
    if row.seeds != len(row.per_seed):
        raise Problem(f"{place}: per_seed: {len(row.per_seed)} values of {row.seeds} seeds")
    values, n = row.per_seed, len(row.per_seed)
    mean = math.fsum(values) / n
    squares = math.fsum((value - mean) ** 2 for value in values)
    if abs(mean - row.mean) > 0.005 * max(1, abs(mean)):
        raise Problem(f"{place}: per_seed: their mean is {mean:.6g}, not {row.mean:g}")
    spreads = {"population sd": squares / n, "standard error": squares / n / n}
    if n > 1:
        spreads["sample sd"] = squares / (n - 1)
    if row.spread is not None and row.spread_kind in spreads:
        spread = math.sqrt(spreads[row.spread_kind])
        if abs(spread - row.spread) > 0.1 + 0.005 * spread:
            raise Problem(f"{place}: spread: the {row.spread_kind} of per_seed is {spread:.6g}, not {row.spread:g}")


def _protocol(table: Table, kind: str, place: str) -> sentences.Made:
    """The protocol of a row, and the cautions of a sentence that tells it."""
    if "protocol" not in table:
        return sentences.read(table, kind, place)
    if not isinstance(table["protocol"], dict):
        raise Problem(f"{place}: protocol: not a table")
    try:
        return Protocol.from_table(table["protocol"]), ()
    except Problem as problem:
        raise Problem(f"{place}: protocol: {problem}") from None


def _spread_kind(table: Table, place: str) -> str:
    kind = table.get("spread_kind")
    if kind is None:
        return "none"
    if not isinstance(kind, str):
        raise Problem(f"{place}: spread_kind: {kind!r} is not a text")
    if kind in SPREADS:
        return kind
    told = sentences.spread_kind(kind)
    if told is not None:
        return told
    raise Problem(f"{place}: spread_kind: {kind!r} is none of {', '.join(SPREADS)}{nearest(kind, SPREADS)}")
