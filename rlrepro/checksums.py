"""SHA256SUMS: what the files of a seed were when it ended, in the form that `sha256sum --check` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem
from rlrepro.record import POLICY, RunFolder
from rlrepro.seed_log import CSV_COLUMNS

RECORD = tuple(f"{name}.csv" for name in CSV_COLUMNS)


def write_sums(folder: RunFolder, seed: int) -> None:
    """Write down the files of a seed as they are now."""
    lines = [f"{_digest(folder.seed(seed) / name)}  {name}\n" for name in (*RECORD, POLICY)]
    write_whole(folder.sums(seed), "".join(lines).encode())


def changed(folder: RunFolder, seed: int, names: Sequence[str]) -> str | None:
    """The first of these files of a seed that is not what it was; None too where nothing was written down."""
    file = folder.sums(seed)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Problem(f"{file} cannot be read: {error}") from None
    then = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return next((name for name in names if name in then and _digest(folder.seed(seed) / name) != then[name]), None)


def _digest(file: Path) -> str:
    """SHA-256; "" of a file that is not there."""
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Problem(f"{file} cannot be read: {error.strerror}") from None
