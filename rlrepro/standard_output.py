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
                why = f"standard output cannot be written: {error.strerror}; its rest is lost"
                with contextlib.suppress(OSError, AttributeError):  # standard error may be as full, or closed
                    sys.stderr.write(f"rlrepro: {why}\n")
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return memoryview(data).nbytes  # type: ignore[arg-type]


@contextlib.contextmanager
def guarded_output() -> Iterator[_Guarded | None]:
    """Standard output in which no write fails, for as long as the context lasts; None where it is not a file's.

    A run goes on without what it shows. What the encoding lacks (± in ASCII) is a question mark.
    """
    before, raw = sys.stdout, None
    if before is None:  # closed: `>&-`
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif isinstance(before, io.TextIOWrapper) and not isinstance(getattr(before.buffer, "raw", None), _Guarded):
        errors = "replace" if before.errors in ("strict", "surrogateescape") else before.errors
        with contextlib.suppress(OSError, ValueError):  # a caller's own stream, which is no file's
            before.flush()
            raw = _Guarded(before.fileno(), "w", closefd=False)
            sys.stdout = io.TextIOWrapper(
                io.BufferedWriter(raw),
                before.encoding,
                errors,
                line_buffering=before.line_buffering,
                write_through=before.write_through,
            )
    try:
        yield raw
    finally:
        sys.stdout.flush()
        sys.stdout = before
