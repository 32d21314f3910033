"""The functions that measure: how a card names one, and what a call of it gives."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlrepro.errors import Problem, nearest, one_line, place_of
from rlrepro.plugins.importing import check_module, existing_file, import_plugin, installed, load_entry_point


@dataclasses.dataclass(frozen=True)
class MeasurementSource:
    """A function that measures a number of a paper. `env` and `seeds` are given to it, all else are hyperparameters.

    With a parameter `seeds` it gives a float for each seed, `[S]`, a seed's alone the same as among others; without
    one it computes, and gives a number or several.
    """

    name: str  #: as it was asked for
    function: Callable[..., Any]
    parameters: Mapping[str, str]  #: its hyperparameters, each with its annotation, "" where it has none
    takes_seeds: bool
    takes_env: bool


def find_measurement(name: str) -> MeasurementSource:
    """A measurement by the name of an entry point, as `package.module:function`, or `file.py:function`."""
    points, what = installed("measurements"), f"measurement {name!r}"
    place, colon, attribute = name.rpartition(":")
    if name in points:
        found = load_entry_point(points[name], what)
    elif name.endswith(".py"):
        raise Problem(f"{what}: which function of the file? write {name}:function")
    elif colon:
        file = existing_file(place) if place.endswith(".py") else None
        if file is None:
            check_module(place, what)
        module = import_plugin(place, file, what)
        found = getattr(module, attribute, None)
        if found is None:
            there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise Problem(f"{what}: {place} has no {attribute!r}{nearest(attribute, there)}")
    else:
        known = ", ".join(points) or "none is installed"
        raise Problem(
            f"unknown {what}{nearest(name, points)} (installed: {known}; or package.module:function, file.py:function)"
        )
    if not inspect.isfunction(found):
        raise Problem(f"{what} is a {type(found).__name__}, not a function")
    named = inspect.signature(found).parameters
    odd = next((p.name for p in named.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY)), None)
    if odd is not None:
        raise Problem(f"{what} must name each of its parameters, and has {odd!r}")
    kinds = {key: "" if p.annotation is p.empty else p.annotation for key, p in named.items()}
    texts = {key: kind.__name__ if isinstance(kind, type) else str(kind) for key, kind in kinds.items()}
    own = {key: text for key, text in texts.items() if key not in ("env", "seeds")}
    return MeasurementSource(name, found, own, "seeds" in named, "env" in named)


def call(source: MeasurementSource, arguments: Mapping[str, Any], seeds: Sequence[int]) -> np.ndarray:
    """`[S, k]`: what the function gives for these seeds; of one that takes none, S is 1. `Problem` where it fails."""
    own = {"seeds": tuple(seeds)} if source.takes_seeds else {}
    try:
        given = source.function(**own, **arguments)
    except Problem:
        raise
    except (Exception, SystemExit) as error:
        raise Problem(f"{source.name} raised {one_line(error)}{place_of(error)}") from error
    try:
        values: np.ndarray = np.asarray(given)
        if values.dtype.kind not in "biufO":  # NumPy would drop an imaginary part, and read a text
            raise TypeError
        values = np.vectorize(float, otypes=[np.float64])(values)
    except (TypeError, ValueError):
        raise Problem(f"{source.name} gave a {type(given).__name__}, not real numbers") from None
    if source.takes_seeds:
        if values.shape != (len(seeds),):
            raise Problem(f"{source.name} gave numbers of shape {values.shape}, not one for each of {len(seeds)} seeds")
        return values[:, None]
    if values.ndim > 1 or values.size == 0:
        raise Problem(f"{source.name} gave numbers of shape {values.shape}, not one or a row of them")
    return values.reshape(1, -1)
