"""A card's file read and checked: the card, or every fault in it by file, line and field."""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlrepro.errors import Problem, nearest
from rlrepro.papers import toml_lines
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.cards.claims import Parts, read_claims, read_orders
from rlrepro.papers.cards.parts import (
    read_environment,
    read_implementations,
    read_measurements,
    read_paper,
    read_protocol,
)
from rlrepro.papers.toml_tables import Fault, Reader, Table, named

CARD_FORMAT = 1
# of an installed package, and of a checkout
_OWN = tuple(place / "experiments" for place in Path(__file__).resolve().parents[2:4])


def find_card(name: str) -> Path:
    """A card's file by its path, its folder, or the name of one that comes with the kit."""
    given = Path(name)
    try:
        for path in (given, given / "card.toml", *(folder / name / "card.toml" for folder in _OWN)):
            if path.is_file():
                return path
    except (OSError, ValueError):
        pass
    known = [path.parent.name for path in own_cards()]
    near = _nearest_card(given)
    hint = f"; did you mean {str(near)!r}?" if near else nearest(_name_of(given), known)
    hint = hint or f" (with the kit come: {', '.join(known)})" * bool(known)
    raise Problem(f"there is no card {name}{hint}; `rlrepro card new` writes one")


def _nearest_card(given: Path) -> Path | None:
    """The card's file that a mistyped path is nearest to: each part that is not there is its folder's nearest."""
    if len(given.parts) < 2:
        return None
    place = Path()
    try:
        for part in given.parts:
            there = place / part
            if not there.exists():
                names = {one.name.lower(): one.name for one in sorted(place.iterdir())}
                found = difflib.get_close_matches(part.lower(), names, n=1)
                if not found:
                    return None
                there = place / names[found[0]]
            place = there
        place = place / "card.toml" if place.is_dir() else place
        is_card = place.is_file() and place.suffix == ".toml" and place.name != "pyproject.toml"
        return place if is_card else None
    except (OSError, ValueError):
        return None


def _name_of(card: Path) -> str:
    """The name that a card of this path would have."""
    return card.parent.name if card.name == "card.toml" else card.name


def own_cards() -> list[Path]:
    """The files of the cards that come with the kit, by name; each once, where a checkout's folder is a package's."""
    found = {path.resolve(): path for folder in reversed(_OWN) for path in folder.glob("*/card.toml")}
    return sorted(found.values())


def load_card(name: str) -> Card:
    """A card without faults; `Problem` names the first fault of any other."""
    file = find_card(name)
    card, faults = read_card(file)
    if card is None or faults:
        more = f" (and {len(faults) - 1} more: rlrepro card check {shlex.quote(str(file))})" if len(faults) > 1 else ""
        raise Problem(f"{faults[0]}{more}")
    return card


def read_card(file: Path) -> tuple[Card | None, list[Fault]]:
    """The card in a file, or its faults in the order of their lines."""
    shown = str(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        return None, [Fault(shown, 1, "the file", "is not text in UTF-8")]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line = int(at.group(1)) if at else max(1, text.count("\n"))
        return None, [Fault(shown, line, "the file", f"is not TOML: {str(error).split(' (at ')[0]}")]
    except RecursionError:
        return None, [Fault(shown, 1, "the file", "is nested too deeply")]
    except ValueError as error:  # a whole number of thousands of digits
        return None, [Fault(shown, 1, "the file", f"holds a value that cannot be read: {' '.join(str(error).split())}")]
    reader = Reader(shown, toml_lines.line_numbers(text))
    card = _read(reader, values, file, text)
    faults = sorted(reader.faults, key=lambda fault: fault.line)
    return (None if faults else card), faults


_TOP = (
    "format", "paper", "environment", "implementation", "protocol", "measurement", "claim", "claim_defaults", "order",
    "compute", "deviations",
)  # fmt: skip


def _read(reader: Reader, values: Mapping[str, Any], file: Path, text: str) -> Card | None:
    top = Table(reader, values, (), _TOP)
    if values.get("format") != CARD_FORMAT or type(values.get("format")) is not int:
        top.fault("format", f"should be {CARD_FORMAT}: the form of this card")
    paper = read_paper(reader, values.get("paper"), "paper" in values)
    environments = {name: read_environment(reader, name, v) for name, v in named(reader, values, "environment")}
    implementations = read_implementations(reader, values)
    protocols = {name: read_protocol(reader, name, v) for name, v in named(reader, values, "protocol")}
    measurements = read_measurements(reader, values)
    parts = Parts(environments, implementations, protocols, measurements)
    claims = list(read_claims(reader, values, parts))
    orders = list(read_orders(reader, values, parts))
    if not claims and not orders and not reader.faults:
        top.fault("claim", "is missing: a card needs at least one [[claim]]")
    seen: set[str] = set()
    everything: list[tuple[toml_lines.Path, Claim | Order]] = [*claims, *orders]
    for path, one in everything:
        if one.id in seen:
            reader.fault((*path, "id"), f"{one.id!r} is there twice")
        seen.add(one.id)
    compute = Table(reader, values.get("compute", {}), ("compute",), ("stated",))
    stated = compute.text("stated", "what the paper says of its hardware and hours", "not stated")
    deviations = top.texts("deviations")
    if reader.faults or paper is None:
        return None
    name = file.resolve().parent.name if file.name == "card.toml" else file.stem
    return Card(
        name,
        file,
        text,
        paper,
        environments,
        {k: v for k, v in implementations.items() if v is not None},
        {k: v for k, v in protocols.items() if v is not None},
        tuple(claim for _, claim in claims),
        tuple(order for _, order in orders),
        stated,
        deviations,
        {k: v for k, v in measurements.items() if v is not None},
    )
