"""What the loop relies on, looked at before a run begins.

Environments and wrappers are held against the Gymnasium contract, an agent's state against what a checkpoint can hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from rlrepro import checkpoint, learnt
from rlrepro.agent import Agent
from rlrepro.errors import Problem, close_quietly, one_line, place_of
from rlrepro.plugins.env_source import EnvSource
from rlrepro.plugins.environments import find_env
from rlrepro.plugins.wrappers import wrapper_name
from rlrepro.settings import Settings


def check_run(settings: Settings) -> None:
    """`Problem` for what can be known before a run folder is made."""
    source = find_env(settings.env, settings.env_kwargs, settings.wrappers)
    if settings.check_env and not source.is_batched:
        layers = [dataclasses.replace(source, wrappers=source.wrappers[:k]) for k in range(len(source.wrappers) + 1)]
        env = layers[0].make()
        check_contract(env, source.described)
        close_quietly(env)
        check_wrappers([layer.make for layer in layers], list(map(wrapper_name, source.wrappers)))
    if settings.capture_video:
        check_film(source)


def check_film(source: EnvSource) -> None:
    """`Problem` where it can be known that the environment cannot be filmed."""
    try:
        import moviepy  # noqa: F401
    except ImportError:
        raise Problem("--capture-video needs the 'video' extra: pip install 'rlrepro[video]'") from None
    close_quietly(source.make_filmed())


def check_contract(env: gymnasium.Env[Any, Any], name: str) -> None:
    """Raise `Problem` naming the first rule of the Gymnasium contract that `env` breaks."""
    from gymnasium.utils.env_checker import check_env

    if type(env).step is gymnasium.Env.step:
        raise Problem(f"{name} breaks the Gymnasium contract: it has no step()")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rule = _broken_rule(env)
            if rule is None:
                check_env(env, skip_render_check=True, skip_close_check=True)
        except (Exception, SystemExit) as error:
            rule = one_line(error)
    if rule is not None:
        raise Problem(f"{name} breaks the Gymnasium contract: {rule}")


def check_wrappers(make: Sequence[Callable[[], gymnasium.Env[Any, Any]]], names: Sequence[str]) -> None:
    """Raise `Problem` naming the first wrapper that breaks what the loop relies on.

    `make` has a form for the environment alone, and one more for each wrapper of `names` that is put around it.
    """
    for number, name in enumerate(names, 1):
        if (rule := _broken_by_wrapper(make[number])) is not None:
            if _broken_by_wrapper(make[number - 1]) is not None:
                return  # not the wrapper's: the environment itself makes two of the same seed
            raise Problem(f"the wrapper {name} breaks the Gymnasium contract: {rule}")


def _broken_by_wrapper(make: Callable[[], gymnasium.Env[Any, Any]]) -> str | None:
    """The first rule that a few steps of two environments with the same seed break.

    A wrapper may remember, as those that normalise do, so that Gymnasium's own check, which resets one environment
    twice, would refuse what is sound.
    """
    from gymnasium.utils.env_checker import data_equivalence

    pair = [make() for _ in range(2)]
    try:
        seen = []
        for env in pair:
            if (rule := _broken_rule(env, strict=False)) is not None:
                return rule
            obs = [env.reset(seed=1)[0]]
            space = env.action_space  # a wrapper may make a new one each time
            space.seed(1)
            for _ in range(5):
                given = env.step(space.sample())
                obs.append(given[0])
                if given[2] or given[3]:
                    break
            seen.append(obs)
        if not data_equivalence(seen[0], seen[1]):
            return "two of them that are reset with the same seed do not give the same observations"
    except (Exception, SystemExit) as error:
        return f"it raises {one_line(error)}{place_of(error)}"
    finally:
        for env in pair:
            close_quietly(env)
    return None


def check_state(agent: Agent, name: str, num_seeds: int) -> None:
    """`Problem` naming what of the state of a new agent no checkpoint can hold, before it has trained in vain.

    A state that can be had only after the first step is left to the first checkpoint; what its `STATE` names is there
    from the first, if only as None.
    """
    held: dict[str, Any] = {}
    try:
        held["agent"] = agent.get_state()
        held["memory"] = agent.memory.get_state()
    except Problem:
        raise
    except Exception:  # it may be there after the first step: what it raises then is met at the first checkpoint
        pass
    for part, state in held.items():
        where = f"the state of {name}: {part}"
        checkpoint.check_seeds(state, num_seeds, where)
        try:
            checkpoint.check_plain(state)
        except checkpoint.NotPlain as error:
            raise Problem(f"{'.'.join((where, *error.path))} cannot be saved: {error.what}") from None
    with contextlib.suppress(Exception):  # as of the state: what it raises is met when the policy is saved
        held["policy"] = agent.get_policy()
    if "policy" in held:
        if not isinstance(held["policy"], Mapping):
            kind = type(held["policy"]).__name__
            raise Problem(f"get_policy() of {name} gives a {kind}, not parameters by name: arrays [S, ...]")
        checkpoint.check_seeds(held["policy"], num_seeds, f"the policy of {name}")


def _broken_rule(env: Any, strict: bool = True) -> str | None:
    """The first rule that a few steps break, where Gymnasium's own check says it badly or not at all.

    Not `strict`: an observation must fit the space's shape, whatever its numbers are.
    """
    if not isinstance(env.observation_space, gymnasium.Space) or not isinstance(env.action_space, gymnasium.Space):
        return None  # Gymnasium says this well
    taken = inspect.signature(env.reset).parameters
    if "seed" not in taken and not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return "reset() takes no seed"
    first = env.reset(seed=0)
    if not isinstance(first, tuple) or len(first) != 2:
        return f"reset() must give (observation, info), not a {type(first).__name__}"
    wrong = _wrong_observation(first[0], env.observation_space, "reset()", strict)
    env.action_space.seed(0)
    for _ in range(10):
        if wrong is not None:
            return wrong
        given = env.step(env.action_space.sample())
        if not isinstance(given, tuple) or len(given) != 5:
            count = len(given) if isinstance(given, tuple) else 1
            return f"step() must give 5 values (observation, reward, terminated, truncated, info), not {count}"
        obs, reward, terminated, truncated, info = given
        wrong = _wrong_observation(obs, env.observation_space, "step()", strict)
        is_number = isinstance(reward, int | float | np.number | np.bool_)
        if not is_number and not (isinstance(reward, np.ndarray) and reward.shape == ()):
            return f"step() gives a reward that is a {type(reward).__name__}, not a number"
        if not np.isfinite(float(reward)):
            return f"step() gives the reward {float(reward)}"
        for what, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_):
                return f"step() gives {what} as a {type(value).__name__}, not a bool"
        if not isinstance(info, dict):
            return f"the info of step() is a {type(info).__name__}, not a dict"
        if learnt.KEY in info:
            learnt.told(info)
        if terminated or truncated:
            env.reset()
    return wrong


def _wrong_observation(obs: Any, space: gymnasium.Space[Any], where: str, strict: bool) -> str | None:
    if isinstance(space, Box) and isinstance(obs, np.ndarray):
        if obs.shape != space.shape:
            return f"{where} gives an observation of shape {obs.shape}, not {space.shape}"
        is_cut = obs.dtype.kind in "fc" and space.dtype.kind not in "fc"  # to whole numbers, as it is stored
        if is_cut or (strict and not np.can_cast(obs.dtype, space.dtype)):
            return f"{where} gives an observation of {obs.dtype}, not {space.dtype}"
        if not strict:
            return None
        if np.issubdtype(obs.dtype, np.floating) and not np.isfinite(obs).all():
            return f"{where} gives an observation with NaN or infinity"
    return None if space.contains(obs) else f"{where} gives an observation outside the observation space"
