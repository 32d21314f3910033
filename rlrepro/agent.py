"""The contract between an agent, the loop and a memory.

The loop owns the environment, the clock, evaluation, records and checkpoints. The memory owns storage, sampling
and *when* to learn. The agent owns networks, optimisers, losses and exploration. This module imports no torch, so
that an agent's hyperparameters can be listed without it.

A `Trainer` is an agent that owns its loop.

Shapes: S seeds, N sub-environments a seed, T steps of a rollout, B transitions of a sampled batch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import gymnasium
    import numpy as np
    import torch

    from rlrepro.streams import Streams

Metrics = Mapping[str, "torch.Tensor"]


class Transition(NamedTuple):
    """One step of every sub-environment `[S, N, ...]`, a rollout `[S, T, N, ...]` or a sample `[S, B, ...]`.

    The loop fills it with NumPy arrays; a memory gives it back as tensors on the agent's device.
    """

    obs: Any
    action: Any
    reward: Any
    next_obs: Any  #: the true successor, never the observation after an autoreset
    terminated: Any  #: the task ended: nothing to bootstrap from
    truncated: Any  #: the episode was cut short (by the clock, or lost): bootstrap from `next_obs`
    extras: Mapping[str, Any]  #: what `act` wants to meet again when it learns


class Memory(Protocol):
    """Stores transitions and decides when there is something to learn from."""

    def add(self, transition: Transition) -> None:
        """Store one step `[S, N, ...]`."""

    def ready(self, step: int) -> Iterator[Transition]:
        """The batches to learn from now: none, one or several. `step` counts env steps of one seed.

        A batch is good until the next one is asked for, or the next step is stored. A memory may have
        `prefetch(step, count)` too, see `rlrepro.replay.Replay`: the loop learns from what that gives while the
        environments take the coming step.
        """

    def cut(self) -> None:
        """The episodes that were running are lost: nothing flows back over the last step stored."""

    def get_state(self) -> dict[str, Any]:
        """Everything that a resume needs, see `rlrepro.checkpoint`."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `get_state`."""


class _Length:
    """The field `total_timesteps` of a `Setup`, which notes that it was read."""

    def __get__(self, setup: Setup | None, owner: type) -> int:
        if setup is None:
            raise AttributeError("total_timesteps has no default")
        setup.__dict__["reads_length"] = True
        return setup.__dict__["_length"]

    def __set__(self, setup: Setup, length: int) -> None:
        setup.__dict__["_length"] = length


@dataclasses.dataclass(frozen=True)
class Setup:
    """What an agent is built from, beside its own config."""

    observation_space: gymnasium.Space[Any]  #: of one sub-environment
    action_space: gymnasium.Space[Any]
    seeds: tuple[int, ...]  #: the S seeds; an agent takes every random number from streams of these
    num_envs: int  #: N
    total_timesteps: int = _Length()  # type: ignore[assignment]  #: env steps of one seed, for schedules
    device: str = "cpu"
    reads_length: bool = dataclasses.field(default=False, init=False, compare=False, repr=False)
    """Whether `total_timesteps` was asked for: if not, a longer run is this one gone on with."""

    def __getstate__(self) -> dict[str, Any]:
        self.__dict__["reads_length"] = True  # a copy can be asked out of sight
        return self.__dict__

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)


class Policy(Protocol):
    """What an evaluation needs: actions, and the tensors that they follow from."""

    def predict(self, obs: np.ndarray, streams: Streams, deterministic: bool) -> np.ndarray:
        """Actions `[S, E, ...]` of the present policy, for evaluation. It changes nothing in the agent."""

    def get_policy(self) -> Mapping[str, Any]:
        """The named tensors `[S, ...]` that `predict` needs: what is kept of a finished run."""

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """The inverse of `get_policy`."""


class Agent(Policy, Protocol):
    """An algorithm for S seeds at once.

    An agent class has a frozen dataclass `Config`, whose fields are made by `hyper`, and may have `PRESETS`:
    values for an environment id or a kind of action space (`Discrete`, `Box`) that replace the defaults.
    `stackable = False` says that it trains one seed a process, `host_only = True` that it computes in NumPy, on the CPU
    alone. `LOSSES` may name methods for `--compile`: functions of their arguments and the parameters that give the loss
    `[S]`, alone or first, and draw no random numbers. `GRAPHED` may name methods that become graphs on a CUDA device,
    see `rlrepro.graphs`.
    """

    memory: Memory

    def __init__(self, setup: Setup, config: Any) -> None:
        """Raise `UnsupportedSpace` for spaces that the algorithm cannot serve."""

    def act(self, obs: np.ndarray, step: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Actions `[S, N, ...]` for `obs` `[S, N, ...]`, exploring, and what `update` wants to meet again.

        `step` counts the env steps that each seed took before this one.
        """

    def update(self, batch: Transition, step: int) -> Metrics:
        """Learn from one batch of `memory`; metrics are `{tag: [S]}`, of a seed that took no part NaN."""

    def get_state(self) -> dict[str, Any]:
        """Everything that a resume needs, the memory's part left out."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `get_state`, with NumPy arrays where that gave tensors."""


class Training(Protocol):
    """What a trainer is given to train with: environments that are counted, and ears for what it has to say."""

    setup: Setup
    env_step: int  #: steps taken so far, those of all sub-environments together

    def make_env(self, index: int = 0) -> gymnasium.Env[Any, Any]:
        """Sub-environment `index` of `setup.num_envs`, as `--env`, `--env-kwargs` and `--wrapper` say.

        Its first `reset()` without a seed begins the seed's own stream, that which our agents see. Every step and
        episode is recorded, and between two steps the appointments of the run are held: evaluations by `predict`,
        points of the curves, and the end that Ctrl-C asks for, raised as `rlrepro.errors.Interrupted`.
        """

    def tell(self, metrics: Mapping[str, float]) -> None:
        """Values by tag (`losses/…`, `charts/…`); each point of the curves takes the newest."""

    def note(self, text: str) -> None:
        """One line for the person who watches."""

    def resume_point(self) -> None:
        """Here the trainer stands where it could go on by what its `get_state` gives: what is due to be kept is kept.

        Called before the first step, when all environments are made, and again at each such point. In a seed that
        goes on, the first call brings back what was kept: the environments, the process's random generators (Python's,
        NumPy's, torch's), and by `set_state` the trainer. A run that is to stop goes on to the next point, and raises
        `Interrupted` there.
        """


class Trainer(Protocol):
    """An algorithm that owns its whole training: a library's, or somebody's script. It learns one seed.

    The class has `Config` and `PRESETS` as an `Agent` has; it has no `act`, and `stackable` is not asked: its seeds
    get a process each. A trainer that has `get_state` and `set_state` too, as an `Agent`'s, and calls
    `training.resume_point()`, goes on in the middle; of any other a resume begins an unfinished seed from its start.
    What `get_state` gives, arrays and plain data, has no seed axis here.
    """

    def __init__(self, setup: Setup, config: Any) -> None:
        """`setup.seeds` has one seed. Raise `UnsupportedSpace` for spaces that the algorithm cannot serve."""

    def train(self, training: Training) -> None:
        """Learn for `setup.total_timesteps` env steps, or as near to that as the algorithm's own loop ends."""

    def predict(self, obs: np.ndarray, generator: np.random.Generator, deterministic: bool) -> np.ndarray:
        """Actions `[E, ...]` of the present policy for `obs` `[E, ...]`, also while `train` is under way.

        Actions lie in the action space; what lies outside a Box is clipped to it.
        """

    def get_policy(self) -> Mapping[str, Any]:
        """The named arrays or tensors that `predict` needs."""

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """The inverse of `get_policy`, in a trainer that was just built; the values are tensors."""


def owns_loop(agent_class: type[Any]) -> bool:
    """Whether a class is a `Trainer`, not an `Agent`."""
    return hasattr(agent_class, "train") and not hasattr(agent_class, "act")


def goes_on(trainer_class: type[Any]) -> bool:
    """Whether a trainer has what it takes to go on in the middle of a seed."""
    return all(callable(getattr(trainer_class, name, None)) for name in ("get_state", "set_state"))


def inherits(thing: object, base: type, *methods: str) -> bool:
    """Whether a thing has these methods as `base` has them, overridden by none of its own."""
    return all(getattr(type(thing), name) is getattr(base, name) for name in methods)


class UnsupportedSpace(Exception):
    """The agent cannot serve a space; the message says which it serves."""


#: spaces on which alone a hyperparameter is used: observations that are no images, Box observations, Box actions
Only = Literal["vectors", "Box observations", "Box actions"]


def hyper(
    default: Any,
    help: str,
    source: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    addition: bool | str = False,
    needs: tuple[str, ...] = (),
    only: Only | None = None,
) -> Any:
    """A hyperparameter: a dataclass field with its help, its source (paper and place) and what is valid.

    An `addition` is somebody's extension of the algorithm, off by default: a card need not name it. Where it belongs to
    another one, that one's name stands here: a card that switches that on must name both.

    `needs` names another hyperparameter and the values of it under which this one is used, or the name alone: where
    that is on. To set this one without it is refused. What belongs to an addition needs it. `only` names the spaces on
    which this one is used; on others it is refused too.
    """
    if isinstance(addition, str):
        needs = (addition,)
    metadata = {"help": help, "source": source, "low": low, "high": high, "choices": choices, "addition": addition}
    metadata |= {"needs": needs, "only": only}
    return dataclasses.field(default=default, metadata=metadata)


def help_of(field: dataclasses.Field[Any]) -> str:
    """What a hyperparameter is, and on which spaces alone; "" where nothing says so."""
    told, only = str(field.metadata.get("help") or ""), field.metadata.get("only")
    where = "not on images" if only == "vectors" else f"{only} only"
    return f"{told}; {where}" if only else told


def source_of(config_class: type[Any], field: dataclasses.Field[Any]) -> str:
    """Where a hyperparameter's default comes from; "" where nothing says so.

    Of one that is another agent's, whose `Config` this one builds on, "of DQN: paper: Algorithm 1": another paper.
    """
    told = str(field.metadata.get("source") or "")
    owners = (one for one in config_class.__mro__ if field.name in inspect.get_annotations(one))
    owner = next(owners, config_class)
    return told if owner is config_class or not told else f"of {owner.__qualname__.removesuffix('.Config')}: {told}"
