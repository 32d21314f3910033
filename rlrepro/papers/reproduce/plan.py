"""What a reproduction takes: runs, env steps, hours on this machine, disk, and how many seeds a claim needs.

Hours and disk come from a trial run: each unit is trained for a few thousand steps with its own settings, seeds and
processes in a temporary folder. Rates are those of the steady state; start-up is measured apart from them.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlrepro.errors import Interrupted, Problem, count_of, without_advice
from rlrepro.papers import stats
from rlrepro.papers.cards.card import Card, Claim, Order
from rlrepro.papers.stats import power
from rlrepro.papers.units.unit import Unit, env_warnings, settings_of
from rlrepro.plugins.environments import find_env
from rlrepro.record import RunFolder
from rlrepro.recorder import KEPT_CHECKPOINTS
from rlrepro.request import Request
from rlrepro.seed_log import read_rows
from rlrepro.settings import Settings, num_cores

_LEAST_STEPS = 2_000
_ROLLOUTS = 4
_TOO_SHORT = 2.0  # seconds: a trial run whose training took less is made again, four times as long
_EPISODES = 10


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a short run with a unit's settings measured.

    Times are those of its slowest process, with as many side by side as the settings allow; where processes must take
    turns, they are multiplied by the number of turns. Bytes are of all seeds.
    """

    steps: int  #: env steps of each seed
    start_up: float  #: seconds until the first step and after the last
    per_step: float  #: seconds for one env step of every seed
    per_checkpoint: float  #: seconds
    per_eval_step: float  #: seconds for one step of an evaluation's episode, of every seed
    episode_length: float  #: of the evaluations' episodes
    point_bytes: float  #: of one point of the curves, all seeds, TensorBoard's copy among them
    step_bytes: float  #: of episodes.csv, an env step of all seeds
    eval_bytes: float  #: of one episode of an evaluation, all seeds
    checkpoint_bytes: float  #: of one checkpoint, all seeds
    checkpoint_growth: float  #: bytes that an env step adds to it, while the replay memory fills
    fixed_bytes: float  #: policies and documents
    trained_length: float | None  #: env steps of a training episode, where some ended


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a unit's runs take, all seeds together."""

    env_steps: int
    seconds: float  #: training, checkpoints and start-up
    eval_seconds: float  #: evaluations, at most: as if each episode went on to the environment's time limit
    bytes: float  #: of the run folders, with checkpoints

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


@dataclasses.dataclass(frozen=True)
class UnitPlan:
    """A unit, and its cost or the reason why it has none."""

    unit: Unit
    cost: Cost | None
    problem: str = ""
    steps: int = 0  #: env steps of each seed
    episode_length: float | None = None  #: of the trial's training episodes, where some ended


# --- the trial run


def run_trial(settings: Settings) -> Trial:
    """Train for a short time with these settings, in silence and in a temporary folder. `Problem` where it fails."""
    steps = trial_steps(settings)
    trial, seconds = _trial(settings, steps)
    if seconds < _TOO_SHORT and steps < settings.total_timesteps:
        trial, _ = _trial(settings, min(4 * steps, settings.total_timesteps))
    return trial


def trial_steps(settings: Settings) -> int:
    """A few thousand env steps, of whole rollouts where the agent has them; never more than the run's own."""
    rollout = settings.num_envs * int(settings.hyperparameters.get("num_steps", 1))
    quarter = rollout * max(1, math.ceil(_LEAST_STEPS / (_ROLLOUTS * rollout)))
    return min(_ROLLOUTS * quarter, settings.total_timesteps)


def trial_settings(settings: Settings, steps: int) -> Settings:
    """The settings of a run of `steps`: four points, an evaluation and a checkpoint in the middle, learning soon."""
    hyperparameters = dict(settings.hyperparameters)
    if "learning_starts" in hyperparameters:
        soon = max(steps // 8, int(hyperparameters.get("batch_size", 1)))
        hyperparameters["learning_starts"] = min(int(hyperparameters["learning_starts"]), soon)
    half = max(settings.num_envs, steps // 2)
    return dataclasses.replace(
        settings,
        total_timesteps=steps,
        log_every=max(settings.num_envs, steps // 4),
        eval_every=half,
        eval_episodes=min(_EPISODES, max(settings.eval_episodes, settings.final_eval_episodes)),
        final_eval_episodes=1,
        checkpoint_every=half,
        capture_video=False,
        hyperparameters=hyperparameters,
    )


def _trial(settings: Settings, steps: int) -> tuple[Trial, float]:
    """The trial run, and the seconds that one of its processes trained."""
    from rlrepro import train

    short = trial_settings(settings, steps)
    with tempfile.TemporaryDirectory(prefix="rlrepro-plan-") as place:
        started = time.perf_counter()
        folder = train.begin(Request(short, Path(place), "trial"), ["plan"], brief=True, quiet=True)
        return read_trial(folder, short, time.perf_counter() - started)


def read_trial(folder: RunFolder, settings: Settings, wall: float) -> tuple[Trial, float]:
    """What the files of a trial run that took `wall` seconds say; and the seconds that one process trained."""
    groups = [_Group.read(folder, seeds[0]) for seeds in settings.groups()]
    slowest = max(groups, key=lambda group: group.per_step)
    turns = math.ceil(len(groups) / settings.processes)
    training = slowest.per_step * settings.total_timesteps
    points = max(1, slowest.points)
    sizes = dict.fromkeys(("episodes", "metrics", "evaluations"), 0)
    first, last, policies, episodes = 0, 0, 0, 0
    lengths: list[int] = []
    for seed in settings.seeds:
        for name in sizes:
            sizes[name] += (folder.seed(seed) / f"{name}.csv").stat().st_size
        saved = [path.stat().st_size for path in sorted(folder.checkpoints(seed).glob("*.safetensors"))]
        first, last = first + saved[0], last + saved[-1]
        policies += folder.policy(seed).stat().st_size
        episodes += sum(1 for _ in read_rows(folder.seed(seed) / "evaluations.csv"))
        lengths += [int(row["episode_length"]) for row in read_rows(folder.seed(seed) / "episodes.csv")]
    documents = sum(path.stat().st_size for path in folder.path.glob("*") if path.is_file())
    curves = sum(path.stat().st_size for path in folder.tensorboard.rglob("*") if path.is_file())
    known = training + slowest.evaluation + 2 * slowest.checkpoint
    trial = Trial(
        steps=settings.total_timesteps,
        start_up=max(0.0, wall - turns * known),
        per_step=turns * slowest.per_step,
        per_checkpoint=turns * slowest.checkpoint,
        per_eval_step=turns * max(group.per_eval_step for group in groups),
        episode_length=float(np.mean([group.episode_length for group in groups])),
        point_bytes=(sizes["metrics"] + curves) / points,
        step_bytes=sizes["episodes"] / settings.total_timesteps,
        eval_bytes=sizes["evaluations"] / max(1, episodes) * len(settings.seeds),
        checkpoint_bytes=last,
        checkpoint_growth=max(0, last - first) / max(1, settings.total_timesteps - settings.checkpoint_every),
        fixed_bytes=policies + documents,
        trained_length=float(np.mean(lengths)) if lengths else None,
    )
    return trial, training


@dataclasses.dataclass(frozen=True)
class _Group:
    """One process of a trial run, by the files of its first seed."""

    per_step: float
    checkpoint: float
    evaluation: float
    per_eval_step: float
    episode_length: float
    points: int

    @staticmethod
    def read(folder: RunFolder, seed: int) -> _Group:
        rates: dict[int, tuple[float, float]] = {}  # env step -> steps a second, when
        evaluated: dict[int, float] = {}
        for row in read_rows(folder.seed(seed) / "metrics.csv"):
            if row["metric"] == "charts/SPS":
                rates[int(row["env_step"])] = float(row["value"]), float(row["wall_time"])
            elif row["metric"] == "eval/mean_reward":
                evaluated[int(row["env_step"])] = float(row["wall_time"])
        lengths: dict[str, list[int]] = {}
        for row in read_rows(folder.seed(seed) / "evaluations.csv"):
            lengths.setdefault(row["env_step"], []).append(int(row["episode_length"]))
        steps = sorted(rates)
        middle = next((step for step in sorted(evaluated) if step in rates), None)
        intervals = [
            (start, end - start, (end - start) / rates[end][0])
            for start, end in zip([0, *steps[:-1]], steps, strict=True)
        ]
        # The first interval warms up, and the checkpoint is written in the one that begins in the middle.
        steady = [(n, seconds) for start, n, seconds in intervals if start > 0 and start != middle]
        used = steady or [(n, seconds) for _, n, seconds in intervals]
        if not used:
            raise Problem(f"the trial run of {folder} has no point of its curves: its run is too short to be measured")
        per_step = sum(seconds for _, seconds in used) / sum(n for n, _ in used)
        checkpoint = next((s - n * per_step for start, n, s in intervals if start == middle), 0.0) if steady else 0.0
        evaluation = evaluated[middle] - rates[middle][1] if middle is not None else 0.0
        played = lengths.get(str(middle), []) or next(iter(lengths.values()), [1])
        return _Group(
            per_step, max(0.0, checkpoint), evaluation, evaluation / sum(played), float(np.mean(played)), len(steps)
        )


# --- arithmetic


def estimate(settings: Settings, trial: Trial, limit: int | None) -> Cost:
    """The cost of a whole run; `limit` is the environment's time limit, the longest that an episode can be."""
    total, seeds = settings.total_timesteps, len(settings.seeds)
    evaluations = (total - 1) // settings.eval_every if settings.eval_every else 0
    episodes = evaluations * settings.eval_episodes + settings.final_eval_episodes
    checkpoints = math.ceil(total / settings.checkpoint_every) if settings.checkpoint_every else 1
    points = total // settings.log_every + evaluations
    capacity = int(settings.hyperparameters.get("buffer_size", 0))
    growth = trial.checkpoint_growth * max(0, min(total, capacity) - trial.steps)
    kept = min(KEPT_CHECKPOINTS, checkpoints) * (trial.checkpoint_bytes + growth)
    return Cost(
        env_steps=total * seeds,
        seconds=trial.start_up + total * trial.per_step + checkpoints * trial.per_checkpoint,
        eval_seconds=episodes * (limit or trial.episode_length) * trial.per_eval_step,
        bytes=kept
        + trial.fixed_bytes
        + points * trial.point_bytes
        + total * trial.step_bytes
        + episodes * trial.eval_bytes,
    )


def plan_unit(card: Card, unit: Unit, seeds: Sequence[int], scale: float, processes: int | None = None) -> UnitPlan:
    """A unit's cost, measured; why there is none is told, since the others can be planned all the same."""
    if unit.is_measured:
        return UnitPlan(unit, None, _MEASURED)
    try:
        settings = settings_of(card, unit, seeds, scale)
        at_a_time = min(processes or settings.processes, len(seeds))
        settings = dataclasses.replace(settings, processes=at_a_time)
        limit = find_env(settings.env, settings.env_kwargs, settings.wrappers).time_limit()
        if limit is None:
            print(
                f"note: {unit.environment} states no time limit: its trial run, and each evaluation, ends only if its "
                "episodes do (kwargs = { max_episode_steps = N } gives it one)",
                flush=True,
            )
        trial = run_trial(settings)
        cost = estimate(settings, trial, limit)
        return UnitPlan(unit, cost, "", settings.total_timesteps, trial.trained_length)
    except Problem as problem:
        if problem.exit_status == Interrupted.exit_status:
            raise
        return UnitPlan(unit, None, without_advice(problem))


def seeds_for(
    card: Card, claim: Claim | Order, family: int, test: Literal["equivalence", "difference"]
) -> tuple[str, str]:
    """How many seeds of ours decide a claim four times in five, and a remark, if ours spread as the paper's do.

    "equivalence": the truth is the paper's number; "difference": it is one margin off. `family` claims share the
    error by Holm's correction, whose hardest step is counted.
    """
    from rlrepro.papers.verdicts.verdict import reported

    if card.is_computed(claim):
        return "–", "computed: there is nothing to repeat"
    if isinstance(claim, Claim) and claim.measurement and (own := card.measurements[claim.measurement].seeds):
        return f"{own:,}", "as many as the card says make its number"
    if isinstance(claim, Claim) and claim.rule:
        return "?", f"held against a printed number: plan with {stats.MIN_SEEDS} and look again"
    if isinstance(claim, Order):
        return "–", "a claim of order: no spread is known before the runs"
    if card.protocols[claim.protocol].is_one_sided(claim.spread_kind):
        least = math.ceil(1 / stats.ALPHA) - 1
        seeds, reaching = _seeds_to_accept()
        why = f"one-sided: {reaching} of {seeds} seeds that reach it, or {least} that miss it"
        return str(seeds if test == "equivalence" else least), why
    theirs = reported(claim)
    if theirs.sample_sd is None:
        if test == "equivalence" and not power.can_be_equal(theirs, claim.margin):
            return "never", power.NEVER_EQUAL
        return "?", f"{theirs.sample_spread().note}: plan with {stats.MIN_SEEDS} and look again"
    difference = 0.0 if test == "equivalence" else claim.margin
    needed = power.seeds_needed(
        theirs.sample_sd, theirs, claim.margin, difference, test, power.POWER, stats.ALPHA / family
    )
    if needed.seeds is not None:
        return f"{needed.seeds:,}", ""
    return "never", f"no number of our seeds has that power: {needed.open_why}"


def _seeds_to_accept() -> tuple[int, int]:
    """The fewest seeds of which enough reach a published agent that is one of ours, and how many are enough.

    Its rank among n of ours is then uniform: k or more of them reach it with a chance of (n + 1 − k) / (n + 1).
    """
    seeds, enough = stats.MIN_SEEDS, 0
    while stats.chance_of_so_many(enough, seeds) > stats.ALPHA:
        enough += 1
    while (seeds + 1 - enough) / (seeds + 1) < power.POWER:
        seeds += 1
        enough += stats.chance_of_so_many(enough, seeds) > stats.ALPHA
    return seeds, enough


# --- what is shown


def show_plan(
    card: Card, claims: Sequence[Claim], orders: Sequence[Order], units: Sequence[Unit], seeds: Sequence[int],
    scale: float, processes: int | None = None,
) -> None:  # fmt: skip
    """Train each unit for a short while and print what the claims take, unit by unit and claim by claim."""
    console = Console(highlight=False)
    trained = sum(not unit.is_measured for unit in units)
    about = [f"{count_of(trained, 'unit')} to train, with {count_of(len(seeds), 'seed')} each"] if trained else []
    if len(units) > trained:
        about.append(f"{count_of(len(units) - trained, 'unit')} that functions measure")
    here = f"on this machine ({num_cores()} cores)"
    console.print(f"[bold]{escape(card.name)}[/]: {', and '.join(about)}, {here}", soft_wrap=True)
    if scale != 1 and trained:
        console.print(f"[yellow]NOT comparable[/]: {scale:g} of the paper's env steps", soft_wrap=True)
    plans = []
    for index, unit in enumerate(units, 1):
        if console.is_terminal:
            console.print(f"  measuring {index} of {len(units)}: {unit.name}", style="dim", soft_wrap=True)
        plans.append(plan_unit(card, unit, seeds, scale, processes))
    console.print(unit_table(plans))
    for warning in env_warnings(card, units):
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    measured = [plan.unit.name for plan in plans if plan.unit.is_measured]
    if measured:
        console.print(f"{', '.join(measured)}: {_MEASURED}", markup=False)
    for plan in plans:
        if plan.cost is None and not plan.unit.is_measured:
            console.print(f"{plan.unit.name}: {plan.problem}", style="red", markup=False)
    table, remarks = claim_table(card, [*claims, *orders], plans)
    console.print(table)
    for remark, ids in remarks.items():
        console.print(f"{', '.join(ids)}: {remark}", markup=False)
    console.print(_EXPLANATION, style="dim")


_MEASURED = "measured by a function: what it takes is not known before it ran"
_EXPLANATION = (
    "Seeds: for power 80 % after Holm's correction over the card's claims, if ours spread as the paper's: to show "
    "it equal where it is, and to find a difference of one margin; a larger difference may show all the same. Time "
    "counts start-up, training and checkpoints by a trial run of a few thousand steps, and evaluations as if every "
    "episode went to the environment's time limit; not counted are a machine that is busier later, and the report. "
    "Disk: the run folders, which may be deleted afterwards. Claims that share runs each name them in full; the total "
    "counts them once."
)


def unit_table(plans: Iterable[UnitPlan]) -> Table:
    """A row for each unit, and the total."""
    table = Table(box=box.SIMPLE, show_footer=True)
    total, complete = Cost(0, 0.0, 0.0, 0.0), True
    rows = []
    for plan in plans:
        if plan.cost is None:
            rows.append((plan.unit.name, *["–"] * 4))
            complete = False
            continue
        total += plan.cost
        rows.append((plan.unit.name, *_cells(plan.cost)))
    table.add_column("runs", "total" if complete else "total of what could be measured", overflow="fold")
    for title, footer in zip(("env steps", "training", "evaluations", "disk"), _cells(total), strict=True):
        table.add_column(title, footer, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def claim_table(
    card: Card, claims: Sequence[Claim | Order], plans: Sequence[UnitPlan]
) -> tuple[Table, dict[str, list[str]]]:
    """A row for each claim; and the remarks, each with the claims that it is about."""
    table = Table(box=box.SIMPLE)
    for title in ("claim", "its runs"):
        table.add_column(title, overflow="fold")
    for title in ("time", "disk", "seeds:\nequal", "a margin\noff"):
        table.add_column(title, justify="right")
    remarks: dict[str, list[str]] = {}
    for claim in claims:
        own = [plan for plan in plans if claim.id in plan.unit.claims]
        costs = [plan.cost for plan in own if plan.cost is not None]
        seconds, size = "–", "–"
        if costs and len(costs) == len(own):
            total = sum(costs, Cost(0, 0.0, 0.0, 0.0))
            seconds, size = duration(total.seconds + total.eval_seconds), size_text(total.bytes)
        counts = []
        for test in ("equivalence", "difference"):
            count, remark = seeds_for(card, claim, max(1, card.num_tested), test)
            counts.append(count)
            if remark:
                about = remarks.setdefault(remark, [])
                about += [] if claim.id in about else [claim.id]
        for plan in own:
            if few := _too_few_episodes(card, claim, plan):
                remarks.setdefault(few, []).append(claim.id)
        table.add_row(claim.id, ", ".join(plan.unit.name for plan in own), seconds, size, *counts)
    return table, remarks


def _too_few_episodes(card: Card, claim: Claim | Order, plan: UnitPlan) -> str:
    """What is to be said where a run may end before it has the episodes that a claim's protocol counts, or ""."""
    if plan.episode_length is None:
        return ""
    protocol = card.protocol_of(claim)
    if protocol.returns != "training" or protocol.last is None or protocol.iteration is not None:
        return ""
    episodes = min(plan.steps, protocol.to_step or plan.steps) / plan.episode_length
    if episodes >= protocol.last:
        return ""
    return (
        f"{protocol.last:,} episodes are to count, and of {plan.episode_length:,.0f} env steps each, as the trial's, "
        f"{plan.unit.name} has {math.floor(episodes):,}"
    )


def _cells(cost: Cost) -> tuple[str, str, str, str]:
    return (
        f"{cost.env_steps:,}",
        duration(cost.seconds),
        f"≤ {duration(cost.eval_seconds)}",
        size_text(cost.bytes),
    )


def duration(seconds: float) -> str:
    """Two digits are enough of an estimate."""
    for unit, length in (("d", 172_800), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            value = seconds / (86_400 if unit == "d" else length)
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def size_text(size: float) -> str:
    """Bytes as a person reads them."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.2g} {unit}" if size < 10 * length else f"{size / length:,.0f} {unit}"
    return f"{size:.0f} B"
