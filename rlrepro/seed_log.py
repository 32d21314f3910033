"""The rows of one seed's CSV files: episodes, metrics and evaluations, in a run folder."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rlrepro import checkpoint
from rlrepro.errors import Problem

if TYPE_CHECKING:
    from rlrepro.record import RunFolder

CSV_COLUMNS = {
    "episodes": ("env_step", "env", "episode_return", "episode_length", "terminated", "truncated"),
    "metrics": ("env_step", "wall_time", "metric", "value"),
    "evaluations": ("env_step", "episode", "episode_return", "episode_length"),
}


class SeedLog:
    """The CSV files of one seed, appended to; flushed together so that a checkpoint can name their lengths."""

    def __init__(self, folder: RunFolder, seed: int) -> None:
        self._paths = {name: folder.seed(seed) / f"{name}.csv" for name in CSV_COLUMNS}
        self._files: dict[str, IO[bytes]] = {}
        self._buffers: dict[str, list[str]] = defaultdict(list)
        for name, path in self._paths.items():
            try:
                self._files[name] = open(path, "ab")  # noqa: SIM115
            except OSError as error:
                raise checkpoint.could_not_write(path, error) from error
            if self._files[name].tell() == 0:
                self._buffers[name].append(",".join(CSV_COLUMNS[name]) + "\n")

    def add(self, name: str, *values: Any) -> None:
        """One row; numbers are written so that they read back exactly."""
        self._buffers[name].append(",".join(map(cell, values)) + "\n")

    def flush(self, durable: bool = False) -> dict[str, int]:
        """Write out what was added; the length of each file in bytes."""
        sizes = {}
        for name, file in self._files.items():
            try:
                if self._buffers[name]:
                    file.write("".join(self._buffers[name]).encode())
                    self._buffers[name].clear()
                    file.flush()
                if durable:
                    os.fsync(file.fileno())
            except OSError as error:
                self._buffers[name].clear()
                raise checkpoint.could_not_write(self._paths[name], error) from error
            sizes[name] = file.tell()
        return sizes

    def close(self) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    @staticmethod
    def check_lengths(folder: RunFolder, seed: int, sizes: Mapping[str, int]) -> None:
        """`Problem` where a file is shorter than a checkpoint says."""
        for name in CSV_COLUMNS:
            path, size = folder.seed(seed) / f"{name}.csv", sizes.get(name, 0)
            if size and not path.exists():
                raise Problem(f"{path} is gone; its checkpoint says that it had {size:,} bytes")
            if path.exists() and path.stat().st_size < size:
                raise Problem(f"{path} is shorter than its checkpoint says; rows were lost")

    @staticmethod
    def beyond(folder: RunFolder, seed: int, sizes: Mapping[str, int]) -> dict[str, bytes]:
        """What the files have beyond the lengths of a checkpoint."""
        rows = {}
        for name in CSV_COLUMNS:
            path = folder.seed(seed) / f"{name}.csv"
            if path.exists():
                with open(path, "rb") as file:
                    file.seek(sizes.get(name, 0))
                    rows[name] = file.read()
        return rows

    @staticmethod
    def cut(folder: RunFolder, seed: int, sizes: Mapping[str, int]) -> None:
        """Take the files back to the lengths of a checkpoint."""
        for name in CSV_COLUMNS:
            path = folder.seed(seed) / f"{name}.csv"
            if path.exists():
                os.truncate(path, sizes.get(name, 0))

    @staticmethod
    def put_back(folder: RunFolder, seed: int, sizes: Mapping[str, int], rows: Mapping[str, bytes]) -> None:
        """The inverse of `cut`, of what was `beyond`, whatever was written since."""
        for name, cut in rows.items():
            with open(folder.seed(seed) / f"{name}.csv", "r+b") as file:
                file.seek(sizes.get(name, 0))
                file.write(cut)
                file.truncate()


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of one of a run's CSV files; a half-written last line is left out."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    yield from csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))


def metric_points(folder: RunFolder, seeds: Sequence[int]) -> Iterator[tuple[int, int, float, dict[str, float]]]:
    """`(env_step, seed, wall_time, {metric: value})` of metrics.csv, in the order of env steps."""
    points: dict[tuple[int, int], tuple[float, dict[str, float]]] = {}
    for seed in seeds:
        path = folder.seed(seed) / "metrics.csv"
        for row in read_rows(path):
            try:
                key, wall_time, value = (int(row["env_step"]), seed), float(row["wall_time"]), float(row["value"])
            except (KeyError, TypeError, ValueError):
                raise Problem(f"{path} is damaged: {','.join(map(str, row.values()))!r} is no row of it") from None
            points.setdefault(key, (wall_time, {}))[1][row["metric"]] = value
    for (env_step, seed), (wall_time, values) in sorted(points.items()):
        yield env_step, seed, wall_time, values


def cell(value: Any) -> str:
    """A value as text that reads back exactly."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)
    return str(value)
