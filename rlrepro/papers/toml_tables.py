"""Tables of a TOML file, field by field, each fault with its line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.errors import nearest
from rlrepro.papers import toml_lines
from rlrepro.plugins import own_code


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a card."""

    file: str
    line: int
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.text}"


class Absent:
    """No default: the field must be there."""


class Reader:
    """Takes fields out of tables and gathers what is wrong with them."""

    def __init__(self, file: str, lines: Mapping[toml_lines.Path, int]) -> None:
        self.file, self.lines = file, lines
        self.faults: list[Fault] = []

    def whole(self, name: str) -> str:
        """What the card names, a file's path taken from the card's folder."""
        return own_code.from_folder(name, Path(os.path.abspath(self.file)).parent)

    def line(self, path: toml_lines.Path) -> int:
        """Where a field stands, or the table that it would stand in."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def fault(self, path: toml_lines.Path, text: str) -> None:
        name = ".".join(f"{part}" if isinstance(part, str) else f"[{part + 1}]" for part in path).replace(".[", "[")
        self.faults.append(Fault(self.file, self.line(path), printable(name) or "the card", printable(text)))


class Table:
    """One table of a card: each field is asked for once; what is left over is a fault."""

    def __init__(self, reader: Reader, values: Any, path: toml_lines.Path, known: Sequence[str]) -> None:
        self.reader, self.path = reader, path
        if not isinstance(values, dict):
            reader.fault(path, f"is a {kind_of(values)}, and should be a table of {', '.join(known[:4])} …")
            values = {}
            self.broken = True
        else:
            self.broken = False
        self.values = values
        for key in values:
            if key not in known:
                reader.fault((*path, key), f"unknown field{nearest(key, known)}")

    def fault(self, name: str, text: str) -> None:
        self.reader.fault((*self.path, name) if name else self.path, text)

    def get(self, name: str, is_right: Callable[[Any], bool], wanted: str, default: Any = Absent) -> Any:
        """A field that is as wanted; else the default, and a fault where it is there or must be."""
        if name not in self.values:
            if default is Absent:
                if not self.broken:
                    self.fault(name, f"is missing: {wanted}")
                return None
            return default
        value = self.values[name]
        if not is_right(value):
            self.fault(name, f"{short(value)} is not {wanted}")
            return None if default is Absent else default
        return value

    def text(self, name: str, wanted: str = "a text", default: Any = Absent) -> Any:
        return self.get(
            name, lambda v: isinstance(v, str) and (bool(v.strip()) or default is not Absent), wanted, default
        )

    def number(self, name: str, wanted: str = "a number", default: Any = Absent, low: float = -math.inf) -> Any:
        value = self.get(name, lambda v: is_number(v) and v >= low, wanted, default)
        return float(value) if is_number(value) else value

    def count(self, name: str, wanted: str, default: Any = Absent) -> Any:
        return self.get(name, lambda v: type(v) is int and 1 <= v <= 10**12, wanted, default)

    def texts(self, name: str, wanted: str = "a list of texts") -> tuple[str, ...]:
        return tuple(self.get(name, lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v), wanted, ()))

    def one_of(self, name: str, choices: Sequence[str], default: Any = Absent) -> Any:
        value = self.get(name, lambda v: isinstance(v, str), f"one of {', '.join(choices)}", default)
        if isinstance(value, str) and value not in choices and value != default:
            self.fault(
                name, f"{value!r} is none of {', '.join(choices) or 'those on the card'}{nearest(value, choices)}"
            )
            return None
        return value


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e100 and math.isfinite(value)


def is_id(value: Any) -> bool:
    """Ids are patterns on command lines, and stand in pages and terminals."""
    return isinstance(value, str) and re.fullmatch(r"[\w.+@=()/:,-][\w.+@=()/:, -]{0,99}", value) is not None


def is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def is_url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s<>\"']+", value) is not None


def kind_of(value: Any) -> str:
    kinds = {bool: "truth value", int: "number", float: "number", str: "text", list: "list", dict: "table"}
    return kinds.get(type(value), type(value).__name__)


def printable(text: str) -> str:
    """One line without control characters, which a card may hold and a terminal would obey."""
    plain = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in plain)


def short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # thousands of digits
        text = "that number"
    return text if len(text) <= 60 else text[:57] + "…"


def named(reader: Reader, values: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    """The tables of a kind that are told apart by name: `[kind.NAME]`."""
    tables = values.get(kind, {})
    if not isinstance(tables, dict):
        reader.fault((kind,), f"is a {kind_of(tables)}: name each one, as in [{kind}.first]")
        return
    for name, table in tables.items():
        if not re.fullmatch(r"[\w.+@=() -]{1,80}", name):
            reader.fault((kind, name), "a name is of letters, digits and . _ + @ = ( ) -")
        elif len(name.encode()) > 80:
            reader.fault((kind, name), f"a name of {len(name.encode())} bytes; folders take 80")
        elif isinstance(table, dict):
            yield name, table
        else:
            reader.fault((kind, name), f"is a {kind_of(table)}, and should be a table: [{kind}.{name}]")


def listed(reader: Reader, values: Mapping[str, Any], kind: str) -> Iterator[tuple[dict[str, Any], toml_lines.Path]]:
    """The tables of a kind that come as a list, `[[kind]]`, each with its place."""
    tables = values.get(kind, [])
    if not isinstance(tables, list):
        reader.fault((kind,), f"is a {kind_of(tables)}: write [[{kind}]], once for each")
        return
    for index, table in enumerate(tables):
        if not isinstance(table, dict):
            reader.fault((kind, index), f"is a {kind_of(table)}: write [[{kind}]], once for each")
        else:
            yield table, (kind, index)
