"""An environment that was found: made one by one, as a batch, or to be filmed; why it cannot be is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import inspect
import re
import textwrap
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlrepro.errors import BadArgument, Problem, close_quietly, nearest, one_line
from rlrepro.learnt import hand_on
from rlrepro.plugins.env_layers import limits
from rlrepro.plugins.importing import installed, load_entry_point
from rlrepro.plugins.wrappers import wrapper_name

if TYPE_CHECKING:
    import gymnasium

    from rlrepro.vector import EnvBatch

_EXTRAS = {
    "mujoco": "mujoco",
    "Box2D": "box2d",
    "box2d": "box2d",
    "ale_py": "atari",
    "moviepy": "video",
    "pygame": "video",
    "imageio": "mujoco",
    "minatar": "minatar",
    "minigrid": "minigrid",
}
_TRUTH_WORDS = ("no", "yes", "off", "on", "n", "y", "f", "t")  # "true" and "false" have become truth values
_BATCH_PARTS = ["observation_space", "action_space", "reset", "step", "to_learn", "get_state", "set_state"]


@dataclasses.dataclass(frozen=True)
class EnvSource:
    """An environment that can be made: a Gymnasium id or a class, its arguments and its wrappers."""

    name: str  #: as it was asked for; a file's path made absolute
    factory: Callable[..., gymnasium.Env[Any, Any]]
    gym_id: str | None  #: its Gymnasium id, where it has one
    kwargs: Mapping[str, Any]
    wrappers: tuple[Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]], ...]

    def make(self, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """A new single environment, wrapped; observations that are a Tuple of Discretes as one MultiDiscrete."""
        kwargs = dict(self.kwargs)
        if render_mode is not None:
            kwargs["render_mode"] = render_mode
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"(?s).*is out of date", DeprecationWarning)
                env = self.factory(**kwargs)
        except (Exception, SystemExit) as error:
            if stray := self._stray_argument(error):
                raise BadArgument(stray) from error
            raise Problem(_why_not_made(self.name, error, self.described)) from error
        _check_made(env, self.name)
        if self.wrappers:
            hand_on(env)
        for wrapper in self.wrappers:
            try:
                env = wrapper(env)
            except (Exception, SystemExit) as error:
                name, creator = _unexpected(error), getattr(wrapper, "func", wrapper)
                if name in getattr(wrapper, "keywords", {}) and (stray := _stray(name, creator, leaving=1)):
                    raise BadArgument(f"--wrapper: {wrapper_name(wrapper)} {stray}") from error
                raise Problem(_why_not_made(f"{wrapper_name(wrapper)} around {self.name}", error)) from error
            _check_made(env, f"{wrapper_name(wrapper)} around {self.name}")
            hand_on(env)
        if type(getattr(env, "observation_space", None)).__name__ == "Tuple":
            from rlrepro.vector import TupleAsArray

            return TupleAsArray(env) if TupleAsArray.serves(env.observation_space) else env
        return env

    def make_kept(self) -> gymnasium.Env[Any, Any]:
        """As `make`, one that can give its state, if there is a way: it may be `rlrepro.replayed`."""
        from rlrepro.replayed import Replayed

        return Replayed(self.make()) if self.is_replayed else self.make()

    @functools.cached_property
    def is_replayed(self) -> bool:
        """Whether it gives its state by its actions, and not as plain data."""
        return self.why_not_plain is not None and self.why_not_replayed is None

    @functools.cached_property
    def why_not_plain(self) -> str | None:
        """Why it cannot give its state as plain data; None where it can."""
        from rlrepro import snapshot

        return snapshot.can_restore(self.make)

    @functools.cached_property
    def why_not_replayed(self) -> str | None:
        """Why it cannot be brought back by its actions; None where it can."""
        from rlrepro import replayed

        return replayed.why_not(self.make)

    @property
    def why_no_state(self) -> str | None:
        """Why it can give its state in no way; None where it can."""
        if self.why_not_plain is None or self.is_replayed:
            return None
        return f"{self.why_not_plain}; {self.why_not_replayed}"

    @property
    def described(self) -> str:
        """Its name with its arguments, cut where they are long."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        return f"{self.name} with {textwrap.shorten(given, 100, placeholder=' …')}" if given else self.name

    def _stray_argument(self, error: BaseException) -> str:
        """What to say of an error that an argument which the environment does not take has raised; "" of another."""
        if (name := _unexpected(error)) not in self.kwargs:
            return ""
        stray = _stray(name, self._creator(), also=("max_episode_steps",))
        return stray and f"--env-kwargs: {self.name} {stray}"

    def _creator(self) -> Any:
        """The class or function that makes one."""
        if self.gym_id is None:
            return self.factory
        from gymnasium.envs.registration import load_env_creator, spec

        creator = (getattr(self.factory, "spec", None) or spec(self.gym_id)).entry_point
        return load_env_creator(creator) if isinstance(creator, str) else creator

    def check_arguments(self) -> None:
        """`BadArgument` for a text where a truth value or a number is asked for: `if "no":` is true of an environment.

        That one is asked for is known where it is annotated so; and where the default is a truth value, "off", "no" and
        their like mean another.
        """
        if not any(isinstance(value, str) for value in self.kwargs.values()):
            return
        try:
            creator = self._creator()
            takes = inspect.signature(creator).parameters
            with contextlib.suppress(Exception):  # of annotations that name what is imported for type checkers
                takes = inspect.signature(creator, eval_str=True).parameters
        except (Exception, SystemExit):  # a module that is lacking is told of when one is made
            return
        for name, value in self.kwargs.items():
            if isinstance(value, str) and name in takes and (wanted := _wanted(takes[name], value)):
                raise BadArgument(f"--env-kwargs: {name} of {self.name} is {wanted}, not {value!r}")

    def make_filmed(self) -> Any:
        """One of them that renders as RGB arrays. `Problem` where it does not."""
        try:
            env = self.make(render_mode="rgb_array")
        except Problem as problem:
            try:
                close_quietly(self.make())
            except Problem:
                raise problem from None  # it is not about filming
            why = one_line(problem.__cause__ or problem)
            raise Problem(f"{self.name} cannot be filmed: render_mode='rgb_array' makes it fail ({why})") from None
        if env.render_mode != "rgb_array":
            close_quietly(env)
            raise Problem(
                f"{self.name} cannot be filmed: made with render_mode='rgb_array', its own is {env.render_mode!r}"
            )
        return env

    def time_limit(self) -> int | None:
        """Env steps of the longest episode that it allows; None where it states none."""
        env = self.make()
        told = [-(-limit // steps) for limit, steps in limits(env) if type(limit) is int and limit > 0]
        close_quietly(env)
        return min(told, default=None)

    def batch(self, num: int, kept: bool = False) -> EnvBatch:
        """`num` of them as one batch: in a vector form with a stream each where one is known, else one by one.

        `kept`: it is to give its state, if it can.
        """
        from rlrepro.vector import SyncEnvBatch

        if self._form is not None:
            return self._form(num)
        return SyncEnvBatch(self.make_kept if kept else self.make, num)

    @property
    def is_batched(self) -> bool:
        """Whether `batch` gives a vector form."""
        return self._form is not None

    @functools.cached_property
    def _form(self) -> Callable[[int], EnvBatch] | None:
        """How its vector form is made; None where none is known, or where only Gymnasium's own serves an argument.

        A form refuses a value by `NotImplementedError`, for which one is made, and a name by its signature.
        """
        point = installed("batched_envs").get(self.gym_id or "")
        if point is None or self.wrappers:
            return None
        import gymnasium

        what = f"the vector form of {self.gym_id}"
        form = load_entry_point(point, what)
        spec = getattr(self.factory, "spec", None) or gymnasium.spec(self.gym_id or "")
        registered = getattr(form, "registered_as", lambda: None)()
        if registered not in (None, (spec.entry_point, spec.kwargs)) or spec.additional_wrappers:
            return None  # somebody has registered another environment by that id
        kwargs = dict(self.kwargs)
        limit = kwargs.pop("max_episode_steps", None)  # as gymnasium.make takes it
        if limit is None:
            limit = spec.max_episode_steps
        elif type(limit) is not int or (limit < 1 and limit != -1):
            raise Problem(f"max_episode_steps {limit!r} is neither a whole number of at least 1 nor -1, for none")
        limit = None if limit == -1 else limit
        takes = inspect.signature(form)
        try:
            takes.bind_partial(1, limit)
        except TypeError as error:
            raise Problem(f"{what}, {point.value}, is to take (num, max_episode_steps): {error}") from None
        try:
            takes.bind(1, limit, **kwargs)
        except TypeError:
            return None
        try:
            one = form(1, limit, **kwargs)
        except NotImplementedError:
            return None
        if missing := [part for part in _BATCH_PARTS if not hasattr(one, part)]:
            near = nearest(missing[0], [name for name in dir(one) if not name.startswith("_")])
            raise Problem(
                f"{what}, {point.value}, has no {' and no '.join(missing)}{near}; see rlrepro.vector.EnvBatch"
            )
        close_quietly(one)
        return lambda num: form(num, limit, **kwargs)


def _wanted(parameter: inspect.Parameter, text: str) -> str:
    """What an argument is, other than this text; "" where it may be one."""
    kinds = typing.get_args(parameter.annotation) or (parameter.annotation,)
    is_truth, is_number = (all(kind in (*of, type(None)) for kind in kinds) for of in ((bool,), (bool, int, float)))
    if is_truth or (type(parameter.default) is bool and text.lower() in _TRUTH_WORDS):
        return "true or false"
    return "a number" if is_number else ""


def _unexpected(error: BaseException) -> str:
    """The argument that a call was given and does not take, or ""."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    return found[1] if found else ""


def _stray(name: str, creator: Any, also: Sequence[str] = (), leaving: int = 0) -> str:
    """What to say of an argument that `creator` does not take; "" where it does, or where that cannot be known.

    It takes those of its signature, but the first `leaving`, and `also` others.
    """
    with contextlib.suppress(TypeError, ValueError):  # a class of another language has no signature
        parameters = inspect.signature(creator).parameters.values()
        several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        takes = [one.name for one in parameters if one.kind not in several][leaving:]
        if name in takes:
            return ""  # it was an inner call that was given it
        takes += [one for one in also if one not in takes]
        told = f" (it takes {', '.join(takes)})" if takes else ""
        return f"takes no argument {name!r}{nearest(name, takes)}{told}"
    return ""


def _check_made(env: Any, what: str) -> None:
    """`Problem` where what was made is no environment with two spaces."""
    import gymnasium

    if not isinstance(env, gymnasium.Env):
        raise Problem(f"{what} is a {type(env).__name__}, not a gymnasium.Env")
    for name in ("observation_space", "action_space"):
        try:
            space = getattr(env, name)
        except Exception as error:  # a wrapper without super().__init__() raises whatever it meets
            raise Problem(f"{what} has no {name} ({one_line(error)})") from None
        if not isinstance(space, gymnasium.Space):
            raise Problem(f"the {name} of {what} is a {type(space).__name__}, not a gymnasium.Space")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _why_not_made(name: str, error: BaseException, described: str = "") -> str:
    """Why an environment could not be made; a missing extra is named with its pip command."""
    if isinstance(error, Problem):
        return str(error)
    if name.endswith("Pusher-v4") and "mujoco" in str(error).lower():
        return f"{name} does not run with MuJoCo 3 or later ({_version('mujoco')} is installed); use Pusher-v5"
    seen: BaseException | None = error
    while seen is not None:
        is_lacking = isinstance(seen, ImportError) or type(seen).__name__ == "DependencyNotInstalled"
        for module, extra in _EXTRAS.items() if is_lacking else ():
            if module.lower() in str(seen).lower():
                return f"{name} needs the {extra!r} extra: pip install 'rlrepro[{extra}]'"
        if is_lacking and re.search(r"cv2|opencv", str(seen), re.IGNORECASE):
            return f"{name} needs OpenCV: pip install opencv-python"
        seen = seen.__cause__ or seen.__context__
    return f"{described or name} could not be made: {one_line(error)}"
