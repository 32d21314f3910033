"""What an agent's file says of its class, read without running it: `--help` answers before torch could be imported."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlrepro import agent as agent_module
from rlrepro import sources

_KNOWN = ("dataclasses", "rlrepro.agent", "rlrepro.sources")  #: modules whose names are found without torch
_DESCRIBING = ("Config", "PRESETS", "stackable")

Description = tuple[type[Any], Mapping[str, Mapping[str, Any]], bool]
"""An agent's `Config`, its `PRESETS`, and whether its seeds can be stacked."""


def read_description(module: str | None, file: Path | None, attribute: str) -> Description | None:
    """What is said of the class `attribute`, by running those parts of its body alone; None where that cannot be."""
    if file is None:
        spec = importlib.util.find_spec(module or "")
        if spec is None or spec.origin is None:
            return None
        file = Path(spec.origin)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
    if len(classes) != 1 or classes[0].keywords or classes[0].decorator_list:
        return None
    if not {ast.unparse(base) for base in classes[0].bases} <= _core_names(tree):
        return None  # whatever a base that is not ours may bring
    wanted = [node for node in classes[0].body if _defines(node) in _DESCRIBING]
    rest = [node for node in classes[0].body if node not in wanted and not isinstance(node, ast.FunctionDef)]
    if any(name in _DESCRIBING for node in rest for name in _names(node)):
        return None  # changed after it was defined
    below = tree.body[tree.body.index(classes[0]) + 1 :]
    if any(_may_change(node, attribute) for node in below):
        return None  # changed after the class was
    texts = _texts(tree)
    needed = {name for node in wanted for name in _names(node)}
    if needed & (set(_own_names(ast.Module([node for node in tree.body if node not in texts], [])))):
        return None  # needs what the module defines, other than texts
    body = ast.Module([*ast.parse("from __future__ import annotations").body, *texts, *wanted], [])
    scope: dict[str, Any] = {
        "dataclasses": dataclasses,
        "dataclass": dataclasses.dataclass,
        **vars(sources),
        **vars(agent_module),
    }
    exec(compile(body, str(file), "exec"), scope)
    if "Config" not in scope or (classes[0].bases and "PRESETS" not in scope):
        return None
    methods = {node.name for node in classes[0].body if isinstance(node, ast.FunctionDef)}
    owns_loop = "train" in methods and "act" not in methods and not classes[0].bases
    return scope["Config"], scope.get("PRESETS", {}), scope.get("stackable", True) and not owns_loop


def _names(node: ast.AST) -> set[str]:
    """The names that running a node meets; an annotation is not run."""
    skipped = {
        id(part) for one in ast.walk(node) if isinstance(one, ast.AnnAssign) for part in ast.walk(one.annotation)
    }
    return {
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name)
        and id(one) not in skipped
        and (one.id in _DESCRIBING or isinstance(one.ctx, ast.Load))
    }


def _core_names(tree: ast.Module) -> set[str]:
    """What a module imports from the core, whose classes stack seeds and leave `Config` and `PRESETS` to others."""
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {a.asname or a.name for node in froms if (node.module or "").startswith("rlrepro.") for a in node.names}


def _texts(tree: ast.Module) -> list[ast.stmt]:
    """The module's constants that are texts, plain or made of one another and of `rlrepro.sources`."""
    kinds = (ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.Name, ast.Load)
    found: list[ast.stmt] = []
    names = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "rlrepro.sources"
        for alias in node.names
        if not alias.asname
    }
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not all(isinstance(target, ast.Name) for target in node.targets):
            continue
        parts = list(ast.walk(node.value))
        used = {part.id for part in parts if isinstance(part, ast.Name)}
        if all(isinstance(part, kinds) for part in parts) and used <= names:
            found.append(node)
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def _own_names(tree: ast.Module) -> Iterator[str]:
    """The names that a module binds, but for those from the modules where `read_description` finds the same."""
    waiting = list(tree.body)
    while waiting:
        node: ast.AST = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            waiting += list(ast.iter_child_nodes(node))  # type: ignore[arg-type]
        if isinstance(node, ast.ImportFrom) and node.module in _KNOWN:
            yield from (alias.asname for alias in node.names if alias.asname)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (
                alias.asname or alias.name for alias in node.names if alias.name != "dataclasses" or alias.asname
            )
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _may_change(node: ast.stmt, name: str) -> bool:
    """Whether a module's statement below a class of that name may change it: only what surely does not says no."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return False
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return bool(node.decorator_list)
    if isinstance(node, ast.ClassDef):
        run = [*node.decorator_list, *(part for part in node.body if not isinstance(part, ast.FunctionDef))]
        return any(name in _names(part) for part in run)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) != "__name__ == '__main__'"
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    plain = isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)
    return not plain or name in _names(node) or any(isinstance(part, ast.Call) for part in ast.walk(node))


def _defines(node: ast.stmt) -> str | None:
    if isinstance(node, ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return None
