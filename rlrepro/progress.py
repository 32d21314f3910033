"""What a person sees of a run: a live display on a terminal, plain lines elsewhere, and the closing summary."""

from __future__ import annotations

import contextlib
import math
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from rlrepro.errors import Stop, count_of, diverged_text
from rlrepro.plugins import own_code
from rlrepro.record import RunFolder
from rlrepro.settings import Settings
from rlrepro.tensorboard import Curves

_RETURN = "rollout/ep_rew_mean"
_REDRAW = 0.25  # seconds
_Point = tuple[float, Mapping[str, float]]
"""When it was recorded, and its values by tag."""


class Board:
    """Takes the events of all groups of seeds, writes TensorBoard and shows how the run goes."""

    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        console: Console,
        groups: Sequence[tuple[int, ...]],
        brief: bool = False,
    ) -> None:
        """`groups` of seeds train together; `brief` shows how that goes and no more."""
        self.folder, self.settings, self.console, self._brief = folder, settings, console, brief
        self.results: dict[int, dict[str, Any]] = {}
        self.stops: dict[int, Stop] = {}  #: of the groups that ended early
        self.began = False
        self._curves: Curves | None = None
        self._pending: dict[int, dict[int, _Point]] = {}  # env step -> seed -> its point
        self._steps: dict[int, int] = {}  # group -> env step
        self._over: set[int] = set()  # groups that send no more points
        self._phases: dict[int, str] = {}
        self._returns: dict[int, float] = {}
        self._lock = threading.RLock()  # events come from the thread that trains and from its heartbeat
        self._begun = time.monotonic()
        self._first_steps: dict[int, int] = {}
        self._groups = groups
        self._one_by_one = len(self._groups) > settings.processes
        self._told: set[str] = set()
        self._blind = False  # the curves could not be written
        self._decile = 0
        self._shown = False
        self._drawn = -math.inf
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:  # which Live would leave blank
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(None),
                TextColumn("{task.percentage:>3.0f} %"),
                console=console,
                expand=True,
            )
            self._task = self._bar.add_task(_title(settings), total=settings.total_timesteps)
            # a thread of its own, which Live would have, could wait for a print that waits for it
            self._live = Live(get_renderable=self._render, console=console, auto_refresh=False, transient=True)
        self._view(self._open_curves)

    def __enter__(self) -> Board:
        if self._live:
            with self._lock:
                self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            with self._lock:
                self._live.stop()
        self._draw_before(math.inf)
        self._view(lambda curves: curves.close())

    # Events

    def handle(self, group: int, kind: str, values: Mapping[str, Any]) -> None:
        """One event of one group of seeds."""
        with self._lock:
            getattr(self, f"_on_{kind}")(group, **values)
            if self._live and time.monotonic() - self._drawn >= _REDRAW:
                self._drawn = time.monotonic()
                self._live.refresh()

    def replay(self, env_step: int, seed: int, wall_time: float, values: Mapping[str, float]) -> None:
        """A point of the curves that an earlier process had recorded."""
        self._point(env_step, wall_time, {seed: dict(values)})  # drawn with the first event: more of them may come

    def begin(self, group: int, env_step: int) -> None:
        """A group begins, or goes on, at this env step."""
        self._steps[group] = self._first_steps[group] = env_step

    def _on_ready(self, group: int) -> None:
        if not self.began:  # what it took to get ready says nothing of the pace
            self.began, self._begun = True, time.monotonic()
        self.folder.forget_aside(self._groups[group])
        if not self._shown and not self._brief:
            self._shown = True
            show_settings(self.settings, self.folder, self.console)

    def _on_progress(self, group: int, env_step: int, phase: str) -> None:
        self._phases[group] = phase
        self._reached(group, env_step)
        tenth = self._facts()[0] * 10 // self.settings.total_timesteps
        if self._live is None and tenth > self._decile:
            self._decile = tenth
            self.console.print(self._line(), highlight=False, soft_wrap=True)

    def _on_point(self, group: int, env_step: int, wall_time: float, values: Mapping[int, dict[str, float]]) -> None:
        self._point(env_step, wall_time, values)
        self._reached(group, env_step)

    def _point(self, env_step: int, wall_time: float, values: Mapping[int, dict[str, float]]) -> None:
        waiting = self._pending.setdefault(env_step, {})
        for seed, point in values.items():
            _, before = waiting.get(seed, (0.0, {}))
            waiting[seed] = wall_time, {**before, **point}
            if _RETURN in point:
                self._returns[seed] = point[_RETURN]
        if self._one_by_one:
            self._add(env_step, {seed: (wall_time, point) for seed, point in values.items()}, ("seeds",))

    def _reached(self, group: int, env_step: int) -> None:
        """A group tells of this env step: all that it has to say of the steps before was said."""
        self._steps[group] = max(env_step, self._steps.get(group, 0))
        self._draw_complete()

    def _draw_complete(self) -> None:
        """Draw the steps of which every group has said all: a step may have several points of a seed."""
        steps = (math.inf if one in self._over else self._steps.get(one, 0) for one in range(len(self._groups)))
        self._draw_before(min(steps))

    def _draw_before(self, limit: float) -> None:
        of = ("mean",) if self._one_by_one else ("seeds", "mean")
        for env_step in sorted(step for step in self._pending if step < limit):
            self._add(env_step, self._pending.pop(env_step), of)

    def _add(self, env_step: int, points: Mapping[int, _Point], of: tuple[str, ...]) -> None:
        tags = {tag: None for _, point in points.values() for tag in point}
        latest = max((wall_time for wall_time, _ in points.values()), default=0.0)
        row = [points.get(seed, (latest, {})) for seed in self.settings.seeds]
        values = {tag: [point.get(tag, float("nan")) for _, point in row] for tag in tags}

        def draw(curves: Curves) -> None:
            curves.add(env_step, values, [wall_time for wall_time, _ in row], of)
            curves.flush()

        self._view(draw)

    def _open_curves(self, none: None) -> None:
        settings = self.settings
        hparams = {"env": settings.env, "agent": settings.agent, **_scalar(settings.hyperparameters)}
        self._curves = Curves(self.folder.tensorboard, settings.seeds, _shown(settings), hparams)

    def _view(self, draw: Callable[[Any], None]) -> None:
        """Do something to the curves, unless they could not be written before: the CSV files have all of it."""
        if self._blind:
            return
        try:
            draw(self._curves)
        except OSError as error:
            self._blind = True
            with contextlib.suppress(OSError):  # what is left in its buffers
                if self._curves is not None:
                    self._curves.close()
            what = f"TensorBoard's files could not be written ({error.strerror or error})"
            self._on_warn(0, f"{what}: the run goes on without them, and its CSV files have every point")

    def _on_warn(self, group: int, text: str) -> None:
        if text not in self._told:  # other seeds may say the same
            self._told.add(text)
            self.console.print(Text.assemble(("note: ", "yellow"), text), soft_wrap=True)

    def _on_stopping(self, group: int, text: str) -> None:
        """Asked by a person, who may ask again."""
        self._on_warn(group, f"{text}; asked again, it stops at once with what was saved before")

    def _on_done(self, group: int, results: Mapping[int, dict[str, Any]]) -> None:
        self.results.update(results)
        self._over.add(group)
        self._draw_complete()
        if len(self.results) == len(self.settings.seeds):
            order = [self.results[seed] for seed in self.settings.seeds]
            self._view(lambda curves: curves.finish([one["eval_return"] for one in order]))

    def _on_ended(self, group: int, stop: Stop | None) -> None:
        self._over.add(group)
        self._draw_complete()
        if stop is not None:
            self.stops[group] = stop

    # What is shown

    def _facts(self) -> tuple[int, float, float]:
        """The env steps of a seed in the mean, env steps per second over all seeds, and the seconds left.

        In the mean, since some groups may not have begun. A library's own loop may end beyond what was asked.
        """
        total, num_seeds = self.settings.total_timesteps, len(self.settings.seeds)
        sizes = {group: len(seeds) for group, seeds in enumerate(self._groups)}
        steps = {group: min(step, total) for group, step in self._steps.items()}
        first = sum(min(step, total) * sizes[group] for group, step in self._first_steps.items())
        done = sum(step * sizes[group] for group, step in steps.items())
        rate = (done - first) / max(time.monotonic() - self._begun, 1e-9)
        left = (total * num_seeds - done) / rate if rate > 0 else float("inf")
        return done // num_seeds, rate, left

    def _line(self) -> str:
        step, rate, left = self._facts()
        total = self.settings.total_timesteps
        return (
            f"env step {step:>11,} of {total:,}  {step / total:4.0%}  {_pace(rate):>9} steps/s  "
            f"return {self._spread()}  {_duration(left)} left"
        )

    def _spread(self) -> str:
        if not self._returns:
            return "none yet"
        values = list(self._returns.values())
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        return f"{np.mean(values):.1f}{spread} over {count_of(len(values), 'seed')}"

    def _render(self) -> Group:
        """The display, on two lines of 80 columns."""
        step, rate, left = self._facts()
        self._bar.update(self._task, completed=step)
        facts = f"{step:,} / {self.settings.total_timesteps:,}  {_pace(rate)} steps/s  {_duration(left)} left  "
        line = Text(facts, no_wrap=True, overflow="ellipsis")
        line.append(self._phase(), "cyan").append(f"  return {self._spread()}")
        return Group(self._bar, line)

    def _phase(self) -> str:
        """What the groups are at: what is no training, where one is at that."""
        phases = [phase for group, phase in self._phases.items() if phase and group not in self._over]
        if not phases:
            return "done" if self._over else "starting"
        return max(phases, key=lambda phase: phase != "training")

    def summary(self) -> None:
        """A table per seed, the evaluation, and where everything lies."""
        settings, console = self.settings, self.console
        reached = max(self._steps.values(), default=0)
        steps = f"up to {reached:,}" if reached > settings.end_step else f"{settings.total_timesteps:,}"
        table = Table(title=Text(f"{_title(settings)}, {steps} env steps a seed"))
        for column in ("seed", "episodes", "training return", "evaluation return", "episode length"):
            table.add_column(column, justify="right", overflow="fold")
        order = [(seed, self.results[seed]) for seed in settings.seeds if seed in self.results]
        for seed, one in order:
            training = "none" if one["training_return"] is None else _short(one["training_return"])
            table.add_row(
                str(seed),
                f"{one['episodes']:,}",
                training,
                f"{_short(one['eval_return'])} ± {_short(one['eval_std'])}",
                f"{one['eval_length']:.1f}",
            )
        if len(order) > 1:
            trained = [one["training_return"] for _, one in order if one["training_return"] is not None]
            table.add_section()
            table.add_row(
                "mean ± sd",
                "",
                _mean_sd(trained),
                _mean_sd([one["eval_return"] for _, one in order]),
                f"{np.mean([one['eval_length'] for _, one in order]):.1f}",
            )
        print_table(table, console)
        if diverged := [seed for seed, one in order if one.get("diverged")]:
            console.print(Text.assemble(("note: ", "yellow"), diverged_text(diverged)), soft_wrap=True)
        kind = "deterministic" if settings.eval_deterministic else "stochastic"
        episodes = count_of(settings.final_eval_episodes, "fresh episode")
        console.print(
            f"training return: the last episodes, 100 at most; evaluation: {episodes}, "
            f"{kind}; ± within a seed over its episodes, below over seeds",
            highlight=False,
            soft_wrap=True,
            style="dim",
        )
        console.print(f"run folder   {self.folder}", highlight=False, markup=False, soft_wrap=True)
        way = f"tensorboard --logdir {self.folder.tensorboard}"
        console.print(f"curves       {way}", highlight=False, markup=False, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """Show a table whose words and numbers are whole, also where the console is narrower than that takes."""
    least = 1
    for column in table.columns:
        words = [word for cell in (column.header, *column.cells) for word in str(cell).split()]
        column.min_width = min(max(map(len, words)), 20)  # but of huge numbers
        least += column.min_width + 3  # the space around it, and its border
    if console.width < least:
        table.width = least
    console.print(table, crop=False)


def _title(settings: Settings) -> str:
    return f"{own_code.shown(settings.agent)} on {own_code.shown(settings.env)}"


def show_settings(settings: Settings, folder: RunFolder, console: Console) -> None:
    """The settings that a run ended up with; on a terminal long ones go on under their beginning."""
    rows = {**_shown(settings), "run folder": folder}
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
    if console.is_terminal:
        indent = " " * (width + 4)
        lines = [textwrap.fill(line, max(console.width, 2 * width), subsequent_indent=indent) for line in lines]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _shown(settings: Settings) -> dict[str, Any]:
    seeds = settings.seeds
    rows: dict[str, Any] = {
        "env": settings.env,
        "agent": settings.agent,
        "seeds": ", ".join(map(str, seeds)),
        "total timesteps": f"{settings.total_timesteps:,} a seed",
        "num envs": f"{settings.num_envs} a seed",
        "device": settings.device,
        "processes": min(settings.processes, len(settings.groups())),
    }
    if settings.frames_per_step != 1:
        frames = settings.total_timesteps * settings.frames_per_step
        rows["frames"] = f"{settings.frames_per_step} an env step, {frames:,} a seed"
    if settings.env_kwargs:
        rows["env kwargs"] = ", ".join(f"{k}={v!r}" for k, v in settings.env_kwargs.items())
    if settings.wrappers:
        rows["wrappers"] = ", ".join(settings.wrappers)
    normalised = [what for what in ("obs", "reward") if getattr(settings, f"normalise_{what}")]
    if normalised:
        rows["normalise"] = f"{', '.join(normalised)}, as {settings.normalise_as}"
    if not settings.eval_deterministic:
        rows["evaluations"] = "stochastic"
    rows["every"] = (
        f"{settings.log_every:,} log, {settings.eval_every:,} evaluate, "
        f"{settings.checkpoint_every:,} checkpoint (env steps)"
    )
    for name, value in settings.hyperparameters.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else value
        rows[name] = f"{text!s:<10} {settings.sources.get(name, '')}"
    return rows


def _scalar(values: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in values.items()
    }


def _mean_sd(values: list[float]) -> str:
    if not values:
        return "none"
    return _short(float(np.mean(values))) + (f" ± {_short(float(np.std(values, ddof=1)))}" if len(values) > 1 else "")


def _short(value: float) -> str:
    """With two decimals, or the first six digits of what is huge."""
    return f"{value:.2f}" if abs(value) < 1e9 else f"{value:.6g}"


def _pace(rate: float) -> str:
    """Env steps per second; before any was made there is none."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}" if rate > 0 else "?"


def _duration(seconds: float) -> str:
    if not seconds < 1e8:
        return "?"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
