"""Finds wrappers, by entry point, Gymnasium's name, `module:Class`, or file, with their arguments."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rlrepro.errors import BadArgument, Problem, nearest, one_line
from rlrepro.plugins.importing import check_module, existing_file, import_plugin, installed, load_entry_point

if TYPE_CHECKING:
    import gymnasium


def wrapper_name(wrapper: Any) -> str:
    """What a wrapper that was found is called in a message."""
    found = getattr(wrapper, "func", wrapper)
    return str(getattr(found, "__name__", type(found).__name__))


def find_wrapper(name: str) -> Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]:
    """A wrapper by entry point, Gymnasium's name, `module:Class` or `file.py:Class`, with `(key=value, …)` after it."""
    import gymnasium.wrappers

    text, arguments = _parted(name)
    kwargs = _arguments(arguments[1:], name) if arguments else {}
    points = installed("wrappers")
    place, colon, attribute = text.rpartition(":")
    if text.endswith(".py"):
        raise Problem(f"--wrapper {text}: which wrapper? write {text}:Name")
    if text in points:
        found = load_entry_point(points[text], f"wrapper {text!r}")
    elif colon:
        file = existing_file(place) if place.endswith(".py") else None
        if file is None:
            check_module(place, f"--wrapper {text}")
        module = import_plugin(place, file, f"wrapper {text!r}")
        found = getattr(module, attribute, None)
    else:
        try:
            found = getattr(gymnasium.wrappers, text, None)
        except ImportError as error:
            raise Problem(f"wrapper {text!r} could not be imported: {one_line(error)}") from None
    if not callable(found):
        choices = [*points, *(name for name in gymnasium.wrappers.__all__ if name != "vector")]
        if colon:
            is_file = place.endswith(".py")
            where, kind = (f"file {place}", BadArgument) if is_file else (f"module {place}", Problem)
            raise kind(f"wrapper {text!r}: the {where} has no {attribute!r}{nearest(attribute, vars(module))}")
        kind = BadArgument if nearest(text, choices, cutoff=0.85) else Problem  # else of a plug-in that is not here
        place = "`rlrepro list wrappers` shows what is installed"
        raise kind(f"unknown wrapper {text!r}{nearest(text, choices)} ({place})")
    return functools.partial(found, **kwargs) if kwargs else found


def full_name(wrapper: str) -> str:
    """A wrapper's name with the path of its file made absolute: a run may be evaluated from another folder."""
    text, arguments = _parted(wrapper)
    place, _, attribute = text.rpartition(":")
    return f"{existing_file(place)}:{attribute}{arguments}" if place.endswith(".py") else wrapper


def _parted(wrapper: str) -> tuple[str, str]:
    """The name, and the arguments with their parenthesis; a folder's name may have one too."""
    found = re.fullmatch(r"(.*\.py:\w*|[^(]*)(\(.*)?", wrapper, re.DOTALL)
    return (found[1], found[2] or "") if found else (wrapper, "")


def _arguments(text: str, name: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({text}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError(text)
        names = [keyword.arg or "**" for keyword in call.keywords]
        if "**" in names or len(set(names)) < len(names):
            raise ValueError(text)
        return dict(zip(names, (ast.literal_eval(keyword.value) for keyword in call.keywords), strict=True))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise BadArgument(f"--wrapper {name}: write its arguments as Name(key=value, key='text')") from None
