"""`python -m rlrepro.train`: one agent, one environment, S seeds.

This process takes the flags, makes the run folder (`rlrepro.resume` goes on with one), deals the seeds to worker
processes, or trains them itself where one is enough, and shows how they get on (`rlrepro.launch`). It does not import
torch unless it trains.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlrepro.ctrl_c import undisturbed
from rlrepro.errors import Interrupted, told
from rlrepro.launch import NeverBegan, early_end, launch
from rlrepro.request import Request, parse_train
from rlrepro.settings import Job

if TYPE_CHECKING:
    from rlrepro.record import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by a command line; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    return told(lambda: _main(arguments), "interrupted before training began")


def _main(arguments: Sequence[str]) -> int:
    asked = parse_train(arguments)
    if isinstance(asked, Request):
        folder = begin(asked, ["python", "-m", "rlrepro.train", *arguments])
    else:
        from rlrepro.resume import resume

        folder = resume(asked.path, asked.total_timesteps, processes=asked.processes)
    with contextlib.suppress(KeyboardInterrupt):  # the run is whole: what is told of it may be cut short
        from rich.console import Console

        from rlrepro.papers.book.beside import show_comparison

        show_comparison(folder.path, Console())
    return 0


def begin(
    request: Request, command: Sequence[str], brief: bool = False, quiet: bool = False, in_subprocess: bool = False
) -> RunFolder:
    """Train a new run to its end; `brief` shows how it goes and no more, `quiet` nothing at all.

    `in_subprocess` trains in other processes also where this one would do: it outlives an environment that ends its
    process.
    """
    from rlrepro.contract import check_run
    from rlrepro.record import RunFolder

    settings = request.settings
    check_run(settings)
    for note in () if brief or quiet else request.notes:
        print(f"note: {note}")
    was_there = request.run_dir.exists()
    folder = RunFolder.create(request.run_dir, request.name, settings, command)
    try:
        folder.lock()
        jobs = [Job(settings, folder.path, seeds) for seeds in settings.groups()]
        launch(folder, jobs, settings.processes, brief, quiet, in_subprocess)
    except (NeverBegan, KeyboardInterrupt) as stopped:
        if folder.is_finished:  # a Ctrl-C that came after the end
            return folder
        if folder.holds_work:
            if isinstance(stopped, KeyboardInterrupt):
                folder.note(**early_end(Interrupted("interrupted"), settings.seeds))
                raise Interrupted(f"interrupted; go on with: {folder.way_on}") from None
            folder.note(**early_end(stopped, settings.seeds))
            raise
        with undisturbed():
            shutil.rmtree(folder.path, ignore_errors=True)
            if not was_there:
                with contextlib.suppress(OSError):  # another run came meanwhile
                    request.run_dir.rmdir()
        raise
    finally:
        folder.unlock()
    return folder


if __name__ == "__main__":
    sys.exit(main())
