"""The `rlrepro` command."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from rlrepro.errors import Problem, nearest, told
from rlrepro.flags import Parser

#: name: (where its function is, what it does)
COMMANDS = {
    "train": ("rlrepro.train:main", "train an agent on an environment (the same as python -m rlrepro.train)"),
    "evaluate": ("rlrepro.evaluate:main", "score a finished run on fresh episodes"),
    "compare": ("rlrepro.papers.compare.command:main", "runs of any origin: curves, tests, samples to a threshold"),
    "score": ("rlrepro.papers.compare.score:main", "score runs by every protocol, side by side"),
    "published": ("rlrepro.papers.book.command:main", "look up what papers and projects have published"),
    "card": ("rlrepro.papers.authoring.command:main", "write, check and compare cards of papers"),
    "reproduce": (
        "rlrepro.papers.reproduce.reproduction:main",
        "reproduce a card's claims (the same as python -m rlrepro.reproduce)",
    ),
    "report": ("rlrepro.papers.pages.report:main", "write a reproduction's page from its card and results"),
    "scoreboard": ("rlrepro.papers.pages.scoreboard:main", "one table of the claims of several reproductions"),
    "bundle": ("rlrepro.papers.sharing.bundle:main", "pack a reproduction into one file"),
    "verify": ("rlrepro.papers.sharing.verify:main", "check a bundle, and run a claim of it again"),
    "proofs": ("rlrepro.papers.pages.proofs:main", "what has been shown of each agent, as one table"),
    "probe": ("rlrepro.probe:main", "train an agent on tiny tasks with known answers"),
    "rules": ("rlrepro.rules:main", "check that an agent is the same alone, twice and after a resume"),
    "calibrate": ("rlrepro.papers.calibration.command:main", "simulate how often the verdicts' statistics err"),
    "list": (
        "rlrepro.cli:list_main",
        "name what is installed: agents, environments, wrappers, cards; and what agents are built with",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    `rlrepro` finds modules of the working folder as `python -m` does, but none in place of an installed one.
    """
    with contextlib.suppress(OSError):  # a folder that is gone
        if arguments is None and not sys.flags.safe_path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    return told(lambda: _run(sys.argv[1:] if arguments is None else list(arguments)))


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: rlrepro COMMAND …\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:<10} {text}")
        print("\nrlrepro COMMAND --help tells more.")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command == "--version":
        from rlrepro import __version__

        print(f"rlrepro {__version__}")
        return 0
    if command not in COMMANDS:
        raise Problem(f"unknown command {command!r}{nearest(command, COMMANDS)} (one of {', '.join(COMMANDS)})")
    module, _, function = COMMANDS[command][0].partition(":")
    return int(getattr(importlib.import_module(module), function)(rest))


def list_main(arguments: Sequence[str]) -> int:
    """`rlrepro list`; the exit status."""
    from rlrepro.plugins.importing import installed

    parser = Parser(prog="rlrepro list", description=COMMANDS["list"][1])
    kinds = ("agents", "envs", "wrappers", "cards", "measurements", "parts")
    parser.add_argument("what", nargs="?", choices=kinds, help="only these; parts: what agents are built with")
    only = parser.parse_args(arguments).what
    if only in (None, "agents"):
        _print("agents", {name: point.value for name, point in installed("agents").items()})
        for family, point in installed("agent_families").items():
            _print_found(f"agents of {family} ({point.value})", functools.partial(_variants, family))
    if only in (None, "envs"):
        import gymnasium

        _print("environments of plug-ins", {name: point.value for name, point in installed("envs").items()})
        batched = installed("batched_envs")
        for namespace in installed("env_namespaces"):
            _print_found(f"environments of {namespace}", functools.partial(_ids, namespace))
        _print(
            "environments of Gymnasium",
            {name: _form(name in batched) for name in sorted(gymnasium.registry) if "/" not in name},
        )
    if only in (None, "wrappers"):
        import gymnasium.wrappers

        _print("wrappers of plug-ins", {name: point.value for name, point in installed("wrappers").items()})
        _print("wrappers of Gymnasium", dict.fromkeys(sorted(set(gymnasium.wrappers.__all__) - {"vector"}), ""))
    if only in (None, "cards"):
        from rlrepro.papers.cards.reader import own_cards

        _print("cards that come with the kit", {path.parent.name: str(path) for path in own_cards()})
    if only in (None, "measurements"):
        _print("measurements of cards", {name: point.value for name, point in installed("measurements").items()})
    if only == "parts":
        from rlrepro.parts import parts

        for module, calls in parts().items():
            print(f"{module}:")
            for call, does in calls.items():
                print(f"  {call}\n      {does}")
    return 0


def _variants(family: str) -> dict[str, str]:
    from rlrepro.plugins.agents import variants

    return {f"{family}:{name}": "" for name in variants(family)}


def _ids(namespace: str) -> dict[str, str]:
    """What stands behind a namespace, registered."""
    import gymnasium

    from rlrepro.plugins.environments import register_namespace
    from rlrepro.plugins.importing import installed

    register_namespace(namespace)
    names = sorted(name for name in gymnasium.registry if name.startswith(f"{namespace}/"))
    return {name: _form(name in installed("batched_envs")) for name in names}


def _form(is_batched: bool) -> str:
    return "vector form with a stream each" if is_batched else ""


def _print_found(title: str, find: Callable[[], dict[str, str]]) -> None:
    """As `_print`; of a plug-in that is broken, why there are none."""
    try:
        rows = find()
    except Problem as problem:
        rows = {f"({problem})": ""}
    _print(title, rows)


def _print(title: str, rows: dict[str, str]) -> None:
    print(f"{title}:")
    for name, text in rows.items():
        print(f"  {name:<34} {text}".rstrip())
