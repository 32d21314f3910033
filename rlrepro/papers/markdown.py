"""Texts as Markdown, and parts of Markdown files that are made anew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rlrepro.checkpoint import write_whole
from rlrepro.errors import Problem


def md(text: str) -> str:
    """A text that Markdown shows as it is, in a table too."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", text)


def fenced(*texts: str) -> str:
    """Commands or code, a line each, in a block of their own."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", "".join(texts))), default=0))
    return "\n".join([fence, *(" ".join(text.splitlines()) for text in texts), fence])


def table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def show(text: str, file: Path | None, begin_mark: str, end_mark: str) -> None:
    """Print a text, or `insert` it into a file and say whether that changed it."""
    if file is None:
        print(text)
    else:
        print(f"{file}: {'written' if insert(file, text, begin_mark, end_mark) else 'up to date'}")


def insert(file: Path, text: str, begin_mark: str, end_mark: str) -> bool:
    """Put `text` between the two markers of a file; whether that changed it."""
    try:
        old = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    begin, end = old.find(begin_mark), old.find(end_mark)
    if not (0 <= begin < end and old.count(begin_mark) == old.count(end_mark) == 1):
        raise Problem(f"{file} needs a line {begin_mark} and, after it, a line {end_mark}, once each")
    new = f"{old[: begin + len(begin_mark)]}\n{text}\n{old[end:]}"
    if new != old:
        write_whole(file, new.encode())
    return new != old
