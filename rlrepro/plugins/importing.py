"""Imports what plug-ins name: entry points, modules and files. What goes wrong there is one line."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rlrepro.errors import BadArgument, Problem, nearest, one_line, place_of

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec


@functools.cache
def find_installed() -> Mapping[str, Mapping[str, Sequence[EntryPoint]]]:
    """The entry points of our groups (`agents`, `agent_families`, `envs`, `wrappers`, …), by group and name.

    Of several by one name ours is the first, and the others stand as Python finds them. One look for all groups, since
    it takes longer than to read a command's options.
    """
    found: dict[str, dict[str, list[EntryPoint]]] = {}
    everything = entry_points()
    for group in everything.groups:
        if group.startswith("rlrepro."):
            names = found[group.removeprefix("rlrepro.")] = {}
            for point in sorted(everything.select(group=group), key=lambda point: (point.name, not is_ours(point))):
                names.setdefault(point.name, []).append(point)
    return found


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of one of our groups by name, sorted."""
    return {name: points[0] for name, points in find_installed().get(group, {}).items()}


def is_ours(point: EntryPoint) -> bool:
    """Whether it comes with this kit."""
    return point.dist is not None and _name(point.dist) == "rlrepro"


@functools.cache
def _name(distribution: Distribution) -> str:
    return distribution.name  # is parsed each time


def plug_ins_of(name: str) -> list[EntryPoint]:
    """The entry points of somebody else's that an agent, an environment or a wrapper is named by, or is stepped by."""
    base = name.partition("(")[0]
    keys = {
        **dict.fromkeys(("agents", "envs", "wrappers"), base),
        "agent_families": base.partition(":")[0],
        "env_namespaces": base.partition("/")[0] if "/" in base else "",
    }
    named = (point for group, key in keys.items() if (point := installed(group).get(key)) is not None)
    points = next(named, None), installed("batched_envs").get(base.rpartition(":")[2])
    return [point for point in points if point is not None and not is_ours(point)]


def passed_over(name: str) -> list[str]:
    """The places of agents, environments and wrappers of somebody else's in whose stead ours of that name is taken."""
    key = name.partition("(")[0]
    groups = find_installed()
    points = [point for group in ("agents", "envs", "wrappers") for point in groups.get(group, {}).get(key, ())]
    return [point.value for point in points if not is_ours(point)] if any(map(is_ours, points)) else []


def load_entry_point(point: EntryPoint, what: str) -> Any:
    module = import_plugin(point.module, None, what)
    try:
        return functools.reduce(getattr, point.attr.split("."), module)
    except AttributeError:
        raise Problem(
            f"{what} could not be imported: its entry point is {point.value}, and {point.module} has no {point.attr!r}"
        ) from None


#: the bytes of each file that `import_plugin` ran: what stands there now may be others
ran: dict[Path, bytes] = {}
#: what each of them registered with Gymnasium, by id
registered: dict[Path, Mapping[str, EnvSpec]] = {}


def import_plugin(name: str | None, file: Path | None, what: str) -> ModuleType:
    """Import a module by name, or a file under a name that depends on its path alone; it finds what lies beside it."""
    try:
        if file is None:
            return importlib.import_module(name or "")
        alias = f"rlrepro_file_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
        if alias not in sys.modules:
            spec = importlib.util.spec_from_file_location(alias, file)
            if spec is None or spec.loader is None:
                raise ImportError(f"{file} is not a Python file")
            sys.modules[alias] = module = importlib.util.module_from_spec(spec)
            if str(file.parent) not in sys.path:
                sys.path.append(str(file.parent))
            before = _registry()
            try:
                data = file.read_bytes()
                exec(compile(data, str(file), "exec", dont_inherit=True), vars(module))
            except BaseException:
                del sys.modules[alias]
                raise
            ran[file] = data
            registered[file] = {gym_id: one for gym_id, one in _registry().items() if before.get(gym_id) is not one}
        return sys.modules[alias]
    except Problem:
        raise
    except (Exception, SystemExit) as error:
        raise Problem(f"{what} could not be imported: {one_line(error)}{place_of(error)}") from error


def _registry() -> dict[str, EnvSpec]:
    """What is registered with Gymnasium now."""
    from gymnasium.envs.registration import registry

    return dict(registry)


def check_module(name: str, what: str, others: Collection[str] = ()) -> None:
    """`Problem` where there is no such module, or where a package that it lies in cannot be imported."""
    for part in itertools.accumulate(name.split("."), "{}.{}".format):
        try:
            found = importlib.util.find_spec(part)
        except (ImportError, ValueError):
            found = None
        if found is None:
            hint = nearest(name, others) or nearest(name, sys.modules, cutoff=0.75)
            raise Problem(f"{what}: there is no module {name!r} to import{hint}")
        if part != name:
            import_plugin(part, None, what)  # or the next find_spec would, and raise what that raises


def existing_file(path: str) -> Path:
    try:
        file = Path(os.path.abspath(Path(path).expanduser()))
        is_file = file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such user, a loop of links
        raise BadArgument(f"there is no file {path}: {getattr(error, 'strerror', None) or error}") from None
    if not is_file:
        beside = [str(p) for p in file.parent.glob("*.py") if p.is_file()] if file.parent.is_dir() else []
        raise BadArgument(f"there is no file {file}{nearest(str(file), beside)}")
    return file
