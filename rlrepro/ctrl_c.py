"""Signals that ask a program to end, where what it does must not be broken off, or must end as by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    """`handler` has this signal, where one can be set: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Deaf to Ctrl-C, and so are processes that are started inside: a terminal sends it to all of them."""
    with handled(signal.SIGINT, signal.SIG_IGN):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Deaf to Ctrl-C and SIGTERM, which may come again and again: what is begun inside is brought to its end."""
    with handled(signal.SIGINT, signal.SIG_IGN), handled(signal.SIGTERM, signal.SIG_IGN):
        yield


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM ends what is done inside as Ctrl-C does, in good order, where it would be the end at once."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    with handled(signal.SIGTERM, interrupt):
        yield
