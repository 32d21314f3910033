"""Checkpoints: tensors and JSON in one safetensors file a seed, with a checksum, written whole or not at all.

A state is a tree of dicts. Its leaves say how they belong to seeds: an array or tensor has the seeds as its first
axis, a list has one item a seed, and any other value (a step count) is shared. So a state of S seeds falls into S
files and can be put together again with any seeds beside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rlrepro.errors import AgentFault, Problem, WriteFailed

FORMAT = "rlrepro-checkpoint-3"
UNFINISHED = ".*.tmp"  #: what `write_whole` leaves where the process is killed in it
AS_IT_IS = frozenset({type(None), bool, int, float, str})
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EIO}


class Damaged(Exception):
    """A checkpoint that cannot be trusted; the message names the file and says why."""


class NotPlain(TypeError):
    """A state with something that a checkpoint cannot hold, and where in it that is."""

    def __init__(self, what: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(f"{'.'.join(path)}: {what}" if path else what)
        self.what, self.path = what, path


@dataclasses.dataclass(frozen=True)
class PerSeed:
    """One seed's item of a list in a state."""

    item: Any


def split(state: Any, row: int) -> Any:
    """The part of `state` that belongs to the seed in `row`."""
    if isinstance(state, Mapping):
        return {key: split(value, row) for key, value in state.items()}
    if isinstance(state, list):
        return PerSeed(state[row])
    if _is_array(state):
        return _viewed(state[row]).copy()
    return state


def check_seeds(state: Any, num_seeds: int, where: str) -> None:
    """`AgentFault` naming a part of `state` that `split` would cut where there are no seeds."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            check_seeds(value, num_seeds, f"{where}.{key}")
    elif isinstance(state, list) and len(state) != num_seeds:
        raise AgentFault(f"{where} is a list of {len(state)}, not of one item for each of {num_seeds} seeds")
    elif _is_array(state) and state.shape[:1] != (num_seeds,):
        raise AgentFault(f"{where} has the shape {list(state.shape)}, and its first axis is not the {num_seeds} seeds")


def join(parts: Sequence[Any]) -> Any:
    """The inverse of `split`: arrays are stacked, items listed, shared values taken from the first.

    `ValueError` where one has a table and another has none.
    """
    first = parts[0]
    if any(isinstance(part, Mapping) != isinstance(first, Mapping) for part in parts):
        raise ValueError("one seed's state has a table where another's has none")
    if isinstance(first, Mapping):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, PerSeed):
        return [part.item for part in parts]
    if isinstance(first, np.ndarray):
        return np.stack(parts)
    return first


def save(path: Path, state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write one seed's state; `about` can be read without reading the rest."""
    tensors: dict[str, np.ndarray] = {}
    tree = json.dumps(_encode(state, tensors))
    header = json.dumps(dict(about))
    metadata = {"format": FORMAT, "about": header, "tree": tree, "sha256": _digest(header, tree, tensors)}
    write_whole(path, safetensors.numpy.save(tensors, metadata))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A seed's state and its `about`; raises `Damaged`, or `Problem` where the file could not be looked at."""
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        if getattr(error, "errno", None) in _PASSING:  # says nothing of what is in it
            raise Problem(f"{path} cannot be read now ({error}): nothing was changed, try again") from None
        raise Damaged(f"{path} cannot be read ({error})") from None
    there, is_whole = metadata.get("format", ""), {"about", "tree", "sha256"} <= set(metadata)
    matches = is_whole and _digest(metadata["about"], metadata["tree"], tensors) == metadata["sha256"]
    if (
        there != FORMAT and not matches and re.fullmatch(r"rlrepro-checkpoint-\d{1,3}", there)
    ):  # which counts its name in too
        raise Problem(f"{path} is a checkpoint of another version ({there}, here {FORMAT})")
    if there != FORMAT or not is_whole:
        raise Damaged(f"{path} is not a whole checkpoint")
    if not matches:
        raise Damaged(f"{path} does not match its checksum")
    return _decode(json.loads(metadata["tree"]), tensors), json.loads(metadata["about"])


def check_plain(state: Any) -> None:
    """Raises `NotPlain` where `save` would."""
    _encode(state, {})


def as_loaded(state: Any) -> Any:
    """What `load` would give back of `state` after `save`."""
    tensors: dict[str, np.ndarray] = {}
    tree = json.loads(json.dumps(_encode(state, tensors)))
    return _decode(tree, safetensors.numpy.load(safetensors.numpy.save(tensors)))


def make_folder(path: Path) -> None:
    """A folder, with those that it stands in; `Problem` where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"the folder {path} could not be made: {error.strerror}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the machine stops."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise could_not_write(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system can: older files may go once a new one is there."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def could_not_write(path: Path, error: OSError) -> WriteFailed:
    """The one line for a file that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return WriteFailed(f"{path} could not be written: {error.strerror}" + ("; make room and resume" if full else ""))


def _encode(value: Any, tensors: dict[str, np.ndarray]) -> Any:
    # The common first, and no union, whose test is slow: a table of transitions is a hundred thousand of these.
    if type(value) in AS_IT_IS:
        return value
    if isinstance(value, (list, tuple)):
        return [_encode(item, tensors) for item in value]
    if isinstance(value, (dict, Mapping)):
        encoded = {}
        for key, item in value.items():
            if not isinstance(key, str):  # JSON would make a text of it: another key, or the same as another's
                raise NotPlain(f"a checkpoint holds tables with texts as keys, not {key!r}")
            try:
                encoded[key] = _encode(item, tensors)
            except NotPlain as inner:
                raise NotPlain(inner.what, (key, *inner.path)) from None
        return encoded
    if _is_array(value):
        key = str(len(tensors))
        array = _viewed(value)
        tensors[key] = np.ascontiguousarray(array)  # which makes a number an array of one
        return {"__array__": key, "shape": list(array.shape)}
    if isinstance(value, PerSeed):
        return {"__seed__": _encode(value.item, tensors)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (int, float, str)):
        return value
    raise NotPlain(f"a checkpoint holds arrays and plain data, not {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if "__seed__" in value:
            return PerSeed(_decode(value["__seed__"], tensors))
        if "__array__" in value:
            return tensors[value["__array__"]].reshape(value["shape"])
        return {key: _decode(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    return value


def digest(state: Any) -> str:
    """A text that tells this state from others."""
    tensors: dict[str, np.ndarray] = {}
    tree = json.dumps(_encode(state, tensors))
    return _digest("", tree, tensors)


def _digest(about: str, tree: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"{FORMAT}\n{about}\n{tree}".encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _viewed(value: Any) -> np.ndarray:
    """An array, or a tensor as one; without a copy where there need be none."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
