"""TensorBoard's event files, of Stable-Baselines3, CleanRL, or whoever uses their tags."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlrepro.errors import Problem, nearest, one_line
from rlrepro.papers.importers.groups import NONE, Seed, full_window
from rlrepro.papers.importers.names import Identity, identity, seed_of
from rlrepro.papers.importers.roles import LENGTHS, RUNNING, TAGS
from rlrepro.papers.scoring import History


def of_event_files(path: Path, root: Path, columns: Mapping[str, str]) -> Seed:
    """A seed from a folder of event files. CleanRL's folder names say environment, agent and seed."""
    if any(path.glob("*tfevents*.rlrepro")):
        raise Problem(f"{path} is the TensorBoard view of a run folder: give the run folder, which has every episode")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events, written = _accumulator(path), {file: _records(file) for file in sorted(path.glob("*tfevents*"))}
    try:
        events.Reload()
    except Exception as error:  # whatever a damaged record makes of protobuf
        raise Problem(f"{path}: its event files cannot be read: {one_line(error)}") from None
    notes = _check_whole(path, written, events.count)
    tags = events.Tags()
    there = [*tags["scalars"], *(tag for tag in tags["tensors"] if _is_scalar(events, tag))]
    chosen = {}
    for returns, usual in TAGS.items():
        asked = columns.get(returns)
        if asked is not None and asked not in there:
            raise Problem(f"{path}: no tag {asked!r}{nearest(asked, there)} (there is {', '.join(there) or 'none'})")
        chosen[returns] = asked or next((tag for tag in usual if tag in there), None)
    if not any(chosen.values()):
        wanted = " or ".join(tag for usual in TAGS.values() for tag in usual)
        raise Problem(
            f"{path}: no returns under a tag that is known ({wanted}); --column training=TAG names one "
            f"(there is {', '.join(there) or 'none'})"
        )
    points = {returns: _points(events, tag, path) if tag else NONE for returns, tag in chosen.items()}
    running = RUNNING.get(chosen["training"] or "")
    full_from = 0.0
    if running and LENGTHS[chosen["training"] or ""] in there:
        full_from = full_window(_points(events, LENGTHS[chosen["training"] or ""], path), running)
    steps = int(max([0, *points["training"][-1:, 0], *points["evaluation"][-1:, 0]]))
    name = re.fullmatch(r"(.+?)__(.+)__(\d+)__(\d+)", path.resolve().name)
    if name:
        env, folder = name[1], path.resolve().parent
        env = f"ALE/{env}" if folder.name == "ALE" else env
        who = Identity(("tensorboard", str(folder), name[2]), name[2], int(name[3]))
    else:
        env, own = "", path
        counted = re.fullmatch(r"(.+)_\d+", path.name)  # Stable-Baselines3 numbers the runs of one name
        if counted and seed_of(counted[1])[1] is not None:
            own = path.with_name(counted[1])
        who = identity(own, own if path == root else root)
    history = History(who.seed or 0, points["training"], points["evaluation"], np.empty(0), steps)
    return Seed(
        who.key,
        who.name,
        env,
        path,
        "tensorboard",
        who.seed,
        history,
        running,
        full_from=full_from,
        notes=(*who.notes, *notes),
    )


def _accumulator(path: Path) -> Any:
    """TensorBoard's reader of a folder, which counts the events that it has read: damaged ones it leaves out."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Counting(EventAccumulator):
        count = 0

        def _ProcessEvent(self, event: Any) -> None:  # noqa: N802
            self.count += 1
            super()._ProcessEvent(event)

    return Counting(str(path), size_guidance={"scalars": 0, "tensors": 0})


def _check_whole(path: Path, written: Mapping[Path, tuple[int, int]], count: int) -> list[str]:
    """Notes on half-written records of event files; `Problem` where fewer could be read than there were before."""
    total = sum(records for records, _ in written.values())
    notes = [
        f"{file}: {rest:,} bytes at its end are no whole records, and are left out."
        for file, (_, rest) in written.items()
        if rest
    ]
    if 0 < count < total:
        raise Problem(f"{path}: its event files are damaged: {count:,} of {total:,} records can be read")
    return notes


def _records(file: Path) -> tuple[int, int]:
    """How many whole records there are, by their lengths, and how many bytes follow them.

    A record is the length of its data (8 bytes), a checksum of that (4), the data, and a checksum of them (4).
    """
    records, place, size = 0, 0, file.stat().st_size
    with file.open("rb") as stream:
        while place + 16 <= size:
            stream.seek(place)
            end = place + 16 + int.from_bytes(stream.read(8), "little")
            if end > size:
                break
            records, place = records + 1, end
    return records, size - place


def _is_scalar(events: Any, tag: str) -> bool:
    return str(events.SummaryMetadata(tag).plugin_data.plugin_name) == "scalars"


def _points(events: Any, tag: str, path: Path) -> np.ndarray:
    """`[n, 2]`: env step, value, in the order of env steps."""
    from tensorboard.util.tensor_util import make_ndarray

    if tag in events.Tags()["scalars"]:
        rows = [(event.step, event.value) for event in events.Scalars(tag)]
    else:
        rows = [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
    points = np.array(rows, float).reshape(-1, 2)
    if (points[:, 0] < 0).any():
        raise Problem(f"{path}: {tag} has a point at env step {int(points[:, 0].min())}")
    back = np.flatnonzero(np.diff(points[:, 0]) < 0)
    if len(back):
        here, there = points[back[0], 0], points[back[0] + 1, 0]
        raise Problem(
            f"{path}: {tag} goes back from env step {int(here):,} to {int(there):,}: two runs in one folder? "
            "Give each a folder of its own"
        )
    return points
