"""The `rlrepro` command: train, list, evaluate."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rlrepro.errors import Problem, nearest
from rlrepro.flags import Parser

COMMANDS = {
    "train": "train an agent on an environment (the same as python -m rlrepro.train)",
    "evaluate": "score a finished run on fresh episodes",
    "card": "begin a card, find its faults, or see how two differ",
    "bundle": "pack a reproduction into one file",
    "verify": "check a bundle, and run a claim of it again",
    "list": "name the agents, environments and wrappers that are installed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    try:
        status = _main(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: rlrepro COMMAND …\n")
        for name, text in COMMANDS.items():
            print(f"  {name:<10} {text}")
        print("\nrlrepro COMMAND --help tells more.")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from rlrepro import __version__

        print(f"rlrepro {__version__}")
        return 0
    if command == "train":
        from rlrepro import train

        return train.main(rest)
    try:
        if command == "list":
            return _list(rest)
        if command == "evaluate":
            from rlrepro.evaluate import main as evaluate

            return evaluate(rest)
        if command == "card":
            from rlrepro.card_commands import main as card

            return card(rest)
        if command == "bundle":
            from rlrepro.bundle import main as bundle

            return bundle(rest)
        if command == "verify":
            from rlrepro.bundle import main_verify

            return main_verify(rest)
        raise Problem(f"unknown command {command!r}{nearest(command, COMMANDS)} (one of {', '.join(COMMANDS)})")
    except Problem as problem:
        print(f"rlrepro: {problem}", file=sys.stderr)
        return problem.exit_status


def _list(arguments: Sequence[str]) -> int:
    from rlrepro.plugins import installed

    parser = Parser(prog="rlrepro list", description=COMMANDS["list"])
    parser.add_argument("what", nargs="?", choices=("agents", "envs", "wrappers"), help="only these")
    only = parser.parse_args(arguments).what
    if only in (None, "agents"):
        _print("agents", {name: point.value for name, point in installed("agents").items()})
    if only in (None, "envs"):
        import gymnasium

        _print("environments of plug-ins", {name: point.value for name, point in installed("envs").items()})
        batched = installed("batched_envs")
        _print(
            "environments of Gymnasium",
            {
                name: "vector form with a stream each" if name in batched else ""
                for name in sorted(gymnasium.registry)
                if "/" not in name
            },
        )
    if only in (None, "wrappers"):
        import gymnasium.wrappers

        _print("wrappers of plug-ins", {name: point.value for name, point in installed("wrappers").items()})
        _print("wrappers of Gymnasium", dict.fromkeys(sorted(set(gymnasium.wrappers.__all__) - {"vector"}), ""))
    return 0


def _print(title: str, rows: dict[str, str]) -> None:
    print(f"{title}:")
    for name, text in rows.items():
        print(f"  {name:<34} {text}".rstrip())
