"""Standard output that may go away: its reader may leave, its disk may fill up, it may be closed from the start."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class GuardedOutput(io.FileIO):
    """A descriptor that somebody else owns, to which nothing more is written once a write has failed."""

    is_gone = False  #: nothing is written any more
    failed = False  #: for another reason than that its reader has left, which is said on standard error

    def write(self, data: ReadableBuffer) -> int:
        if not self.is_gone:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.is_gone = True
            except OSError as error:
                self.is_gone = self.failed = True
                why = f"rlrepro: standard output cannot be written: {error.strerror}; its rest is lost\n"
                with contextlib.suppress(OSError):  # not by sys.stderr, which a live display may lead back here
                    os.write(2, why.encode())
        return memoryview(data).nbytes


@contextlib.contextmanager
def guarded_output() -> Iterator[GuardedOutput | None]:
    """Standard output in which no write fails, for as long as the context lasts; None where there is no descriptor.

    What its encoding lacks (± in ASCII) is a question mark.
    """
    before: TextIO | None = sys.stdout
    raw, made = None, before
    if before is None:  # closed: `>&-`
        made = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    elif isinstance(before, io.TextIOWrapper):
        if before.errors in ("strict", "surrogateescape"):
            before.reconfigure(errors="replace")
        if (raw := _guarded(before)) is not None:
            made = io.TextIOWrapper(
                raw if before.write_through else io.BufferedWriter(raw),
                before.encoding,
                before.errors,
                line_buffering=before.line_buffering,
                write_through=before.write_through,
            )
    sys.stdout = made
    try:
        yield raw
    finally:
        sys.stdout = before
        if made is not None and made is not before:
            with contextlib.suppress(ValueError):  # closed by what ran
                made.flush()


def _guarded(stream: io.TextIOWrapper) -> GuardedOutput | None:
    """Its descriptor, guarded; None where it has none, or is guarded already."""
    if isinstance(getattr(stream.buffer, "raw", stream.buffer), GuardedOutput):
        return None
    try:
        raw = GuardedOutput(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # of a caller who keeps what is printed
        return None
    with contextlib.suppress(OSError):  # what cannot be written now cannot be later
        stream.flush()
    return raw
