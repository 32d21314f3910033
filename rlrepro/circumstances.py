"""Where and how a result was made: the command, versions, commit, hardware and time."""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlrepro.settings import num_cores

_PACKAGES = ("rlrepro", "torch", "gymnasium", "numpy", "safetensors", "tensorboard", "stable-baselines3", "sb3-contrib")
_SIMULATORS = ("ale-py", "box2d", "box2d-py", "minatar", "minigrid", "mujoco")  # a run's numbers hang on these too

_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = ("asimd", "sve", "avx2", "fma", "avx512f")  # libraries have kernels of their own for each

_CODE = ("rlrepro/*.py", "agents/*.py", "envs/*.py")  # where a new file is a part of the kit


def circumstances(command: Sequence[str]) -> dict[str, Any]:
    """What run.json says of where and how something was made."""
    new = _git("ls-files", "--others", "--exclude-standard", "--", *_CODE).decode(errors="replace").splitlines()
    commit, is_changed = _state()
    return {
        "command": shlex.join(command),
        "started": now(),
        "versions": dict(_versions()),
        "git": {
            "commit": commit,
            "changed": bool(new or is_changed),
            **({"new": new} if new else {}),
        },
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            **_processor(),
            "cores": num_cores(),
        },
    }


@functools.cache
def _versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for package in (*_PACKAGES, *_SIMULATORS):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def uncommitted_changes() -> bytes:
    """How the code that runs differs from its commit, as a diff; nothing where it is no checkout."""
    return _git("diff", "HEAD") if _state()[1] else b""


def _state() -> tuple[str | None, bool]:
    """The commit, and whether a file of it is otherwise now.

    Other than `git diff`, `git status` notes which files it found as they were: after a clone each diff would read them
    all again, which takes more than a tenth of a second.
    """
    told = _git("status", "--porcelain=v2", "--branch", "--untracked-files=no").decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in told if line.startswith("# branch.oid ")), "(initial)")
    return (None if commit == "(initial)" else commit), any(not line.startswith("#") for line in told)


def now() -> str:
    """The present time, for a document."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git(*arguments: str) -> bytes:
    """What git says of the code that runs: the checkout that holds this package, else nothing."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return b""
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def _processor() -> dict[str, str]:
    """Its name, and which vector instructions it has, where that is told.

    The name alone is not enough: a virtual machine may hide the model, and other kernels round otherwise.
    """
    told: dict[str, str] = {}
    with contextlib.suppress(OSError), _CPUINFO.open(encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if told and not name.strip():
                break  # the first one's end
            told[name.strip()] = value.strip()
    known = told.get("flags", told.get("Features", "")).split()
    instructions = " ".join(one for one in _VECTORS if one in known)
    return {
        "cpu": told.get("model name") or platform.processor() or sys.platform,
        **({"instructions": instructions} if instructions else {}),
    }
