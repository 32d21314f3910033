"""Standard output that may go away: its reader may leave, its disk may fill up, it may be closed from the start."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator


class _Guarded(io.FileIO):
    """A descriptor whose first failed write is told of on standard error; nothing is written to it from then on."""

    failed = False

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # whose reader has seen enough
                self.failed = True
                print(
                    f"rlrepro: standard output cannot be written: {error.strerror}; its rest is lost", file=sys.stderr
                )
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return memoryview(data).nbytes  # type: ignore[arg-type]


@contextlib.contextmanager
def guarded_output() -> Iterator[_Guarded | None]:
    """Standard output in which no write fails, for as long as the context lasts; None where it is not a file's.

    A run goes on without what it shows. What the encoding lacks (± in ASCII) is a question mark.
    """
    before = sys.stdout
    if before is None:  # closed: `>&-`
        with open(os.devnull, "w") as sys.stdout:
            yield None
        sys.stdout = before
        return
    if isinstance(before, io.TextIOWrapper) and before.errors in ("strict", "surrogateescape"):
        before.reconfigure(errors="replace")
    try:
        descriptor = before.fileno()
    except (OSError, ValueError, AttributeError):  # a caller's own stream
        yield None
        return
    if not isinstance(before, io.TextIOWrapper) or isinstance(getattr(before.buffer, "raw", None), _Guarded):
        yield None
        return
    raw = _Guarded(descriptor, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    try:
        yield raw
    finally:
        sys.stdout.flush()
        sys.stdout = before
