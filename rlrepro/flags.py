"""The flags of the command line: each is checked as it is read, and each fault is one line."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rlrepro.agent import help_of, source_of
from rlrepro.errors import Problem, nearest
from rlrepro.plugins.agents import AgentSource
from rlrepro.plugins.importing import installed

MAX_SEED = 2**32 - 1
MOST_SEEDS = 10_000  #: of a run
MAX_STEPS = 10**12
MAX_NAME = 200  #: bytes of a run folder's name; file systems take 255, and one in the making has more
DEFAULT_SEEDS = 5
RUN_DIR = Path("runs")
NORMALISERS = ("vecnormalize", "gymnasium")  #: whose rules, see `rlrepro.normalise`; the first is the default


class Parser(argparse.ArgumentParser):
    """Whose faults are a `Problem` of one line each, with the nearest flag or choice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        # -1e-3, -inf and -1,2 are values too, not flags
        self._negative_number_matcher = re.compile(r"^-(\d|\.\d|inf|nan)")
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        said = message.replace("argument ", "", 1)
        if chosen := re.search(r"(.*): invalid choice: '(.*)' \(choose from (.*)\)", said):
            choices = [choice.strip(" '") for choice in chosen[3].split(",")]
            said = f"{chosen[1]}: {chosen[2]!r} is none of {', '.join(choices)}{nearest(chosen[2], choices)}"
        raise Problem(re.sub(r": ignored explicit argument (.*)", r" takes no value, and has \1", said))

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        arguments = sys.argv[1:] if args is None else args
        values, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            hint = about_unknown(unknown[0], arguments, self._of_command(arguments))
            raise Problem(f"unknown argument {unknown[0]!r}{hint}")
        return values

    def _of_command(self, arguments: Sequence[str]) -> argparse.ArgumentParser:
        """The parser of the subcommand that these arguments name; without subcommands this one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return next((action.choices[one] for one in arguments if one in action.choices), self)
        return self


#: What other tools call a flag of ours; one that means several, as agents have them, means the first that there is.
_ELSEWHERE = {
    "--total-timesteps": "steps timesteps n-timesteps num-timesteps total-steps max-steps num-env-steps total-frames",
    "--seeds": "seed num-seeds n-seeds",
    "--num-envs": "envs n-envs",
    "--device cuda": "gpu cuda",
    "--agent": "algo algorithm method",
    "--env": "env-id task",
    "--run-dir": "logdir log-dir log-folder output outdir out",
    "--name": "exp-name run-name",
    "--eval-every": "eval-freq eval-interval",
    "--eval-episodes": "n-eval-episodes num-eval-episodes",
    "--checkpoint-every": "save-freq save-interval",
    "--capture-video": "render video",
    "--normalise-obs": "norm-obs obs-norm",
    "--normalise-reward": "norm-reward reward-norm",
    "--learning-rate": "lr",
    "--actor-learning-rate": "actor-lr policy-lr pi-lr lr",
    "--critic-learning-rate": "critic-lr q-lr qf-lr",
    "--value-learning-rate": "vf-lr critic-lr",
    "--anneal": "anneal-lr",
    "--gamma": "discount discount-factor",
    "--gae-lambda": "gae lam lambda",
    "--q-lambda": "lam lambda",
    "--trace-decay": "lam lambda",
    "--num-steps": "n-steps n-step rollout-length horizon",
    "--num-epochs": "n-epochs update-epochs ppo-epochs",
    "--clip-range": "clip-coef clip-ratio clip-eps clip-param",
    "--clip-value-loss": "clip-vloss clip-range-vf",
    "--normalise-advantage": "norm-adv",
    "--entropy-coef": "ent-coef entropy-cost",
    "--value-coef": "vf-coef",
    "--hidden": "hidden-sizes hidden-dim hidden-size net-arch",
    "--first-weights": "init weight-init initialisation",
    "--first-weights orthogonal": "ortho-init",
    "--first-weights uniform": "no-ortho-init",
    "--buffer-size": "replay-size memory-size buffer",
    "--learning-starts": "learn-start update-after warmup warmup-steps",
    "--random-steps": "start-steps start-timesteps",
    "--train-every": "train-freq train-frequency update-every",
    "--target-every": "target-update-interval target-network-frequency target-update-freq",
    "--target-delay": "target-every target-update-interval target-network-frequency",
    "--policy-delay": "policy-freq policy-frequency",
    "--epsilon-start": "start-e eps-start exploration-initial-eps",
    "--epsilon-end": "end-e eps-end exploration-final-eps",
    "--exploration-noise": "expl-noise act-noise action-noise",
    "--noise-std": "exploration-noise act-noise action-noise",
    "--target-noise": "policy-noise",
    "--target-noise-clip": "noise-clip",
    "--alpha-init": "ent-coef alpha",
    "--cg-damping": "damping-coeff damping",
    "--learn-alpha": "autotune",
    "--num-atoms": "n-atoms",
    "--num-quantiles": "n-quantiles",
}
_NEAR = 0.65  #: of two flags: a slip of the keys is nearer, and what only looks alike means something else


def _nearest_flag(given: str, parser: argparse.ArgumentParser) -> str:
    """`"; did you mean '--x'?"` for a flag that there is not: what it is called here, else the nearest name."""
    flags = [flag for action in parser._actions for flag in action.option_strings if action.dest != "help"]
    word = given.lower().replace("_", "-").lstrip("-")
    ours = [flag for flag, words in _ELSEWHERE.items() if word in words.split() and flag.partition(" ")[0] in flags]
    if ours:
        return f"; did you mean {ours[0]!r}?"
    return nearest(given.lstrip("-"), [flag.lstrip("-") for flag in flags], _NEAR).replace("mean '", "mean '--")


def about_unknown(given: str, arguments: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What may have been meant by an argument that there is not."""
    if given.startswith("-"):
        return _nearest_flag(given.partition("=")[0], parser)
    switches = {flag for action in parser._actions if action.nargs == 0 for flag in action.option_strings}
    for before, stray in itertools.pairwise(arguments):
        if stray == given and before in switches:
            opposite = f"--no-{before[2:]}"
            return f": {before} takes no value" + f" ({opposite} is its opposite)" * (opposite in switches)
    return _in_one(given, arguments, parser)


def _in_one(given: str, arguments: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Of one of several values after a flag: how they are given in one, where the flag takes them so."""
    types: dict[str, Any] = {flag: action.type for action in parser._actions for flag in action.option_strings}
    following: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, given_in_one, value = argument.partition("=")
            following.append((flag, [value] if given_in_one else []))
        elif following:
            following[-1][1].append(argument)
    for flag, values in following:
        if given in values[1:] and types.get(flag):
            with contextlib.suppress(argparse.ArgumentTypeError, ValueError):
                if isinstance(types[flag](text := ",".join(values)), tuple | dict):
                    return f": {flag} takes several values in one, as {flag} {text}"
    return ""


def train_parser(
    agent: AgentSource | None,
    config_class: type[Any] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    add_help: bool = True,
) -> argparse.ArgumentParser:
    """The flags of `rlrepro train`; with an agent, its hyperparameters too."""
    width = min(110, shutil.get_terminal_size().columns)
    defaults = (presets or {}).get("*", {})
    parser = Parser(
        prog="python -m rlrepro.train",
        description="Train one agent on one environment, many seeds at once, and evaluate it.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=width),
        add_help=add_help,
    )
    _add_run(parser.add_argument_group("run").add_argument, presets)
    _add_kept(parser.add_argument_group("what is kept").add_argument)
    _add_again(parser.add_argument_group("again").add_argument)
    if agent is not None and config_class is not None:
        add_hyperparameters(parser.add_argument_group(f"hyperparameters of {agent.name}"), config_class, defaults)
        if presets:
            head = f"presets of {agent.name} (by environment id or kind of action space; * is for all):"
            lines = [textwrap.fill(_in_words(*preset), width, subsequent_indent="    ") for preset in presets.items()]
            parser.epilog = "\n".join([head, *lines])
    return parser


def add_hyperparameters(
    group: argparse._ActionsContainer, config_class: type[Any], defaults: Mapping[str, Any]
) -> None:
    """A flag of each hyperparameter; `defaults`, of presets, are told of in place of their own."""
    for field in dataclasses.fields(config_class):
        default = defaults.get(field.name, field.default)
        _add_hyperparameter(group, field, default, source_of(config_class, field))


Add = Callable[..., object]
"""A group's `add_argument`."""


class _Together(argparse.Action):
    """The tables of a flag that is given again, as one; `Problem` where a name stands in two."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest) or {}
        for name in values:
            if name in before:
                raise Problem(f"{option_string}: {name} is given twice, as {before[name]!r} and {values[name]!r}")
        setattr(namespace, self.dest, {**before, **values})


def _add_run(add: Add, presets: Mapping[str, Mapping[str, Any]] | None) -> None:
    add(
        "--env",
        type=_not_empty,
        metavar="ENV",
        help="Gymnasium id, module:Id-v0, module:Class, or file.py:Class (CartPole-v1)",
    )
    add(
        "--agent",
        type=_not_empty,
        metavar="AGENT",
        help=f"{', '.join([*installed('agents'), *(f'{name}:…' for name in installed('agent_families'))])}, "
        "module:Class, or file.py:Class (ppo)",
    )
    add(
        "--seeds",
        type=seed_list,
        metavar="N|LIST",
        help=f"how many seeds, or which: 10, or 0,3,7 or 10-19 ({DEFAULT_SEEDS})",
    )
    add("--seed", type=whole_number(0, MAX_SEED), metavar="SEED", help="one seed; with --seeds N, the first of them")
    add(
        "--total-timesteps",
        type=whole_number(1, MAX_STEPS),
        metavar="STEPS",
        help=f"env steps of each seed{_by_preset('total_timesteps', presets)}",
    )
    add(
        "--num-envs",
        type=whole_number(1, 100_000),
        metavar="N",
        help=f"sub-environments of each seed{_by_preset('num_envs', presets)}",
    )
    add("--device", type=device_name, metavar="DEVICE", help="cpu, cuda or cuda:1 (cpu)")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="losses compiled by torch where a trial finds that faster; a run is then not exact to the bit (off)",
    )
    add(
        "--processes",
        type=whole_number(1, 1024),
        metavar="N",
        help="processes that the seeds are dealt to (one a core)",
    )
    add(
        "--env-processes",
        type=whole_number(1, 1024),
        metavar="N",
        help="processes that step environments without a vector form (1; with --device cuda those of the spare cores)",
    )
    add(
        "--env-kwargs",
        action=_Together,
        type=_kwargs,
        metavar="K=V,…",
        help="arguments of the environment, as g=9.8,continuous=True; may be repeated",
    )
    add(
        "--wrapper",
        action="append",
        metavar="WRAPPER",
        help="wrap the environment: Name, Name(k=v), module:Class, "
        "or file.py:Class; may be repeated, the innermost first",
    )
    add(
        "--check-env",
        action=argparse.BooleanOptionalAction,
        help="test the environment against Gymnasium's contract before training (on)",
    )
    add(
        "--normalise-obs",
        action=argparse.BooleanOptionalAction,
        help="observations to mean 0, std 1 by each seed's running statistics, clipped to ±10 (off)",
    )
    add(
        "--normalise-reward",
        action=argparse.BooleanOptionalAction,
        help="rewards divided by the running std of the return discounted by gamma, clipped to ±10; records keep "
        "the environment's own (off)",
    )
    add(
        "--normalise-as",
        type=_one_of(NORMALISERS),
        metavar="|".join(NORMALISERS),
        help="what the two count: as Stable-Baselines3's VecNormalize, or as Gymnasium's wrappers, which CleanRL uses "
        "and whose return goes on over truncations (vecnormalize)",
    )


def _add_kept(add: Add) -> None:
    add("--run-dir", type=Path, default=RUN_DIR, metavar="DIR", help="where run folders are made (runs)")
    add("--name", type=_name, metavar="NAME", help="name of the run folder (ENV-AGENT-TIME)")
    add(
        "--log-every",
        type=whole_number(1, MAX_STEPS),
        metavar="STEPS",
        help="env steps between points of the curves (a 200th)",
    )
    add(
        "--eval-every",
        type=whole_number(0, MAX_STEPS),
        metavar="STEPS",
        help="env steps between evaluations; 0: only at the end (a tenth)",
    )
    add("--eval-episodes", type=whole_number(1, 100_000), metavar="N", help="episodes of an evaluation (10)")
    add(
        "--final-eval-episodes",
        type=whole_number(1, 100_000),
        metavar="N",
        help="episodes of the last evaluation (100)",
    )
    add(
        "--eval-deterministic",
        action=argparse.BooleanOptionalAction,
        help="evaluate the policy's mode; otherwise it explores as it does for rlrepro evaluate --stochastic (on)",
    )
    add(
        "--checkpoint-every",
        type=whole_number(0, MAX_STEPS),
        metavar="STEPS",
        help="env steps between checkpoints; 0: only at the end (a tenth)",
    )
    add(
        "--capture-video",
        action=argparse.BooleanOptionalAction,
        help="record an episode of the first seed at each evaluation",
    )


def _add_again(add: Add) -> None:
    add(
        "--resume",
        metavar="RUN",
        help="go on with a run that was stopped, from its newest checkpoint; with --total-timesteps, for longer, with "
        "--processes in as many",
    )
    add("--settings", metavar="FILE", help="begin a new run from another's settings.json; flags change it")


def _by_preset(name: str, presets: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The value that the presets give a run setting, and that some give it another."""
    found = {key: preset[name] for key, preset in (presets or {}).items() if name in preset}
    if "*" not in found:
        return " (by preset, see below)" if found else ""
    others = ", other presets below" if len(set(found.values())) > 1 else ""
    return f" ({found['*']}{others})"


def _in_words(key: str, preset: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} = {value}" for name, value in preset.items() if name != "source")
    return f"  {key}: {values}  [{preset.get('source', 'no source given')}]"


def _add_hyperparameter(group: Any, field: dataclasses.Field[Any], default: Any, source: str) -> None:
    meta = field.metadata
    flag = "--" + field.name.replace("_", "-")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if isinstance(default, bool):
        shown = "on" if default else "off"
    text = f"{help_of(field)} ({shown}) [{source or 'no source given'}]".replace("%", "%%")
    options: dict[str, Any] = {"dest": f"hyper_{field.name}", "help": text, "default": None}
    low, high, kind = meta.get("low"), meta.get("high"), _kind(field)
    if kind == "bool":
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif meta.get("choices"):
        group.add_argument(flag, type=_one_of(meta["choices"]), metavar="|".join(meta["choices"]), **options)
    elif kind == "int":
        group.add_argument(flag, type=_whole(low, high), metavar="N", **options)
    elif kind == "float":
        group.add_argument(flag, type=_real(low, high), metavar="X", **options)
    elif kind == "tuple of int":
        group.add_argument(flag, type=_list(_whole(low, 10**9 if high is None else high)), metavar="N,N", **options)
    elif kind == "tuple of float":
        group.add_argument(flag, type=_list(_real(low, high)), metavar="X,X", **options)
    else:
        group.add_argument(flag, metavar="TEXT", **options)


def _kind(field: dataclasses.Field[Any]) -> str:
    """What a hyperparameter takes, as it is declared; where that says nothing that is known here, as its default is."""
    declared = getattr(field.type, "__name__", "") if isinstance(field.type, type) else str(field.type)
    if declared in ("bool", "int", "float", "str"):
        return declared
    if isinstance(field.default, tuple):
        item = re.match(r"(?:typing\.)?[tT]uple\[(int|float)\b", declared)
        has_float = any(isinstance(one, float) for one in field.default)
        return f"tuple of {item[1] if item else 'float' if has_float else 'int'}"
    return next((kind.__name__ for kind in (bool, int, float) if isinstance(field.default, kind)), "str")


def whole_number(low: float, high: float) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            try:
                real = float(text)
                value = int(real) if real == int(real) else None  # type: ignore[assignment]
            except (ValueError, OverflowError):
                value = None
        if value is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not from {int(low):,} to {int(high):,}")
        return value

    return parse


def _real(low: float | None, high: float | None) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        lowest, highest = -1e30 if low is None else low, 1e30 if high is None else high
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not from {lowest:g} to {highest:g}")
        return value

    return parse


def _whole(low: float | None, high: float | None) -> Callable[[str], int]:
    return whole_number(-MAX_STEPS if low is None else low, MAX_STEPS if high is None else high)


def _list(parse_one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: () if text in ("", "none") else tuple(parse_one(part) for part in text.split(","))


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(choices)}{nearest(text, choices)}")
        return text

    return parse


def _not_empty(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no name")
    return text


def seed_list(text: str) -> int | tuple[int, ...]:
    """How many seeds, or which: `10`; `0,3,7`, `10-19` or `0-4,7`."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names no seed")
    if not text.strip("0 "):
        raise argparse.ArgumentTypeError(
            f"0 is not from 1 to {MOST_SEEDS:,}; seed 0 alone is '0,', and three are '0,1,2'"
        )
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 and not _RANGE.fullmatch(parts[0]):
        return whole_number(1, MOST_SEEDS)(text)
    seeds = tuple(seed for part in parts if part for seed in _seeds_of(part))
    twice = [seed for seed, times in Counter(seeds).items() if times > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"seed {twice[0]} stands twice in {text!r}")
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} names no seed")
    if len(seeds) > MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} names {len(seeds):,} seeds, more than {MOST_SEEDS:,}")
    return seeds


_RANGE = re.compile(r"(\d[\d_]*) *(-|\.\.|:) *(\d[\d_]*)")


def _seeds_of(part: str) -> Iterable[int]:
    """One seed, or those of a range such as `10-19`, both ends included."""
    one = whole_number(0, MAX_SEED)
    span = _RANGE.fullmatch(part)
    if span is None:
        return [one(part)]
    first, last = one(span[1]), one(span[3])
    if span[2] != "-":
        raise argparse.ArgumentTypeError(f"{part!r} is no range of seeds; did you mean '{first}-{last}'?")
    if last - first >= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"the range {part!r} has more than {MOST_SEEDS:,} seeds")
    if first > last:
        raise argparse.ArgumentTypeError(f"the range {part!r} falls: its first seed is above its last")
    return range(first, last + 1)


def _kwargs(text: str) -> dict[str, Any]:
    """`a=1,b=True` or a JSON object."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from None
    values: dict[str, Any] = {}
    for part in _split(text):
        name, equals, value = part.partition("=")
        if equals and name.strip() in values:
            raise argparse.ArgumentTypeError(f"{text!r} names {name.strip()} twice")
        if not equals or not name.strip().isidentifier():
            raise argparse.ArgumentTypeError(f"{text!r} is not name=value,name=value, nor JSON")
        values[name.strip()] = _literal(value.strip())
    return values


def _split(text: str) -> list[str]:
    """The parts between the commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "," and depth == 0:
            parts.append("")
            continue
        depth += 0 if quote else (character in "([{") - (character in ")]}")
        parts[-1] += character
    return [part for part in parts if part.strip()]


def _literal(text: str) -> Any:
    """A Python value, its constants as JSON writes them too, or else the text itself."""
    constants = {"true": True, "false": False, "null": None}
    if text in constants:
        return constants[text]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        if text[:1] in tuple("([{'\""):
            raise argparse.ArgumentTypeError(f"{text!r} is no value") from None
        return text


def device_name(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", text):
        hint = "; did you mean 'cuda'?" if "gpu" in text.lower() else nearest(text, ["cpu", "cuda"])
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda or cuda:N{hint}")
    return text


def _path(text: str) -> Path:
    """What `type=Path` stands for: `Path("")` would be the working folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no path (that of the working folder is '.')")
    try:
        Path(text).exists()
    except OSError as error:
        shown = f"{text[:40]!r}…" if len(text) > 40 else repr(text)
        raise argparse.ArgumentTypeError(f"{shown} cannot be a path: {error.strerror}") from None
    return Path(text)


def _name(text: str) -> str:
    size = len(os.fsencode(text))
    if size > MAX_NAME:
        raise argparse.ArgumentTypeError(f"{text[:40]!r}… has {size} bytes; expected at most {MAX_NAME}")
    if not re.fullmatch(r"[\w.@+=-][\w.@+= -]*", text) or text in (".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of one folder (letters, digits, . _ - = + @)")
    return text
