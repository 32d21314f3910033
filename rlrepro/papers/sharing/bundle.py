"""A reproduction as one file that others can check: `rlrepro bundle` packs it, `verify` tests it.

NAME.rlrepro.zip
  manifest.json          the form, the name, and of every other file its length and SHA-256
  card.toml
  results/               settings, versions, commands, and every episode and evaluation of every seed
  verdicts.json
  report.html report.md  where they were written
  agent.py               code beside the card that it names

A bundle is data: nothing of it is executed, and a card that names code of its own is refused, unless it is trusted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import re
import shlex
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.checkpoint import make_folder, write_whole
from rlrepro.errors import Problem, one_line
from rlrepro.flags import Parser
from rlrepro.papers.cards.card import Card
from rlrepro.papers.cards.reader import load_card
from rlrepro.papers.toml_tables import printable
from rlrepro.papers.units.results import Results, find_reproduction, open_reproduction
from rlrepro.papers.verdicts.verdict import judge
from rlrepro.papers.verdicts.verdict_json import as_json, verdicts_json
from rlrepro.plugins import own_code

BUNDLE_FORMAT = 1
SUFFIX = ".rlrepro.zip"
_MANIFEST = "manifest.json"
_NEEDED = ("card.toml", "results/results.json", "verdicts.json")
_MEMBER = re.compile(
    r"card\.toml|verdicts\.json|report\.(html|md)|results/(results\.json|[\w.-]{1,200}\.csv\.gz)"
    r"|([\w-][\w.-]{0,100}/){0,5}[\w-][\w.-]{0,100}\.py"
)
_NAME = re.compile(r"[\w+=@-][\w.+=@-]{0,150}")
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say
_MOST_FILES = 2_000
_MOST_BYTES = 2**29  # unpacked, of one file and of all together


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a bundle holds, its hashes checked."""

    name: str
    card: Card
    results: Results
    verdicts: Mapping[str, Any]
    pages: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  #: report.html and report.md, where there


# --- packing


def pack(folder: Path, into: Path | None = None) -> Path:
    """Pack a reproduction, `folder/card.toml` and `folder/results`; the same bytes for the same files.

    `Problem` where something is lacking or damaged, or where verdicts.json is not of these results.
    """
    if into is not None and into.is_dir():
        raise Problem(f"--into {into} is a folder; expected the file to write, as NAME{SUFFIX}")
    card, results = open_reproduction(folder)
    verdicts = verdicts_json(judge(card, results))
    stated = folder / "verdicts.json"
    if stated.exists():
        verdicts = _read(stated)
        if contradictions(_json(verdicts, str(stated)), rejudged(card, results)):
            raise Problem(
                f"{stated} is not of these results: write it again (rlrepro report {shlex.quote(str(folder))})"
            )
    files = {"card.toml": _read(folder / "card.toml"), "verdicts.json": verdicts}
    for name in ("results.json", *(f"{unit}.csv.gz" for unit in results.units)):
        files[f"results/{name}"] = _read(folder / "results" / name)
    for name in ("report.html", "report.md"):
        if (folder / name).is_file():
            files[name] = _read(folder / name)
    files |= _code(card, results)
    name = "".join(c if _NAME.fullmatch(f"a{c}") else "-" for c in card.name).lstrip(".") or "reproduction"
    manifest = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "files": {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for path, data in sorted(files.items())
        },
    }
    files[_MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    into = into or Path(name + SUFFIX)
    if into.is_file() and not zipfile.is_zipfile(into):
        raise Problem(f"{into} is no bundle, and would be written over: choose another --into")
    write_whole(into, _zip(files))
    return into


def unpacked(card: Card) -> list[str]:
    """The files of code that the card names and that cannot be packed."""
    return [file for file in card.code(card.named) if file.endswith(".py") and not _MEMBER.fullmatch(file)]


def _code(card: Card, results: Results) -> dict[str, bytes]:
    """The code beside the card that it names, by file. `Problem` where it is not what was run."""
    code = card.code(card.named)
    _check_code(card, results, code)
    return {file: data for file, data in code.items() if file.endswith(".py") and _MEMBER.fullmatch(file)}


def _check_code(card: Card, results: Results, code: Mapping[str, bytes]) -> None:
    now = own_code.hashes(code)
    for run in (run for unit in results.units.values() for run in unit.runs):
        for file in own_code.changed(_table(_table(run).get("code")), now):
            raise Problem(f"{card.folder / file} is not the {file} that the results were made with: put that back")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Problem(f"{file}: {error.strerror}") from None


def _zip(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in sorted(files.items(), key=lambda item: (item[0] != _MANIFEST, item[0])):
            member = zipfile.ZipInfo(name, _TIME)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, data, zipfile.ZIP_STORED)  # what is large in it is compressed already
    return made.getvalue()


# --- reading


def open_bundle(file: Path, place: Path, trust: bool = False) -> Bundle:
    """Read a bundle into `place`. `Problem` where it is damaged, lies, or names code of its own without `trust`."""
    files = read_files(file)
    manifest = _json(files[_MANIFEST], f"{file}: {_MANIFEST}")
    name = manifest.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Problem(f"{file}: {_MANIFEST} gives it no name that a folder can have")
    named = _check_card(files["card.toml"], file, trust)
    code = {path for one in named if one in files for path in own_code.with_helpers(one, files.get)}
    for path in sorted(path for path in files if path.endswith(".py")):
        if path not in code:
            raise Problem(f"{file} holds {path!r}, which is no file of a bundle: its card does not name it")
    about = _json(files["results/results.json"], f"{file}: results/results.json")
    units = {f"results/{unit}.csv.gz" for unit in _table(about.get("units"))}
    if units != (there := {path for path in files if path.endswith(".csv.gz")}):
        odd = sorted(units ^ there)[0]
        where = "in" if odd in there else "not in"
        raise Problem(f"{file}: {printable(odd)} is {where} it, against what results.json says")
    for path in sorted(there):
        _check_unpacked(files[path], f"{file}: {path}")
    folder = place / name
    for path, data in files.items():
        if path != _MANIFEST:
            make_folder((folder / path).parent)
            (folder / path).write_bytes(data)
    try:
        card, results = open_reproduction(folder)
    except Problem as problem:
        raise Problem(str(problem).replace(f"{folder}/", f"{file}: ")) from None
    _check_code(card, results, {path: data for path, data in files.items() if path.endswith(".py")})
    pages: dict[str, bytes] = {path: files[path] for path in ("report.html", "report.md") if path in files}
    return Bundle(name, card, results, _json(files["verdicts.json"], f"{file}: verdicts.json"), pages)


def read_files(file: Path) -> dict[str, bytes]:
    """Every file of a bundle by its path, hashes and lengths checked. `Problem` where anything is not as it should be.

    Only the paths that a bundle can have are read, whatever else the archive names, and never more than half a GB.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(file, members)
            files = {member.filename: archive.read(member) for member in members}
    except OSError as error:
        raise Problem(f"{file}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Problem(f"{file} is no bundle, or damaged: {error}") from None
    if _MANIFEST not in files:
        raise Problem(f"{file} is no bundle: it has no {_MANIFEST}")
    manifest = _json(files[_MANIFEST], f"{file}: {_MANIFEST}")
    if manifest.get("format") != BUNDLE_FORMAT:
        raise Problem(f"{file} is no bundle of this version (format {BUNDLE_FORMAT})")
    listed = _table(manifest.get("files"))
    for path in sorted({*listed, *_NEEDED} - set(files)):
        raise Problem(f"{file}: {printable(path)} is missing")
    for path in sorted(set(files) - set(listed) - {_MANIFEST}):
        raise Problem(f"{file}: {path} is in it, but not in its {_MANIFEST}")
    for path in sorted(listed):
        wanted, found = _table(listed[path]).get("sha256"), hashlib.sha256(files[path]).hexdigest()
        if wanted != found:
            raise Problem(f"{file}: {path} was changed: its SHA-256 is not the one that {_MANIFEST} states")
    return files


def _check_members(file: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > _MOST_FILES:
        raise Problem(f"{file} holds {len(members):,} files; a bundle has at most {_MOST_FILES:,}")
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if name != _MANIFEST and not _MEMBER.fullmatch(name):
            raise Problem(f"{file} holds {name[:100]!r}, which is no file of a bundle")
        if name in seen:
            raise Problem(f"{file} holds {name} twice")
        seen.add(name)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Problem(f"{file}: {name} is encrypted, or compressed in a way that bundles are not")
    size = sum(member.file_size for member in members)
    if size > _MOST_BYTES:
        raise Problem(f"{file} would unpack to {size:,} bytes; a bundle has at most {_MOST_BYTES:,}")


def _check_unpacked(data: bytes, place: str) -> None:
    """`Problem` where gzip data grow beyond what results can be; they are not kept meanwhile."""
    size, rest = 0, data
    try:
        while rest:
            unpacker = zlib.decompressobj(wbits=31)
            while not unpacker.eof:
                piece = unpacker.decompress(rest, 2**20)
                rest = unpacker.unconsumed_tail
                size += len(piece)
                if size > _MOST_BYTES:
                    raise Problem(f"{place} would unpack to more than {_MOST_BYTES:,} bytes")
                if not piece and not rest and not unpacker.eof:
                    raise Problem(f"{place} is damaged: it ends early")
            rest = unpacker.unused_data
    except zlib.error as error:
        raise Problem(f"{place} is damaged: {error}") from None


def _check_card(data: bytes, file: Path, trust: bool) -> set[str]:
    """The files of code that a card names.

    `Problem` where it would have code imported that is neither of the kit nor of an installed plug-in, and `trust` is
    not given.
    """
    try:
        card = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        raise Problem(f"{file}: card.toml is not TOML in UTF-8") from None
    named = list(_named_code(card))
    for what, name in named if not trust else ():
        raise Problem(
            f"{file}: its card names {what} {name[:100]!r}, code that is no installed plug-in; "
            "read that code, and say --trust to run it"
        )
    return {os.path.normpath(code) for _, name in named if (code := own_code.file_of(name)) is not None}


def _named_code(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from rlrepro.plugins.importing import installed

    known = {group: installed(group) for group in ("agents", "envs", "wrappers", "measurements")}
    for one in _tables(card.get("measurement")):
        function = str(one.get("function", ""))
        if function not in known["measurements"] and re.search(r":|\.py", function):
            yield "the function", function
    for one in (*_tables(card.get("implementation")), *_tables(card.get("measurement"))):
        agent = str(one.get("agent", ""))
        if agent not in known["agents"] and not re.fullmatch(r"sb3:\w+", agent) and re.search(r":|\.py", agent):
            yield "the agent", agent
    for one in _tables(card.get("environment")):
        for env in (str(one.get("run", "")), str(one.get("paper", ""))):
            # Gymnasium's GymV… environments import whatever their arguments name
            if env not in known["envs"] and re.search(r":|\.py|^GymV", env):
                yield "the environment", env
        wrappers = one.get("wrappers", [])
        for wrapper in map(str, wrappers if isinstance(wrappers, list) else [wrappers]):
            if re.search(r":|\.py", wrapper.partition("(")[0]):
                yield "the wrapper", wrapper


def _tables(value: Any) -> list[dict[str, Any]]:
    return [one for one in _table(value).values() if isinstance(one, dict)]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(data: bytes, place: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(f"{place} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise Problem(f"{place} is no table")
    return values


# --- checking


def contradictions(stated: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Where verdicts that are stated are not those `made` of the card and the results (`rejudged`), a line for each.

    Words are not held: another version may say the same in others (`explained_otherwise`).
    """
    ours, theirs = _by_claim(made), _by_claim(stated)
    rows = stated.get("verdicts")
    lines = []
    if isinstance(rows, list) and len(theirs) != len(rows):
        lines.append(f"{len(rows)} verdicts are stated, of {len(theirs)} claims")
    for claim in {**ours, **theirs}:
        if claim not in theirs or claim not in ours:
            lines.append(f"{claim}: {'stated' if claim in theirs else 'judged'} on one side alone")
            continue
        mine, other = ours[claim], theirs[claim]
        if mine["verdict"] != other.get("verdict"):
            lines.append(f"{claim}: stated as {other.get('verdict')!r}, but the results give {mine['verdict']!r}")
            continue
        fields = (k for k in {**mine, **other} if k not in _WORDS and not _is_same(k, mine.get(k), other.get(k)))
        field = next(fields, None)
        if field is not None:
            lines.append(
                f"{claim}: {field} is stated as {other.get(field)!r}, and the results give {mine.get(field)!r}"
            )
    if stated.get("scale") != made["scale"]:
        lines.append(f"scale is stated as {stated.get('scale')!r}, and the results are of {made['scale']!r}")
    return lines


def explained_otherwise(stated: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """The claims whose verdict is explained in other words than here; with "notes" where those of the runs differ."""
    theirs = _by_claim(stated)
    said = (*_WORDS, "missing")
    claims = [
        claim
        for claim, row in _by_claim(made).items()
        if any(theirs.get(claim, {}).get(name) != row.get(name) for name in said)
    ]
    return claims + ["notes"] * (stated.get("notes") != made["notes"])


_WORDS = "why", "changed", "assumed"  #: of a row: sentences


def _is_same(field: str, one: Any, other: Any) -> bool:
    """`alike`; of the seeds without a score, which they are: why is said in words."""
    if field == "missing" and isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys()
    return alike(one, other)


def rejudged(card: Card, results: Results) -> dict[str, Any]:
    """What verdicts.json would say of these results here. `Problem` where they cannot be judged."""
    try:
        return dict(json.loads(json.dumps(as_json(judge(card, results)))))
    except Problem:
        raise
    except Exception as error:  # a stranger's results may be anything
        raise Problem(f"the results cannot be judged: {one_line(error)}") from None


def _by_claim(verdicts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    rows = verdicts.get("verdicts")
    return {str(row.get("claim")): row for row in rows if isinstance(row, dict)} if isinstance(rows, list) else {}


def alike(one: Any, other: Any) -> bool:
    """Equal, numbers to nine digits: the last bits of a p-value are the libraries'."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (one != one and other != other)
    return bool(one == other)


# --- the command


def main(arguments: Sequence[str]) -> int:
    """`rlrepro bundle`; the exit status."""
    parser = Parser(prog="rlrepro bundle", description="Pack a reproduction into one file that others can verify.")
    parser.add_argument(
        "reproduction", metavar="REPRODUCTION", help="its folder, its name in reproductions/, or a card of the kit"
    )
    parser.add_argument("--into", type=Path, metavar="FILE", help=f"the file to write (NAME{SUFFIX})")
    asked = parser.parse_args(arguments)
    folder = find_reproduction(asked.reproduction)
    file = pack(folder, asked.into)
    card = load_card(str(folder / "card.toml"))
    for code in unpacked(card):
        print(f"note: {code} is not packed: only files in the card's folder with plain names are")
    trusting = " --trust" if any(_named_code(tomllib.loads(card.text))) else ""
    print(f"{file}  {file.stat().st_size:,} bytes; to check it: rlrepro verify {shlex.quote(str(file))}{trusting}")
    return 0
