"""Which column of a table, or tag of TensorBoard, is what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rlrepro.errors import Problem, nearest

# What columns of a CSV file are called, the likeliest first; --column names others.
COLUMNS = {
    "seed": ("seed", "random_seed", "trial"),
    "step": ("env_step", "env_steps", "global_step", "step", "steps", "timestep", "timesteps", "total_timesteps",
             "time/total_timesteps"),
    "return": ("return", "episode_return", "episodic_return", "mean_return", "reward", "episode_reward",
               "mean_reward", "eval_return", "score"),
    "env": ("env", "env_id", "environment", "task"),
    "agent": ("agent", "algorithm", "algo", "method", "exp_name"),
    "kind": ("kind", "returns"),
}  # fmt: skip
TAGS = {
    "training": ("charts/episodic_return", "rollout/ep_rew_mean"),
    "evaluation": ("eval/mean_reward", "evaluation/mean_return"),
}
RUNNING = {"rollout/ep_rew_mean": 100}  # a point is the mean of so many episodes: Stable-Baselines3's window
LENGTHS = {"rollout/ep_rew_mean": "rollout/ep_len_mean"}  # what says how long these episodes were
ROLES = (*COLUMNS, *TAGS)
_TAG_KINDS = {"training": "episode", "evaluation": "evaluation"}
ROW_KINDS = {"episode": "episode", "training": "episode", "train": "episode", "evaluation": "evaluation",
              "eval": "evaluation", "test": "evaluation", "final": "final"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Returns:
    """A column of returns."""

    place: int
    kind: str = ""  #: of all its rows; empty: each row says it, or nothing does
    may_lack: bool = False  #: a logger leaves a cell empty where it had nothing to say


def roles(path: Path, names: Sequence[str], columns: Mapping[str, str]) -> tuple[dict[str, int], list[Returns]]:
    """Where each role's column is, and the columns of returns: those of tags only where there is no other."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(f"{path}:1: it has two columns {twice!r}")
    lower = [name.lower() for name in names]
    places = {}
    for role, usual in COLUMNS.items():
        asked = columns.get(role)
        if asked is not None:
            if asked in names or role != "kind" or asked not in ROW_KINDS:
                places[role] = _asked(path, asked, names, ROW_KINDS if role == "kind" else ())
            continue
        found = next((name for name in usual if name in lower), None)
        if found is None and role == "return":
            found = next((name for name in lower if name.startswith(("mean_return", "mean_episode_return"))), None)
        if found is not None:
            places[role] = lower.index(found)
    named = any(columns.get(role) in names for role in TAGS)
    if "return" in places and ("return" in columns or not named):
        place = places["return"]
        kind = next((_TAG_KINDS[role] for role, usual in TAGS.items() if names[place] in usual), "")
        returns = [Returns(place, kind, may_lack=bool(kind))]
    else:
        tags = {r: columns.get(r) or next((tag for tag in usual if tag in names), "") for r, usual in TAGS.items()}
        returns = [Returns(_asked(path, tag, names), _TAG_KINDS[role], True) for role, tag in tags.items() if tag]
    for role, is_there in (("step", "step" in places), ("return", bool(returns))):
        if not is_there:
            raise Problem(
                f"{path}:1: it has no column that is the {role} ({', '.join(COLUMNS[role][:4])}, …), but "
                f"{', '.join(names) or 'none'}; --column {role}=NAME names it"
            )
    return places, _of_kind(path, names, returns, columns.get("kind", "") if "kind" not in places else None)


def _asked(path: Path, asked: str, names: Sequence[str], words: Iterable[str] = ()) -> int:
    """The place of a column that --column names, or could name by one of `words`."""
    if asked not in names:
        hint = nearest(asked, [*names, *words])
        none_of = f", and no kind of row ({', '.join(words)})" if words else ""
        raise Problem(f"{path}:1: no column {asked!r}{none_of}{hint} (there is {', '.join(names)})")
    return names.index(asked)


def _of_kind(path: Path, names: Sequence[str], returns: Sequence[Returns], asked: str | None) -> list[Returns]:
    """The columns with the kind that --column states, else with what their names say; None: each row says its own."""
    if asked is None:
        return list(returns)
    if not asked:
        return [dataclasses.replace(one, kind=one.kind or _kind_by_name(names[one.place])) for one in returns]
    kind = ROW_KINDS[asked]
    kept = [dataclasses.replace(one, kind=kind) for one in returns if one.kind in ("", kind)]
    if not kept:
        told = " and ".join(f"{names[one.place]!r} is of {one.kind}s" for one in returns)
        raise Problem(f"{path}:1: --column kind={asked} cannot be: {told}; leave it out")
    return kept


def _kind_by_name(name: str) -> str:
    """What the rows under a column of returns are; empty where its name does not say it."""
    if name.lower().startswith(("mean", "eval")):
        return "evaluation"
    return "episode" if "episod" in name.lower() else ""
