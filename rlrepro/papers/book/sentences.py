"""Published numbers whose protocol is told in a sentence, as the sources of the package's own book tell it.

`METRICS` has every sentence that is known and its protocol; one that is not is a fault, and never guessed. Such a row's
other fields are prose too: they are cut down to the facts, and what they say that a reader must know becomes cautions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlrepro.errors import Problem, one_line
from rlrepro.papers.protocol import Protocol

Table = Mapping[str, Any]
Made = tuple[Protocol, tuple[str, ...]]
"""A protocol, and the cautions that come with the sentence."""


def read(table: Table, spread_kind: str, place: str) -> Made:
    """The protocol that a row's `metric` tells, and the cautions of the whole row; `Problem` where it is not known."""
    metric = table.get("metric")
    if not isinstance(metric, str) or not metric:
        raise Problem(f"{place}: metric: missing; give it, or a protocol table")
    for pattern, make in METRICS:
        found = re.fullmatch(pattern, metric)
        if found:
            protocol, cautions = _made(make, found, table, place) if callable(make) else make
            return protocol, (*cautions, *_cautions(table, spread_kind))
    raise Problem(
        f"{place}: metric: {metric!r} is not known; give the row a protocol table, "
        "as protocol = { returns = 'training', last = 100 }"
    )


def spread_kind(sentence: str) -> str | None:
    """Which kind of spread a sentence means, where it is known."""
    return next((name for pattern, name in _SPREADS if re.fullmatch(pattern, sentence)), None)


def facts(table: Table, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row whose prose is cut down."""
    env, env_note = _env(fields["env"], fields["env_note"])
    return {
        **fields,
        "variant": re.sub(r" \(AHE = .*\)$", "", fields["variant"]),
        "env": env,
        "env_note": env_note,
        "steps": _budget(fields["steps"], table),
        "where": _where(fields["where"], table),
        "read_from": _read_from(fields["read_from"]),
        "hyperparameters": _hyperparameters(fields["hyperparameters"]),
    }


def _made(make: Callable[[re.Match[str], Table], Made], found: re.Match[str], table: Table, place: str) -> Made:
    """What a metric's words make of it; `Problem` where no protocol can be of such numbers."""
    try:
        protocol, cautions = make(found, table)
        return Protocol.from_table(protocol.to_table()), cautions
    except Problem as problem:
        raise Problem(f"{place}: metric: {problem}") from None
    except (ArithmeticError, ValueError, TypeError) as error:
        raise Problem(f"{place}: metric: {found[0]!r} cannot be read: {one_line(error)}") from None


def _other(note: str, *cautions: str, returns: str = "evaluation") -> Made:
    return Protocol(returns, "other", note=note), cautions


def _number(text: str) -> int:
    """`5000`, `955k` or `1M`."""
    return round(float(text.rstrip("kM")) * {"k": 1e3, "M": 1e6}.get(text[-1], 1))


def _last_training(found: re.Match[str], table: Table) -> Made:
    cautions = ["training-return"] if table.get("algorithm") in _OFF_POLICY else []
    return Protocol("training", last=int(found["last"])), tuple(cautions)


def _open_rl(found: re.Match[str], table: Table) -> Made:
    if table.get("variant") == "tianshou":
        return Protocol("evaluation", last=100, note="the last 100 logged test points"), ("hundred-points",)
    return _last_training(found, table)


def _dopamine_atari(found: re.Match[str], table: Table) -> Made:
    first, last = int(found["first"]), int(found["last"])
    note = "whether of training or of evaluation is not stated"
    begin, end = 250_000 * first, 250_000 * (last + 1)
    protocol = Protocol("training", after_step=begin, to_step=end, iteration=250_000, note=note)
    return protocol, ("phase-unstated", "sticky-actions")


def _dopamine_sac(found: re.Match[str], table: Table) -> Made:
    iterations = [int(one) for one in found["iterations"].split(",")]
    begin, end = 1000 * min(iterations), 1000 * (max(iterations) + 1)
    note = f"of iterations {found['iterations']}, counted from 0, alone"
    protocol = Protocol("training", after_step=begin, to_step=end, iteration=1000, note=note)
    return protocol, ("sampled-actions",)


def _mushroom(found: re.Match[str], table: Table) -> Made:
    """An epoch is some training steps (or episodes), then test episodes (or test steps)."""
    parts = found.groupdict()
    cautions: list[str] = []
    episodes: int | None = int(parts["episodes"])
    note = []
    if table.get("env_id") in ("BreakoutDeterministic-v4", "GridWorld"):
        note.append(f"tests of {episodes:,} steps" if table["env_id"] != "GridWorld" else "tests counted in steps")
        cautions.append("test-steps")
        episodes = None
    every: int | None = None
    to_step: int | None = None
    steps = table.get("steps")
    if parts.get("epoch"):
        every, to_step = (steps // int(parts["epoch"]), steps) if isinstance(steps, int) else (None, None)
    elif in_steps := re.search(r"x n_steps (\d+)", table.get("steps_note", "")):
        every = int(in_steps[1])
    elif in_episodes := re.search(r"x n_episodes (\d+)", table.get("steps_note", "")):
        note.append(f"tests every {in_episodes[1]} training episodes")
    discount = 1.0
    if parts["kind"] == "discounted":
        gamma = re.search(r'"gamma": ([\d.]+)', table.get("env_version_note", ""))
        if gamma is None:
            return _other("discounted return of the last test, by a discount that was not read", *cautions)
        discount = float(gamma[1])
    return (
        Protocol(
            "evaluation",
            last=int(parts.get("last") or 1),
            to_step=to_step,
            eval_every=every,
            eval_episodes=episodes,
            discount=discount,
            note="; ".join(note),
        ),
        tuple(cautions),
    )


def _zoo(found: re.Match[str], table: Table) -> Made:
    policy = "stochastic" if "Frameskip" in str(table.get("env_id")) else "deterministic"
    return (
        Protocol("evaluation", "one agent", policy=policy, eval_episodes=int(found["episodes"])),
        ("one-agent",),
    )


_TD3 = Protocol("evaluation", policy="deterministic", eval_every=5000, eval_episodes=10)
_OFF_POLICY = ("DDPG", "TD3", "SAC")
_LAST_100 = (
    r"mean over seeds of \(mean training episodic return of the last (?P<last>\d+) logged episodes\); "
    r"stochastic/exploring behaviour policy, no separate evaluation \(openrlbenchmark\.rlops definition\)"
)
_EPOCH_TESTS = r"(?P<kind>undiscounted|discounted) return of the test episodes \((?P<episodes>\d+) per epoch\)"

METRICS: list[tuple[str, Made | Callable[[re.Match[str], Table], Made]]] = [
    # CleanRL
    (_LAST_100, _last_training),
    (_LAST_100 + r" -- table older than rlops or copied from an earlier report; docs do not define the spread",
     _last_training),
    (r"mean of 30 evaluation episodes of the best agent, eps 0\.05 \(see dqn_nature source\)",
     (Protocol("evaluation", "one agent", policy="stochastic", eval_episodes=30, note="the best agent of one run"),
      ("nature-one-agent",))),
    (r"as in the paper, best agent evaluation, no-op starts",
     (Protocol("evaluation", "one agent", note="the best agent; no-op starts"), ())),
    (r"as in the paper", _other("the paper's own, which the source does not repeat")),
    (r"evaluation return, deterministic policy, at (?P<step>\d+M) steps, read off a learning curve",
     lambda found, _: (Protocol("evaluation", last=1, to_step=_number(found["step"]), policy="deterministic"),
                       ("read-off",))),
    # Open RL Benchmark
    (r"mean over seeds of \(mean return of the last (?P<last>\d+) logged training episodes\)", _open_rl),
    # TD3
    (r"max over evaluations \(every 5000 steps, 10 episodes, no exploration noise\) of the return averaged over "
     r"10 trials", (replace(_TD3, statistic="max of seed mean"), ("td3-maximum",))),
    (r"average return over the last (?P<last>\d+) evaluations over \d+ trials",
     lambda found, _: (replace(_TD3, last=int(found["last"])), ())),
    (r"max over the 201 evaluation times of the mean-over-seeds curve .*",
     (replace(_TD3, statistic="max of seed mean"), ("td3-maximum",))),
    (r"mean of the last (?P<last>\d+) evaluations \(\d+k\.\.1M steps\), 10 episodes each, deterministic policy",
     lambda found, _: (replace(_TD3, last=int(found["last"])), ())),
    (r"mean of the (?P<last>\d+) evaluations ending at (?P<step>\d+) steps \(10 episodes each, deterministic policy\)",
     lambda found, _: (replace(_TD3, last=int(found["last"]), to_step=int(found["step"])), ())),
    (r"final evaluation \(10 episodes, deterministic policy\) at 1M steps",
     (replace(_TD3, last=1), ())),
    (r"per-seed maximum over all evaluations",
     (replace(_TD3, statistic="mean of seed maxima"), ("seed-maxima",))),
    (r"mean over all 200 trained evaluations \(area under the evaluation curve / 1M steps\)",
     (_TD3, ())),
    # Dopamine
    (r"average episode return per iteration, mean over iterations (?P<first>\d+)\.\.(?P<last>\d+) \(1 iteration = "
     r"250k agent steps = 1M frames\); the Atari README does not say train or eval phase", _dopamine_atari),
    (r"training-regime average return \(sampled actions\), mean over logged iterations \[(?P<iterations>[\d, ]+)\] "
     r"\(1 iteration = 1000 steps\)", _dopamine_sac),
    # MushroomRL
    (_EPOCH_TESTS + r", last epoch", _mushroom),
    (_EPOCH_TESTS + r", mean of the last (?P<last>\d+) epochs", _mushroom),
    (_EPOCH_TESTS + r" after epoch (?P<epoch>\d+) of \d+: short-budget milestone", _mushroom),
    # Stable-Baselines3
    (r"mean over seeds of the last evaluation \(eval-episodes (?P<episodes>\d+), eval-freq (?P<every>\d+)\)",
     lambda found, _: (Protocol("evaluation", last=1, eval_every=int(found["every"]),
                                eval_episodes=int(found["episodes"])), ())),
    (r"mean episode reward of the one saved agent over (?P<episodes>\d+) evaluation episodes \(\d+ evaluation steps\); "
     r"deterministic policy except Atari; raw \(unnormalised\) reward", _zoo),
    # PPO
    (r"mean final score: average episode reward over the last (?P<last>\d+) episodes of training, averaged over three "
     r"trials", lambda found, _: (Protocol("training", last=int(found["last"])), ())),
    (r"average normalised score over 21 runs .*",
     _other("mean over seven tasks of the last 100 training episodes, scaled so that random is 0 and the best is 1",
            returns="training")),
    (r"number of games won; scoring metric: average reward over all of training",
     _other("number of games won by the mean return over all of training", returns="training")),
    (r"number of games won; scoring metric: average reward over the last 100 episodes",
     _other("number of games won by the mean return over the last 100 training episodes", returns="training")),
    (r"average episodic return of the last episodes, three random seeds \(blog run of openai/baselines\)",
     _other("mean training return of the last episodes; how many is not stated", returns="training")),
    (r"best reported performance as collected by the blog \(definitions differ per library\)",
     _other("the best return that the library reports, by its own definition", "best-reported")),
    (r"mean final reward; at least 80 agents per cell \(hyper-parameters by grid search\)",
     _other("mean final return of at least 80 agents; which episodes is not stated", returns="training")),
    # OpenAI
    (r"table value of the bench viewer: average return .*",
     _other("mean training return, probably over the whole run; the page does not say", "whole-run",
            returns="training")),
    (r"30 no-op evaluation as in the paper",
     _other("evaluation from up to 30 no-op starts; of which agent is not stated")),
    (r"final policy, 30 no-op evaluation, mean over 3 runs",
     (Protocol("evaluation", last=1, note="from up to 30 no-op starts"), ())),
    (r"mean episode reward over the ENTIRE training run, averaged over runs", (Protocol("training"), ())),
    # Gymnasium
    (r"reward threshold before the task is considered solved \(registry value, not a measured result\)",
     _other("the return from which the task counts as solved", "not-a-result")),
    (r"expected return of the optimal policy under the time limit, as commented in the registry",
     _other("the expected return of the optimal policy", "not-a-result")),
    # Sutton and Barto
    (r"asymptotic excess of the left-action rate over the optimal 5%, in percentage points \(about\)",
     _other("by how many percentage points left is taken more often than the optimal 5 %, in the limit",
            "approximate")),
    (r"average episode length after about 8000 time steps, eps-greedy behaviour",
     _other("mean episode length of the exploring policy after about 8,000 steps", "approximate", returns="training")),
    (r"best probability of selecting right", _other("the best probability of going right", "not-a-result")),
    (r"episodes to reach \(eps-\)optimal performance, averaged over 30 repetitions \(about\)",
     _other("episodes until performance is optimal but for exploration", "approximate", returns="training")),
    (r"expected reward per step of the best arm", _other("the expected reward of the best arm", "not-a-result")),
    (r"fraction of tasks where the optimal action is found", _other("the share of tasks whose best arm is found",
                                                                   "approximate", returns="training")),
    (r"learned average reward per step", _other("the average reward that was learned", "approximate",
                                                returns="training")),
    (r"length of the first episode in steps \(about\)", _other("the length of the first episode", "approximate",
                                                              returns="training")),
    (r"minimum episode length", _other("the shortest possible episode", "not-a-result")),
    (r"optimal state values, row major \(mean = value of the top-left state\)",
     _other("the optimal value of the top-left state", "not-a-result")),
    (r"state values, row major \(mean = value of the top-left state\)",
     _other("the value of the top-left state", "not-a-result")),
    (r"reward per step late in the run, averaged over 2000 bandit problems",
     _other("mean reward a step late in the run", "approximate", returns="training")),
    (r"true value of the state under the target policy \(stick on 20 or 21\)",
     _other("the value of one state under the target policy", "not-a-result")),
    (r"true values of A\.\.E \(mean = value of C\)", _other("the value of state C", "not-a-result")),
    (r"upper bound on the fraction of optimal actions", _other("the most that the share of optimal actions can be",
                                                             "not-a-result")),
    (r"value of the start state \(upper bound\)", _other("an upper bound of the start state's value", "not-a-result")),
    (r"value of the start state at the best probability of right",
     _other("the start state's value under the best policy", "not-a-result")),
]  # fmt: skip


# The other fields

_SPREADS = (
    (r"population std over evaluation episodes of ONE .*", "over episodes"),
    (r"std over the \d+ evaluation episodes", "over episodes"),
    (r"population std over (seeds|the \d+ (seeds|trials)|\d+ runs)\b.*", "population sd"),
    (r"standard error over (runs|seeds)\b.*", "standard error"),
    (r"95% bootstrap confidence interval \(low, high\)", "interval 95"),
    (r"std as given \(definition not stated.*|as given \(not defined.*|as in the paper \(not stated.*", "unknown"),
)


_NOTES = (
    (r"ERROR IN THE BLOG TABLE", "shifted-cells"),
    (r"approximate \(~\)", "approximate"),
    (r"steps and seed count not stated", "steps-unstated"),
    (r"seeds=\d+ is from benchmark/\S+, which lists other games", "seeds-elsewhere"),
    (r"steps per env in benchmark/", "steps-vary"),
    (r"^1 seed", "one-seed"),
    (r"^second-hand", "second-hand"),
    (r"does NOT reproduce Table 1", "curves-differ"),
)


def _cautions(table: Table, kind: str) -> list[str]:
    """What other fields of a row warn of."""
    note, spread_kind = str(table.get("note", "")), str(table.get("spread_kind", ""))
    found = [name for pattern, name in _NOTES if re.search(pattern, note)]
    if "sticky actions" in str(table.get("env_version_note", "")) and "no sticky" not in table["env_version_note"]:
        found.append("sticky-actions")
    if "printed -v2 suffix" in str(table.get("env_version_note", "")) and str(table.get("env_id")).endswith("-v2"):
        found.append("version-suffix")
    if kind == "standard error":
        found.append("standard-error" if "header" in spread_kind else "standard-error-docs")
    if kind == "unknown":
        large = re.search(r"larger|smaller|pooled", spread_kind)
        found.append("spread-undefined" if large else "spread-unstated")
    if table.get("where") == "Table 6" and table.get("algorithm") == "PPO":
        found.append("ppo-paper-atari")
    return found


def _env(env: str, note: str) -> tuple[str, str]:
    """The id, and a short note of what it was."""
    note = re.sub(r"; cfg/env: .*", "", note)
    note = "" if note in (f"gym id {env}", "see footnotes ($)(*)(^) of the table for the MuJoCo version") else note
    bare = re.sub(r" \(gym, version not printed; v3/v4 era\)", "", env)
    if bare != env:
        note = f"version not printed, of the time of -v3 and -v4; {note}"
    return bare, note[:250]


def _budget(steps: int | None, table: Table) -> int | None:
    """The env steps of a run; where a row gives the step of a maximum, those of the whole curve."""
    return 1_000_000 if str(table.get("metric")).startswith("max over the 201 evaluation times") else steps


def _where(where: str, table: Table) -> str:
    at = re.search(r"at step (\d+)$", str(table.get("note", "")))
    where = re.sub(r"; .*(prints|equals) .*", "", where)
    return f"{where[:160]}; maximum at env step {int(at[1]):,}" if at else where[:160]


def _read_from(text: str) -> str:
    """`repository@commit path`, or how it was read."""
    found = re.match(r"github\.com/(\S+/\S+) (.+?) @ ([0-9a-f]{40})\b", text)
    if found:
        return f"{found[1]}@{found[3]} {found[2]}"
    if text.startswith("read from the text"):
        return "the text, second-hand" if "second-hand" in text else "the text"
    return text[:160]


def _hyperparameters(text: str) -> str:
    """JSON as plain words; null is left out."""
    head, brace, rest = text.partition("{")
    if brace:
        try:
            values = json.loads(brace + rest)
        except ValueError:
            pass
        else:
            plain = [f"{name} {_plain(value)}" for name, value in values.items() if value is not None]
            text = head.replace(" today:", " (the file when it was read; the agent may be older):") + ", ".join(plain)
    return text if len(text) <= 500 else text[:497] + "…"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")
