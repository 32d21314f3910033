"""How a paper turns runs into one number: the protocol, as data. `rlrepro.papers.scoring` follows it.

Two numbers with one name are often two things: the last hundred training episodes, the last evaluation, the maximum
over time of the seeds' mean curve. A `Protocol` says which, and `refuse` says why a number by one protocol is no answer
to a claim by another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rlrepro.errors import Problem, nearest

RETURNS = ("training", "evaluation")
QUANTITIES = ("return", "length", "steps")
POLICIES = ("deterministic", "stochastic", "not stated")
STATISTICS = {
    "mean": "the mean of what counts, then over seeds",
    "max of seed mean": "the highest point of the mean curve over seeds (TD3, Table 1)",
    "mean of seed maxima": "the highest point of each seed's curve, then the mean over seeds",
    "one agent": "many episodes of one trained agent; nothing is said of other seeds",
    "other": "something that cannot be computed from returns; `note` says what",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What counts (which returns, which of them) and what is made of it.

    What counts are points: training episodes, or evaluations (each the mean of its episodes). Those after
    `after_step` and up to `to_step` are looked at (env steps; none given: the whole run), and of these the `last`.
    With `iteration` k the points of training are iterations, each the mean of its episodes: whole ones, until they
    have k env steps or more, as Dopamine's runner counts (Castro et al., 2018). The n-th is at step n k for
    `after_step` and `to_step`, however many env steps were taken by then.
    Of "steps", the number is how many env steps it takes until the mean of `last` points first reaches `threshold`.
    """

    returns: str  #: "training": episodes as they came; "evaluation": extra episodes of a fixed policy
    statistic: str = "mean"
    last: int | None = None  #: how many points count, the latest; None: all that the window holds
    after_step: int | None = None
    to_step: int | None = None
    policy: str = "not stated"  #: of the evaluations; training returns are always those of the exploring policy
    eval_every: int | None = None  #: env steps between evaluations
    eval_episodes: int | None = None  #: episodes of one evaluation
    discount: float = 1.0  #: of the return; 1: undiscounted
    iteration: int | None = None  #: the least env steps of an iteration of training; None: episodes count alone
    of: str = "return"  #: of an episode: its return, or its length in env steps; "steps": those to the threshold
    threshold: float | None = None  #: of "steps": what the mean of the `last` points is to reach
    note: str = ""

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Protocol:
        """From a card or the book of published results. `Problem` where it names no protocol."""
        fields = {field.name: field for field in dataclasses.fields(Protocol)}
        for name in table:
            if name not in fields:
                raise Problem(f"a protocol has no {name!r}{nearest(name, fields)}")
        if "returns" not in table:
            raise Problem(f"a protocol needs `returns`: {' or '.join(RETURNS)}")
        choices = {"returns": RETURNS, "policy": POLICIES, "statistic": tuple(STATISTICS), "of": QUANTITIES}
        for name, value in table.items():
            if name in choices:
                if value not in choices[name]:
                    raise Problem(
                        f"{name} {value!r} is none of {', '.join(choices[name])}{nearest(value, choices[name])}"
                    )
            elif name == "discount":
                if type(value) not in (int, float) or not 0 < value <= 1:
                    raise Problem(f"discount {value!r} is not above 0 and at most 1")
            elif name == "threshold":
                if type(value) not in (int, float) or not math.isfinite(value):
                    raise Problem(f"threshold {value!r} is not a number")
            elif name == "note":
                if not isinstance(value, str):
                    raise Problem(f"note {value!r} is not a text")
            else:
                least = 0 if name == "after_step" else 1
                if type(value) is not int or value < least:
                    raise Problem(f"{name} {value!r} is not a whole number of at least {least}")
        protocol = Protocol(**table)
        protocol._check()
        return protocol

    def _check(self) -> None:
        if self.returns == "training" and self.statistic not in ("mean", "other"):
            raise Problem(f"{self.statistic!r} is a statistic of evaluations, not of training episodes")
        if self.returns == "training" and (self.eval_every or self.eval_episodes):
            raise Problem("a protocol of training returns has no evaluations: leave eval_every and eval_episodes out")
        if self.returns == "training" and self.policy == "deterministic":
            raise Problem("training returns are those of the exploring policy: leave policy out")
        self._check_iteration()
        chosen = [name for name in ("last", "after_step", "to_step", "eval_every") if getattr(self, name) is not None]
        if self.statistic == "one agent" and chosen:
            raise Problem(f"{chosen[0]} says nothing of 'one agent', which is the final evaluation: leave it out")
        if self.of == "length" and (self.returns != "training" or self.discount != 1):
            raise Problem("of 'length' is for training episodes, and knows no discount")
        self._check_steps()
        if self.statistic == "other" and not self.note:
            raise Problem("the statistic 'other' needs a `note` that says what the number is")
        if None not in (self.after_step, self.to_step) and self.after_step >= self.to_step:  # type: ignore[operator]
            raise Problem(f"after_step {self.after_step} is not before to_step {self.to_step}")

    def _check_iteration(self) -> None:
        if self.iteration is None:
            return
        if self.returns != "training" or self.of != "return" or self.statistic != "mean":
            raise Problem("an iteration is the mean of training returns: leave evaluations, of and statistic out")
        for name in ("after_step", "to_step"):
            if (step := getattr(self, name) or 0) % self.iteration:
                raise Problem(f"{name} {step} is no multiple of an iteration's {self.iteration} env steps")

    def _check_steps(self) -> None:
        if self.of != "steps":
            if self.threshold is not None:
                raise Problem("a threshold is for of 'steps', the env steps until it is reached")
            return
        lacking = [name for name in ("threshold", "last") if getattr(self, name) is None]
        if lacking:
            raise Problem(f"of 'steps' needs `{lacking[0]}`: the mean of `last` points is to reach `threshold`")
        if self.statistic != "mean":
            raise Problem(f"of 'steps' is a number of each seed, whose mean counts: not {self.statistic!r}")
        if self.after_step is not None:
            raise Problem("of 'steps' counts from the start of a run: leave after_step out")

    def to_table(self) -> dict[str, Any]:
        """The inverse of `from_table`: what differs from the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name == "returns" or getattr(self, field.name) != field.default
        }

    def scaled(self, scale: float) -> Protocol:
        """That of runs of a fraction of the steps."""
        if scale == 1:
            return self
        steps = {
            name: max(1, round(value * scale))
            for name in ("after_step", "to_step", "eval_every")
            if (value := getattr(self, name)) is not None
        }
        if self.iteration is not None:  # as many iterations, of fewer steps
            fewer = max(1, round(self.iteration * scale))
            steps = {name: getattr(self, name) // self.iteration * fewer for name in steps} | {"iteration": fewer}
        return dataclasses.replace(self, **steps)

    def is_one_sided(self, spread_kind: str | None) -> bool:
        """Whether a number with such a spread is of one published agent, which ours reach or do not."""
        return self.statistic == "one agent" or spread_kind == "over episodes"

    @property
    def can_score(self) -> str | None:
        """Why runs cannot be scored by this protocol, or None where they can."""
        if self.statistic == "other":
            return f"its protocol cannot be computed from returns ({self.note})"
        if self.discount != 1:
            return f"its returns are discounted by {self.discount:g} a step, and runs record undiscounted ones"
        return None

    def describe(self) -> str:
        """The protocol in words, for a table or a sentence."""
        if self.statistic == "other":
            return self.note
        points = "episodes" if self.returns == "training" else "evaluations"
        if self.iteration is not None:
            points = "iterations"
        window = ""
        if self.after_step is not None and self.to_step is not None:
            window = f" between env steps {self.after_step:,} and {self.to_step:,}"
        elif self.to_step is not None:
            window = f" up to env step {self.to_step:,}"
        elif self.after_step is not None:
            window = f" after env step {self.after_step:,}"
        if self.last is None:
            chosen = f"all {points}"
        else:
            chosen = f"the last {self.last:,} {points}" if self.last > 1 else f"the last {points[:-1]}"
        policy = {"deterministic": "deterministic ", "stochastic": "stochastic ", "not stated": ""}[self.policy]
        detail = ", ".join(
            text
            for text in (
                f"every {self.eval_every:,} env steps" if self.eval_every else "",
                f"{self.eval_episodes:,} episodes each" if self.eval_episodes else "",
                f"discounted by {self.discount:g}" if self.discount != 1 else "",
                f"an iteration: whole episodes until {self.iteration:,} env steps" if self.iteration else "",
            )
            if text
        )
        kind = f"{policy}{self.returns} {'episode length in steps' if self.of == 'length' else 'return'}"
        text = {
            "mean": f"{kind}, mean of {chosen}{window}",
            "max of seed mean": f"{kind}, maximum over time of the seeds' mean, {chosen}{window}",
            "mean of seed maxima": f"{kind}, mean of each seed's maximum, {chosen}{window}",
            "one agent": f"{kind} of one trained agent",
        }[self.statistic]
        if self.of == "steps":
            text = f"env steps until the {kind}, mean of {chosen}, first reached {self.threshold:g}{window}"
        return f"{text} ({detail})" if detail else text


def refuse(claimed: Protocol, scored: Protocol) -> str | None:
    """Why a number scored by one protocol is no answer to a claim by another; None where it is one."""
    for field in dataclasses.fields(Protocol):
        if field.name == "note":
            continue
        ours, theirs = getattr(scored, field.name), getattr(claimed, field.name)
        if field.name == "policy" and "not stated" in (ours, theirs):
            continue
        if ours != theirs:
            return (
                f"scored as {scored.describe()!r}, but the claim is {claimed.describe()!r} "
                f"({field.name}: {ours} against {theirs})"
            )
    return None
