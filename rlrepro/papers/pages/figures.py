"""Figures of a report: vector, colour-blind safe (Okabe and Ito's colours), the same bytes every time.

matplotlib is imported when the first figure is drawn. Names are never read as mathematics: a `$` is a dollar.
"""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rlrepro.papers import stats
from rlrepro.papers.scoring import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

#: Okabe and Ito (2008)
BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
COLOURS = {
    "reproduced": GREEN,
    "above": BLUE,
    "below": VERMILLION,
    "inconclusive": ORANGE,
    "not comparable": "#7f7f80",
    "not run": "#7f7f80",
}
_INK, _PAPER = "#25282b", "#ffffff"  # of text and axes, and behind them: a page turns them into its own
#: margins either side of zero that the overview shows at most
_REACH = 6.0
_BINS = (100, 50, 25, 10)
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure as files."""

    svg: bytes
    pdf: bytes  #: empty unless asked for

    def inline(self, label: str) -> str:
        """For a page: no prologue, no ids but those referred to, the page's own colours; `label` is read aloud."""
        from markupsafe import Markup, escape

        text = self.svg.decode()
        text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(f"fill: {_PAPER}", "fill: none")
        for colour, name in ((BLUE, "blue"), (VERMILLION, "vermillion")):
            text = text.replace(colour.lower(), f"var(--{name})")
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
        text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        head = f'<svg role="img" aria-label="{escape(label)}"'
        text = re.sub(r'<svg\b(.*?) width="[^"]*"', lambda m: head + m[1], text, count=1, flags=re.DOTALL)
        text = re.sub(r' height="[\d.]+pt"', "", text, count=1)
        return Markup(text)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Returns over training: `x` `[T]` in env steps or percent, `y` `[S, T]`, NaN where a seed has nothing."""

    x: Array
    y: Array
    unit: str = "env steps"
    bins: int = 0  #: 0: not binned


@dataclasses.dataclass(frozen=True)
class Mark:
    """The paper's number, its standard error and half its 95 % interval where known, and the margin; a bound's is 0."""

    reported: float
    error: float | None
    half: float | None
    margin: float
    one_sided: bool = False


def draw(paint: Callable[[Figure], None], size: tuple[float, float], salt: str, pdf: bool = False) -> Drawing:
    """Render what `paint` puts on an empty figure of `size` inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the font lacks
        matplotlib.rcdefaults()
        style: Any = _STYLE | {"svg.hashsalt": salt}
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        vector, printed = io.BytesIO(), io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(vector, format="svg", metadata=nothing)
        if pdf:
            figure.savefig(printed, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return Drawing(_rounded(vector.getvalue()), printed.getvalue())


def _rounded(svg: bytes) -> bytes:
    """Coordinates to a hundredth of a point: half the bytes."""

    def one(path: re.Match[bytes]) -> bytes:
        return re.sub(rb"-?\d+\.\d{3,}", lambda m: b"%g" % round(float(m[0]), 2), path[0])

    return re.sub(rb'\bd="[^"]*"', one, svg)


# --- the curves


def training_curve(histories: Sequence[History], total: int) -> Curve:
    """Mean return of the episodes that ended in each of up to 100 equal bins of `total` env steps."""
    for bins in _BINS:
        y = np.stack([_binned(h.episodes, total, bins) for h in histories])
        done = np.array([h.steps >= total for h in histories])
        if not np.isnan(y[done]).any():
            break
    edges = np.linspace(0, total, bins + 1)
    return Curve((edges[:-1] + edges[1:]) / 2, y, bins=bins)


def _binned(points: Array, total: int, bins: int) -> Array:
    points = points[np.isfinite(points).all(1) & (points[:, 0] <= total)]
    at = np.clip(np.ceil(points[:, 0] * bins / total).astype(int) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        return np.bincount(at, weights=points[:, 1], minlength=bins) / count


def evaluation_curve(histories: Sequence[History]) -> Curve:
    """The evaluations as they are, at each env step where some seed was evaluated."""
    x = np.unique(np.concatenate([h.evaluations[:, 0] for h in histories] or [np.empty(0)]))
    y = np.full((len(histories), len(x)), np.nan)
    for row, history in zip(y, histories, strict=True):
        row[np.searchsorted(x, history.evaluations[:, 0])] = history.evaluations[:, 1]
    return Curve(x, np.where(np.isfinite(y), y, np.nan))


# --- the figures


def learning_curve(
    curve: Curve, mark: Mark | None, window: tuple[float, float] | None, ylabel: str, threshold: float | None = None
) -> Callable[[Figure], None]:
    """Seeds faint, their mean with its 95 % band, the paper's number with its standard error and the margin.

    That number is one of the env steps to `threshold`, where there is one.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if mark is not None and threshold is None:
            _paper(axes.axhspan, axes.axhline, mark)
        elif mark is not None and threshold is not None:
            _paper(axes.axvspan, axes.axvline, mark)
            _threshold(axes, threshold)
        if window is not None and window[0] == window[1]:
            axes.axvline(window[0], color=_INK, alpha=0.5, lw=0.9, ls=(0, (1, 1.5)), label="what counts")
        elif window is not None:
            axes.axvspan(*window, color=_INK, alpha=0.09, lw=0, label="what counts")
        _seeds(axes, curve, BLUE, f"{len(curve.y)} seed{'s' * (len(curve.y) != 1)}", "mean, 95 % interval")
        _steps(axes, curve)
        axes.set_ylabel(ylabel)
        _legend(figure, axes)

    return paint


def _seeds(axes: Axes, curve: Curve, colour: str, each: str, mean: str) -> None:
    known = ~np.isnan(curve.y)
    for index, (row, there) in enumerate(zip(curve.y, known, strict=True)):
        label = each if index == 0 and each else None
        axes.plot(curve.x[there], row[there], color=colour, alpha=0.28, lw=0.7, label=label)
    some = known.any(0)
    if not some.any():
        return
    middle, low, high = stats.mean_band(curve.y[:, some])
    axes.fill_between(curve.x[some], low, high, color=colour, alpha=0.22, lw=0)
    axes.plot(curve.x[some], middle, color=colour, label=mean)


def _paper(span: Callable[..., Any], line: Callable[..., Any], mark: Mark) -> None:
    """The paper's number as lines and spans of one axis."""
    if mark.margin:
        low = mark.reported - mark.margin
        high = mark.reported if mark.one_sided else mark.reported + mark.margin
        text = f"tolerance {mark.margin:g}" if mark.one_sided else f"± margin {mark.margin:g}"
        span(low, high, color=ORANGE, alpha=0.16, lw=0, label=text)
    if mark.error:
        span(mark.reported - mark.error, mark.reported + mark.error, color=VERMILLION, alpha=0.3, lw=0)
    error = f" ± {mark.error:.3g} (standard error)" if mark.error is not None else ""
    line(
        mark.reported,
        color=VERMILLION,
        lw=1.3,
        ls=(0, (5, 2)),
        label=f"paper: {mark.reported:.10g}{error}".replace("-", "−"),
    )


def _threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=_INK, alpha=0.7, lw=0.9, ls=":", label=f"threshold {threshold:g}".replace("-", "−"))


def _steps(axes: Axes, curve: Curve) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if curve.unit == "env steps":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(curve.unit)
    axes.margins(x=0.01)


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """What is measured first, what is shaded last."""
    handles, labels = axes.get_legend_handles_labels()
    both = sorted(zip(handles, labels, strict=True), key=lambda one: one[0] in axes.patches)
    made = figure.legend(*zip(*both, strict=True), loc="outside upper left", ncols=columns)
    for line in made.get_lines():
        line.set_alpha(max(line.get_alpha() or 1.0, 0.6))


def strip(values: Mapping[int, float], interval: stats.Estimate, mark: Mark, xlabel: str) -> Callable[[Figure], None]:
    """Each seed's value, their mean with its interval, and the paper's number with its own."""

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        _paper(axes.axvspan, axes.axvline, mark)
        y = np.array(list(values.values()))
        axes.scatter(y, 2 + _spread_out(y), s=15, color=BLUE, alpha=0.6, lw=0)
        _interval(axes, 1, interval.value, interval.low, interval.high, BLUE, "o")
        low, high = (None if mark.half is None else mark.reported + sign * mark.half for sign in (-1, 1))
        _interval(axes, 0, mark.reported, low, high, VERMILLION, "D")
        axes.set_yticks([2, 1, 0], ["seeds", "mean, 95 %", "paper" if mark.half is None else "paper, 95 %"])
        axes.set_ylim(-0.6, 2.7)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)

    return paint


def _spread_out(values: Array) -> Array:
    """Heights that part the points that would lie upon one another, the same every time."""
    width = float(np.ptp(values)) or 1.0
    heights = np.zeros(len(values))
    placed: list[tuple[float, float]] = []
    for index in np.argsort(values, kind="stable"):
        for height in (0.0, 0.18, -0.18, 0.36, -0.36, 0.54, -0.54):
            if all(abs(values[index] - v) > 0.025 * width or abs(height - h) > 0.1 for v, h in placed):
                break
        heights[index] = height
        placed.append((float(values[index]), height))
    return heights


def _interval(
    axes: Axes, at: float, value: float, low: float | None, high: float | None, colour: str, marker: str
) -> None:
    if low is not None and high is not None:
        axes.plot([low, high], [at, at], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot([value], [at], marker, color=colour, ms=5)


def overview(rows: Sequence[tuple[str, float, float, float, str]]) -> Callable[[Figure], None]:
    """Every claim's difference with its 95 % interval, in margins: label, difference, low, high, verdict."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvspan(-1, 1, color=ORANGE, alpha=0.16, lw=0)
        axes.axvline(0, color=_INK, lw=0.7)
        reach = min(max([1.3, *(abs(end) for row in rows for end in row[1:4])]) * 1.08, _REACH)
        for at, (_, value, low, high, word) in enumerate(reversed(rows)):
            if abs(value) < reach:
                _interval(axes, at, value, low, high, COLOURS[word], "o")
                continue
            side = 1 if value > 0 else -1  # beyond the axis: an arrow, with how far
            axes.plot([side * reach * 0.97], [at], ">" if side > 0 else "<", color=COLOURS[word], ms=5)
            text = f"{value:+.3g}".replace("-", "−")
            axes.text(side * reach * 0.92, at, text, ha="right" if side > 0 else "left", va="center", fontsize=7.5)
        axes.set_yticks(range(len(rows)), [_short(row[0], 26) for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(-reach, reach)
        axes.set_xlabel("(measured − reported) / margin")

    return paint


def order(
    tasks: Sequence[tuple[str, Curve, Curve]], better: str, worse: str, ylabel: str, threshold: float | None = None
) -> Callable[[Figure], None]:
    """Both sides of a claim of order on each task, and the threshold that it is about, where there is one."""

    def paint(figure: Figure) -> None:
        columns = 1 if len(tasks) == 1 else 2
        rows = -(-len(tasks) // columns)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(tasks) :]:
            axes.set_visible(False)
        for axes, (task, ours, theirs) in zip(grid.flat, tasks, strict=False):
            _seeds(axes, ours, BLUE, "", _short(better))
            _seeds(axes, theirs, ORANGE, "", _short(worse))
            if threshold is not None:
                _threshold(axes, threshold)
            _steps(axes, ours)
            axes.set_title(_short(task), fontsize=8)
        for row in grid:
            row[0].set_ylabel(ylabel)
        _legend(figure, grid.flat[0], 2)

    return paint


def profiles(
    agents: Sequence[tuple[str, Sequence[float], tuple[Array, Array, Array]]],
) -> Callable[[Figure], None]:
    """Performance profiles with their pointwise intervals: agent, thresholds, (value, low, high)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        colours = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
        for index, (agent, thresholds, (value, low, high)) in enumerate(agents):
            colour, style = colours[index % 6], ("-", "--", ":")[index // 6 % 3]
            axes.fill_between(thresholds, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(thresholds, value, color=colour, ls=style, label=_short(agent))
        axes.set_xlabel("normalised score τ (0: random policy, 1: best)")
        axes.set_ylabel("share of runs above τ")
        axes.set_ylim(-0.02, 1.02)
        axes.margins(x=0.01)
        _legend(figure, axes)

    return paint


def _short(text: str, most: int = 32) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"
