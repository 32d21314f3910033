"""Problems that a person can mend: one clear line each, never a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from rlrepro.ctrl_c import sigterm_as_ctrl_c
from rlrepro.standard_output import guarded_output

_STDLIB = sysconfig.get_path("stdlib")
INSTALLED = re.compile(r"[\\/](site|dist)-packages[\\/]")  #: in the paths of what pip, or a distribution, installed


class Problem(Exception):
    """What was wrong, what was expected and, where there is one, the nearest valid choice, in one line."""

    exit_status = 2
    from_outside = False  #: it says nothing of what ran, which goes on when asked to: a signal, a kill, a full disk

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.splitlines()))


class BadArgument(Problem):
    """A name, or an argument, of an agent, an environment or a wrapper that is wrong whatever is installed."""


class RunStopped(Problem):
    """A run that could not go on. What it had done is saved; the line says how to go on."""

    exit_status = 1


class AgentFault(Problem):
    """An agent gave what none may, as it would after a resume too: its code is to be mended."""


class WriteFailed(RunStopped):
    """A file of the run folder could not be written."""

    from_outside = True


class EvaluationFailed(RunStopped):
    """An environment broke in an evaluation: those of training are well."""


STOPPED_AT_ONCE = "stopped at once, with what was saved before"  #: what is said of a run that was asked twice


class Interrupted(RunStopped):
    """Ctrl-C or SIGTERM, after the checkpoint that it asked for was written."""

    exit_status = 130
    from_outside = True


class EndlessEvaluation(Interrupted):
    """Ctrl-C or SIGTERM in an evaluation with an episode that ran on and on, which a resume would come to again."""


@dataclasses.dataclass(frozen=True)
class Stop:
    """Why a job ended before its end, as its process tells it."""

    message: str
    exit_status: int
    from_outside: bool = False  #: as of a `Problem`
    comes_again: bool = False  #: a resume would end the same way
    of_own_code: bool = False  #: raised in an agent of a person's own, which a resume takes unchanged alone
    is_fault: bool = False  #: of the agent's code (`AgentFault`)

    def problem(self, kind: type[Problem], text: str, exit_status: int) -> Problem:
        """It as a problem of a run."""
        made = kind(text)
        made.exit_status, made.from_outside = exit_status, self.from_outside
        return made


def told(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit status of a command; of a `Problem`, or Ctrl-C or SIGTERM, after the one line that says it.

    Where standard output was lost on the way, a command that went well has status 1.
    """
    with guarded_output() as output:
        try:
            with sigterm_as_ctrl_c():
                _check_working_folder()
                status = command()
        except Problem as problem:
            print(f"rlrepro: {problem}", file=sys.stderr)
            status = problem.exit_status
        except KeyboardInterrupt:
            print(f"rlrepro: {interrupted}", file=sys.stderr)
            status = Interrupted.exit_status
        except SystemExit as end:  # of --help
            sys.stdout.flush()
            if end.code or not (output and output.failed):
                raise
            return 1
        sys.stdout.flush()
        return status or int(bool(output and output.failed))


def _check_working_folder() -> None:
    """`Problem` where it was removed: libraries, oneMKL among them, end the process when they look for it."""
    try:
        os.getcwd()
    except OSError as error:
        raise Problem(f"the working folder cannot be used ({error.strerror}): cd to another") from None


def close_quietly(thing: Any) -> None:
    """Close what is no longer needed, whatever its `close` raises."""
    with contextlib.suppress(Exception, SystemExit):
        thing.close()


def nearest(name: object, choices: Iterable[str], cutoff: float = 0.5) -> str:
    """`"; did you mean 'x'?"` for the choice nearest to a text; nothing where none is as near as `cutoff`, up to 1."""
    if not isinstance(name, str):
        return ""
    by_lower = {choice.lower(): choice for choice in choices}
    letters = sorted(name.lower())
    found = [choice for choice in by_lower if sorted(choice) == letters]  # two that changed places, as in `dnq`
    found = found or difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return f"; did you mean {by_lower[found[0]]!r}?" if found else ""


def count_of(number_of: int, what: str) -> str:
    """ "1 seed", "2,000 seeds"."""
    return f"{number_of:,} {what}{'s' * (number_of != 1)}"


def named_seeds(seeds: Collection[int]) -> str:
    """ "seed 3", "seeds 0, 1"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


DIVERGED = "their networks hold NaN or infinity, and were scored as they play"


def diverged_text(seeds: Collection[int]) -> str:
    """What is said of seeds that were scored though they diverged."""
    return f"{count_of(len(seeds), 'seed')} diverged ({', '.join(map(str, seeds))}): {DIVERGED}"


def kind_of(value: object) -> str:
    """What was given in place of a pair: "3 values", "a Tensor"."""
    return f"{len(value)} values" if isinstance(value, tuple) else f"a {type(value).__name__}"


def one_line(error: BaseException) -> str:
    """An exception as one line: its type and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


_ADVICE = re.compile(r"; (go on with: |once its code is mended, )")


def without_advice(problem: Problem) -> str:
    """The line without how the run that it is about goes on, which is said of a run that stands alone."""
    return _ADVICE.split(str(problem))[0]


def place_of(error: BaseException) -> str:
    """Where the innermost code that is nobody else's raised it, as ", walk.py:31"; "" where there is none.

    Frames are those below the one that caught it.
    """
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [f for f in frames if not f.filename.startswith(("<", _STDLIB)) and not INSTALLED.search(f.filename)]
    return f", {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
