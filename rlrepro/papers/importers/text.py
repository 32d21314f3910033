"""Text files of others as rows, each fault with its file and line."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rlrepro.errors import Problem, one_line


def whole_text(path: Path, always_ends: bool = False) -> tuple[str, list[str]]:
    """A text file without a half-written last line, and a note where there was one.

    A last line without its end is whole where it has all its cells, unless its writer always ends them.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise Problem(f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Problem(f"{path}: not a text file that can be read: {one_line(error)}") from None
    if not text.strip():
        raise Problem(f"{path} is empty")
    if text.endswith("\n"):
        return text, []
    whole, _, last = text.rpartition("\n")
    header, between = _header(whole), _separator(whole)
    is_row = last.count(between) == header.count(between) and last.rpartition(between)[2].strip()
    if not header or (not always_ends and is_row):
        return text + "\n", [f"{path}: its last line has no end: it is read as it stands, and may be half a number."]
    return whole + "\n", [f"{path}: its last line is half-written and left out."]


def csv_rows(text: str, path: Path, above: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV text, each with the line that it ends in; `above` it the file has so many lines more.

    Where the first has no comma, semicolons or tabs separate the cells.
    """
    reader = csv.reader(io.StringIO(text), delimiter=_separator(text))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Problem(f"{path}:{reader.line_num + above}: {error}") from None
        if cells is None:
            return
        yield reader.line_num + above, cells


def _header(text: str) -> str:
    """The first line that is no comment."""
    return next((line for line in text.splitlines() if not line.startswith("#")), "")


def _separator(text: str) -> str:
    header = _header(text)
    return next((one for one in ",;\t" if one in header), ",")


def as_number(cells: Sequence[str], place: int, path: Path, line: int, what: str) -> float:
    """A cell as a number; NaN and infinity are numbers here, and scoring says what it makes of them."""
    if place >= len(cells):
        raise Problem(f"{path}:{line}: it has {len(cells)} cells, and no {what}")
    try:
        return float(cells[place])
    except ValueError:
        raise Problem(f"{path}:{line}: {what} {cells[place]!r} is not a number") from None


def check_steps(points: np.ndarray, where: Callable[[int], str], strict: bool = True) -> None:
    """`Problem` where env steps go back (or stand still): two runs under one seed."""
    if len(odd := np.flatnonzero(~np.isfinite(points[:, 0]))):
        raise Problem(f"{where(int(odd[0]))} is at env step {points[odd[0], 0]:g}")
    gaps = np.diff(points[:, 0])
    bad = np.flatnonzero(gaps <= 0 if strict else gaps < 0)
    if len(bad):
        row = int(bad[0]) + 1
        here, before = int(points[row, 0]), int(points[row - 1, 0])
        raise Problem(f"{where(row)} is at env step {here:,}, the one before at {before:,}: are there two runs in it?")
    if len(points) and points[0, 0] < 0:
        raise Problem(f"{where(0)} is at env step {int(points[0, 0]):,}")
