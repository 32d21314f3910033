"""On which line of a TOML text each value stands; tomllib tells values alone."""

from __future__ import annotations

import tomllib
from typing import Any

Path = tuple[str | int, ...]
_ENDS = ("]", "}", '"""', "'''")


def line_numbers(text: str) -> dict[Path, int]:
    """`{path: line}` of every key, table and element of a text that tomllib reads; lines count from 1."""
    lines: dict[Path, int] = {(): 1}
    elements: dict[Path, int] = {}
    table: Path = ()
    rows = text.split("\n")  # as TOML counts them: a text may hold other separators
    at = 0
    while at < len(rows):
        first, statement = at + 1, rows[at]
        at += 1
        bare = statement.strip()
        if not bare or bare.startswith("#"):
            continue
        while (parsed := _parsed(statement)) is None and at < len(rows):
            begin = at
            while at < len(rows) and not any(end in rows[at] for end in _ENDS):
                at += 1  # no value that takes several lines ends here: parsing at each would be quadratic
            at += 1
            statement += "\n" + "\n".join(rows[begin:at])
        if parsed is None:
            break
        if bare.startswith("["):
            *outer, last = _header(parsed)
            table = ()
            for key in outer:
                table += (key,)
                if table in elements:
                    table += (elements[table],)
            table += (last,)
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], first)
            if bare.startswith("[["):
                elements[table] = elements.get(table, -1) + 1
                table += (elements[table],)
                lines[table] = first
        else:
            _note(lines, table, parsed, first)
    return lines


def _parsed(statement: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(statement)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _header(parsed: dict[str, Any]) -> list[str]:
    """The keys of a header that was parsed alone."""
    keys: list[str] = []
    here: Any = parsed
    while here:
        here = here[0] if isinstance(here, list) else here
        if not here:
            break
        keys.append(next(iter(here)))
        here = here[keys[-1]]
    return keys


def _note(lines: dict[Path, int], path: Path, value: Any, line: int) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        lines.setdefault((*path, key), line)
        _note(lines, (*path, key), inner, line)
