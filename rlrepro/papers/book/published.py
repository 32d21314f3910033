"""The book of published results: what papers and projects have printed, as data (`beside`: how a run compares).

`data/published.jsonl` has one number a line (fields: `data/published.schema.json`); texts that many rows share stand
in `data/published.texts.json`, and `data/traps.toml` says what makes two numbers with one name different.

    rlrepro published --env Hopper --agent td3
    rlrepro published cleanrl-ppo-cartpole-v1-0
    rlrepro published convert FILE.toml --into rlrepro/papers/book/data/published.jsonl
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem, count_of, nearest, one_line
from rlrepro.papers.protocol import Protocol

DATA = Path(__file__).with_name("data")
BOOK = DATA / "published.jsonl"


# --- what is known of traps and versions


@dataclasses.dataclass(frozen=True)
class Caution:
    """What a reader of a row must know."""

    text: str
    bars: str = ""  #: why its row is compared with nothing; empty where it is not


@dataclasses.dataclass(frozen=True)
class Trap:
    """A way in which two numbers with one name differ, and what is done about it."""

    title: str
    by: str  #: "protocol", "spread", "caution", "version" or "loop"
    handled: str
    cautions: tuple[str, ...]
    rows: tuple[str, ...]  #: ids, as patterns, that are handled so


@dataclasses.dataclass(frozen=True)
class VersionChange:
    """What changed from one version of an environment to the next."""

    env: str
    first: int
    second: int
    same: bool  #: whether returns of one may be held against the other
    change: str
    tell: bool = False  #: a change that returns may show a little of, although they compare
    undone_by: str = ""  #: the wrapper that makes the second as the first


@dataclasses.dataclass(frozen=True)
class EnvNote:
    """What must be known of one version of an environment, or of an argument of it, whatever it is compared with."""

    env: str
    versions: tuple[int, ...]  #: empty: all
    argument: str  #: it holds only where this argument is given; empty: always
    note: str


@dataclasses.dataclass(frozen=True)
class Traps:
    """data/traps.toml."""

    cautions: Mapping[str, Caution]
    traps: tuple[Trap, ...]
    versions: tuple[VersionChange, ...]
    notes: tuple[EnvNote, ...]

    def warnings(self, paper: str, run: str, kwargs: Mapping[str, Any], wrappers: Sequence[str] = ()) -> list[str]:
        """What is known to spoil a comparison of returns on a paper's environment with those on the one that runs."""
        told = [
            f"{env}: {one.note}"
            for env in dict.fromkeys((paper, run))
            for one in self.notes
            if one.env.lower() == base_name(env)
            and (not one.versions or version(env) in one.versions)
            and (not one.argument or (env == run and one.argument in kwargs))
        ]
        if base_name(paper) != base_name(run):
            return told
        first, second = version(paper), version(run)
        if paper.endswith("NoFrameskip-v4") and run.startswith("ALE/"):
            if not any(name.startswith("Atari") for name in wrappers):
                told.append(
                    f"{run} skips frames and repeats actions by itself, as {paper} does not; the wrapper Atari2015 "
                    "gives what the older id was used for"
                )
            return told
        if first is None or second is None or first == second:
            return told
        same, changes = self.between(paper, first, second)
        told += [
            f"-v{one.first} to -v{one.second}, {'comparable, though' if one.same else 'NOT comparable:'} {one.change}"
            for one in changes
            if (one.tell or not one.same) and (not one.undone_by or one.undone_by not in wrappers)
        ]
        if same is None:
            told.append(f"what changed between {paper} and {run} is not known")
        return told

    def between(self, env: str, first: int, second: int) -> tuple[bool | None, list[VersionChange]]:
        """Whether two versions of an environment give comparable returns (None: not known), and what changed."""
        low, high = sorted((first, second))
        name = base_name(env)
        changes: list[VersionChange] = []
        for step in range(low, high):
            names = (name, "mujoco" if name in _MUJOCO else name.partition("/")[0])  # MinAtar/Breakout: MinAtar
            known = [c for n in names for c in self.versions if (c.env.lower(), c.first) == (n, step)]
            if not known:
                return None, changes
            changes.append(known[0])
        return all(change.same for change in changes), changes


_MUJOCO = ("ant", "halfcheetah", "hopper", "humanoid", "humanoidstandup", "inverteddoublependulum",
           "invertedpendulum", "pusher", "reacher", "swimmer", "walker2d")  # fmt: skip


@functools.cache
def load_traps() -> Traps:
    """What is known of traps and of versions."""
    table = tomllib.loads((DATA / "traps.toml").read_text(encoding="utf-8"))
    return Traps(
        {name: Caution(**one) for name, one in table["caution"].items()},
        tuple(
            Trap(one["title"], one["by"], one["handled"], tuple(one["cautions"]), tuple(one["rows"]))
            for one in table["trap"]
        ),
        tuple(
            VersionChange(
                one["env"],
                one["from"],
                one["to"],
                one["same"],
                one["change"],
                one.get("tell", False),
                one.get("undone_by", ""),
            )
            for one in table["version"]
        ),
        tuple(
            EnvNote(one["env"], tuple(one.get("versions", ())), one.get("argument", ""), one["note"])
            for one in table["env_note"]
        ),
    )


# --- the book


@dataclasses.dataclass(frozen=True)
class Published:
    """One number that was published."""

    id: str
    paper: str  #: the source in a few words
    citation: str
    algorithm: str
    variant: str  #: which implementation or setting of it; may be empty
    env: str  #: as published
    env_note: str
    steps: int | None  #: env steps of a run; None: not stated
    frames: bool  #: `steps` are frames
    seeds: int | None
    mean: float
    spread: float | None
    spread_kind: str  #: one of `rlrepro.papers.spreads.SPREADS`
    low: float | None  #: ends of an interval
    high: float | None
    per_seed: tuple[float, ...]  #: empty where the source has none
    protocol: Protocol
    where: str  #: table, figure or file
    read_from: str  #: `repository@commit path`, or how it was read
    hyperparameters: str
    traps: tuple[str, ...] = ()  #: names of cautions

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know."""
        return tuple(load_traps().cautions[name].text for name in self.traps)

    @property
    def label(self) -> str:
        """Whose number it is."""
        return f"{self.paper}, {self.variant}" if self.variant else self.paper

    @property
    def has_spread(self) -> bool:
        """Whether a spread was printed; of values of every seed there may be none."""
        return self.spread is not None or self.low is not None

    def value(self) -> str:
        """The number as it was printed, with its spread."""
        if self.low is not None and self.high is not None:
            return f"{self.mean:g} [{self.low:g}, {self.high:g}]"
        return f"{self.mean:.10g}" + ("" if self.spread is None else f" ± {self.spread:.10g}")

    def size(self) -> str:
        """How many seeds and steps."""
        seeds = "seeds not stated" if self.seeds is None else count_of(self.seeds, "seed")
        unit = "frames" if self.frames else "steps"
        return f"{seeds}, {'steps not stated' if self.steps is None else f'{short(self.steps)} {unit}'}"

    def to_table(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        table = dataclasses.asdict(self)
        table["per_seed"], table["traps"] = list(self.per_seed), list(self.traps)
        return {**table, "protocol": self.protocol.to_table(), "warnings": list(self.warnings)}


@dataclasses.dataclass(frozen=True)
class Book:
    """All rows, in the order of their ids."""

    rows: tuple[Published, ...]

    def get(self, identity: str, others: Sequence[str] = ()) -> Published:
        """The row of that id. `Problem` where there is none; one of `others` may have been meant."""
        for row in self.rows:
            if row.id == identity:
                return row
        near = nearest(identity, [*others, *(row.id for row in self.rows)])
        raise Problem(f"no published number has the id {identity!r}{near}")

    def find(self, env: str | None = None, agent: str | None = None, paper: str | None = None) -> list[Published]:
        """Rows by environment (its base name, of any version), agent and source (a part of its name or id).

        Rows of just that environment come first, then those of its other versions, the nearest first.
        """
        names = None if env is None else base_name(env)
        algorithm = None if agent is None else agent_name(agent)
        rows = [
            row
            for row in self.rows
            if (names is None or base_name(row.env) == names)
            and (algorithm is None or agent_name(row.algorithm) == algorithm)
            and (paper is None or paper.lower() in f"{row.id} {row.paper} {row.citation}".lower())
        ]
        return rows if env is None else sorted(rows, key=lambda row: (*version_distance(env, row.env), row.id))

    def ask(self, env: str | None, agent: str | None, paper: str | None = None) -> list[Published]:
        """`find`; `Problem` where there is nothing."""
        rows = self.find(env, agent, paper)
        if rows:
            return rows
        if env is not None and not self.find(env):
            envs = {base: None for row in self.rows for base in (row.env, _bare(row.env))}
            raise Problem(f"nothing is published for the environment {env!r}{nearest(env, envs)}")
        if agent is not None and not self.find(agent=agent):
            raise Problem(f"nothing is published for the agent {agent!r}{nearest(agent, self.algorithms())}")
        if paper is not None and not self.find(paper=paper):
            raise Problem(f"no source is called {paper!r}{nearest(paper, {row.paper: None for row in self.rows})}")
        there = self.algorithms(self.find(env, paper=paper))
        asked = {"agent": agent, "env": env, "paper": paper}
        what = " ".join(f"--{key} {value}" for key, value in asked.items() if value)
        raise Problem(f"nothing is published for {what}" + (f" (there is {', '.join(there)})" if there else ""))

    def algorithms(self, rows: Iterable[Published] | None = None) -> list[str]:
        """The algorithms of these rows, or of all, the most frequent first."""
        return [name for name, _ in Counter(row.algorithm for row in (rows or self.rows)).most_common()]


def base_name(env: str) -> str:
    """What versions and spellings of an environment share: breakout, of `ALE/Breakout-v5`, `BreakoutNoFrameskip-v4`."""
    return _bare(env).lower()


@functools.lru_cache(4096)  # every row of the book is asked for it, again for each run
def _bare(env: str) -> str:
    env = env.rsplit(":", 1)[-1] if re.search(r"[\w.]:\w", env) else env  # package.module:Id-v0
    env = re.sub(r"^ALE/", "", unversioned(re.sub(r" \(.*\)$", "", env.strip())))
    return re.sub(r"(NoFrame[sS]kip|Deterministic)$", "", env)


def unversioned(env: str) -> str:
    """An id without its version: what `HalfCheetah-v4` and `-v5` share."""
    return re.sub(r"-v\d+$", "", env)


def version(env: str) -> int | None:
    found = re.search(r"-v(\d+)$", env)
    return int(found[1]) if found else None


@functools.lru_cache(4096)
def agent_name(agent: str) -> str:
    """`sb3:ppo`, `PPO` and `ppo` are one, and so are `QR-DQN` and `qrdqn`."""
    return re.sub(r"[^a-z0-9+]", "", agent.rsplit(":", 1)[-1].lower())


def version_distance(asked: str, env: str) -> tuple[int, int]:
    """How far an environment is from the one that was asked for: the same, another version, another spelling."""
    if asked == env:
        return 0, 0
    here, there = version(asked), version(env)
    return (1, 0) if here is None else (2, abs(here - there) if there is not None else 99)


def load_book(path: Path = BOOK) -> Book:
    """The book in the package, or another file of that form. `Problem` where it is none."""
    return _load(path)


@functools.cache
def _load(path: Path) -> Book:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        texts = json.loads(_texts_path(path).read_text(encoding="utf-8"))
        protocols = {key: Protocol.from_table(table) for key, table in dict(texts["protocols"]).items()}
        return Book(tuple(_read_row(json.loads(line), texts, protocols) for line in lines))
    except OSError as error:
        texts_of = "" if str(error.filename) == str(path) else f", the texts of {path.name} that stand beside it"
        raise Problem(f"{error.filename}: {error.strerror}{texts_of}") from None
    except (ValueError, KeyError, TypeError, AttributeError, Problem) as error:
        said = str(error) if isinstance(error, Problem) else one_line(error)
        raise Problem(f"{path} is not a book of published results: {said}") from None


def _read_row(row: dict[str, Any], texts: Mapping[str, Any], protocols: Mapping[str, Protocol]) -> Published:
    source, place = texts["sources"][row["source"]], texts["places"][row["place"]]
    traps = row.get("traps", [])
    if not isinstance(traps, list):
        raise Problem(f"{row['id']}: traps: {traps!r} is not a list of texts")
    for name in traps:
        if not isinstance(name, str) or name not in load_traps().cautions:
            raise Problem(f"{row['id']}: traps: no caution is called {name!r}")
    return Published(
        id=row["id"],
        paper=source["paper"],
        citation=source["citation"],
        algorithm=row["algorithm"],
        variant=row.get("variant", ""),
        env=row["env"],
        env_note=texts["env_notes"].get(row.get("env_note"), ""),
        steps=row.get("steps"),
        frames=row.get("frames", False),
        seeds=row.get("seeds"),
        mean=row["mean"],
        spread=row.get("spread"),
        spread_kind=row["spread_kind"],
        low=row.get("low"),
        high=row.get("high"),
        per_seed=tuple(row.get("per_seed", ())),
        protocol=protocols[row["protocol"]],
        where=place["where"],
        read_from=place["read_from"],
        hyperparameters=texts["hyperparameters"].get(row.get("hyperparameters"), ""),
        traps=tuple(traps),
    )


def _texts_path(path: Path) -> Path:
    return path.with_suffix(".texts.json")


def write_book(rows: Iterable[Published], path: Path) -> None:
    """Write a book: one row a line in the order of ids, and the texts that rows share beside it.

    Between the two writes the texts are those of the old rows and of the new, so that a kill leaves a whole book.
    """
    texts: dict[str, dict[str, Any]] = {
        name: {} for name in ("sources", "protocols", "env_notes", "places", "hyperparameters")
    }

    def key(kind: str, value: Any) -> str | None:
        if not value:
            return None
        name = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
        if texts[kind].setdefault(name, value) != value:  # for 300 texts a chance of one in 10⁵
            raise Problem(f"two texts of {kind} have the key {name}")
        return name

    lines = []
    for row in sorted(rows, key=lambda row: row.id):
        table = {
            "id": row.id,
            "source": key("sources", {"paper": row.paper, "citation": row.citation}),
            "algorithm": row.algorithm,
            "variant": row.variant or None,
            "env": row.env,
            "env_note": key("env_notes", row.env_note),
            "steps": row.steps,
            "frames": row.frames or None,
            "seeds": row.seeds,
            "mean": _plain(row.mean),
            "spread": _plain(row.spread),
            "spread_kind": row.spread_kind,
            "low": _plain(row.low),
            "high": _plain(row.high),
            "per_seed": [_plain(value) for value in row.per_seed] or None,
            "protocol": key("protocols", row.protocol.to_table()),
            "place": key("places", {"where": row.where, "read_from": row.read_from}),
            "hyperparameters": key("hyperparameters", row.hyperparameters),
            "traps": list(row.traps) or None,
        }
        kept = {name: value for name, value in table.items() if value is not None}
        lines.append(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")
    both = {kind: {**old, **texts[kind]} for kind, old in _texts_of(path, texts).items()}
    if both != texts:
        write_whole(_texts_path(path), _texts_bytes(both))
    write_whole(path, "".join(lines).encode())
    write_whole(_texts_path(path), _texts_bytes(texts))
    _load.cache_clear()


def _texts_of(path: Path, kinds: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The texts of the book that is there, by kind; none where there is no such book."""
    try:
        texts = json.loads(_texts_path(path).read_text(encoding="utf-8"))
        return {kind: dict(texts[kind]) for kind in kinds}
    except (OSError, ValueError, KeyError, TypeError):
        return {kind: {} for kind in kinds}


def _texts_bytes(texts: Mapping[str, Mapping[str, Any]]) -> bytes:
    ordered = {kind: dict(sorted(entries.items())) for kind, entries in texts.items()}
    return (json.dumps(ordered, ensure_ascii=False, indent=1) + "\n").encode()


def _plain(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) and abs(value) < 1e15 else value


def short(steps: int) -> str:
    """`500 k`, `1 M`, `2.75 M`."""
    for size, unit in ((1_000_000, " M"), (1000, " k")):
        if steps >= size:
            return f"{steps / size:.6g}{unit}"
    return str(steps)
