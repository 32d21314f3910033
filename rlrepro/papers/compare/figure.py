"""The curves of a comparison as one vector figure: a panel for each environment, a band for each group."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlrepro.papers import stats
from rlrepro.papers.compare.comparison import Comparison, Panel
from rlrepro.papers.importers import Group

# Okabe and Ito's colours, told apart by people of every kind of colour vision; without yellow, too light for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
POINTS = 200
WINDOW = 100  # episodes that a point of a training curve is the mean of, or as many as there are so far
_COLUMNS = 3


def curves(group: Group, returns: str) -> tuple[np.ndarray, np.ndarray]:
    """Env steps `[T]` and the curves of all seeds `[S, T]`; NaN before a seed's first point and after its last.

    Evaluations stand at their own env steps where all seeds share them. Otherwise each curve is read off at 200
    steps: its latest point, which for training episodes is the mean of the last hundred.
    """
    found = []
    for history in group.histories:
        points = history.points(returns)
        points = points[np.isfinite(points).all(1)]
        if returns == "training" and not group.running and len(points):
            points = np.column_stack([points[:, 0], _recent_mean(points[:, 1])])
        found.append(points)
    filled = [points[:, 0] for points in found if len(points)]
    if not filled:
        return np.empty(0), np.empty((len(found), 0))
    if returns == "evaluation" and all(np.array_equal(steps, filled[0]) for steps in filled):
        steps = filled[0]
    else:
        steps = np.linspace(min(one[0] for one in filled), max(one[-1] for one in filled), POINTS)
    return steps, np.array([_read_off(points, steps) for points in found])


def _recent_mean(values: np.ndarray) -> np.ndarray:
    """`[n]`: the mean of each value and up to 99 before it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - WINDOW, 0)
    return np.asarray((total[end] - total[start]) / (end - start))


def _read_off(points: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The latest point at each step, `[T]`."""
    if not len(points):
        return np.full(len(steps), np.nan)
    index = np.searchsorted(points[:, 0], steps, side="right") - 1
    # a training curve ends with its last episode, a little before the end of the run
    slack = (steps[-1] - steps[0]) / 50
    return np.where((index >= 0) & (steps <= points[-1, 0] + slack), points[np.maximum(index, 0), 1], np.nan)


def draw(comparison: Comparison) -> bytes:
    """The figure as SVG: mean over seeds with its 95 % t interval. The same comparison gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    count = max(1, len(comparison.panels))
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        figure = Figure(figsize=(4.8 * columns, 3.4 * rows), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, panel in zip(axes, comparison.panels, strict=False):
            _panel(ax, panel, comparison.threshold)
        for ax in axes[len(comparison.panels) :]:
            ax.set_axis_off()
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "rlrepro"})
    return out.getvalue()


_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "rlrepro",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "text.parse_math": False,
}


def _panel(ax: Any, panel: Panel, threshold: float | None) -> None:
    ax.set_title(panel.title)
    if panel.protocol is None or not panel.sides:
        ax.text(0.5, 0.5, "not compared", transform=ax.transAxes, ha="center")
        return
    returns = panel.protocol.returns
    handles: list[Any] = []
    names: list[str] = []
    for index, side in enumerate(panel.sides):
        colour, style = COLOURS[index % len(COLOURS)], STYLES[index // len(COLOURS) % len(STYLES)]
        steps, lines = curves(side.group, returns)
        if not len(steps):
            continue
        mean, low, high = stats.mean_band(lines)
        handles += ax.plot(steps, mean, style, color=colour, label=str(index))
        ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        names.append(f"{side.label} ({len(side.group.histories)})")
    for value, name, dashes in _levels(panel, threshold):
        handles.append(ax.axhline(value, color="0.35", linewidth=1, linestyle=dashes))
        names.append(name)
    what = f"training return (mean of {WINDOW} episodes)" if returns == "training" else "evaluation return"
    ax.set_xlabel("env steps")
    ax.set_ylabel(what)
    ax.xaxis.set_major_formatter(_thousands)
    legend = ax.legend(handles, [str(number) for number in range(len(handles))], fontsize=8)
    for text, name in zip(legend.get_texts(), names, strict=True):  # as they are, whatever they begin with
        text.set_text(name)


def _levels(panel: Panel, threshold: float | None) -> Sequence[tuple[float, str, str]]:
    """What is drawn across: the threshold, and published numbers that can be compared."""
    levels = [] if threshold is None else [(threshold, f"threshold {threshold:g}", ":")]
    shown = {one.number.row.id: one.number for one in panel.beside if one.score is not None}
    return [*levels, *((one.reported.mean, f"published: {name}", "--") for name, one in shown.items())]


def _thousands(value: float, _: int) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
