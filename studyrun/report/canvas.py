"""What figures draw on: axes in the house style, lines with bands, marks, a shared legend, and a record for the CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, lcm
from typing import TYPE_CHECKING, Any

import numpy as np

from studyrun.report.arms import fork_marks
from studyrun.report.channel_plot import draw_channel
from studyrun.report.fitting import legend_columns, trim, wrapped
from studyrun.report.marks import Marks
from studyrun.report.style import GREY, Palette, literal
from studyrun.report.ticks import plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure
    from matplotlib.lines import Line2D

    from studyrun.component import Along
    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.series import Series

WIDTH = 7.4  # inches: a page's text width, and 1,110 pixels at the figures' resolution
MARKERS_PER_LINE = 7


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was drawn: where, whose, and its numbers."""

    axes: Axes
    label: str
    arm: str
    artist: Line2D
    series: Series


@dataclass(frozen=True, slots=True)
class Block:
    """Axes that were asked for together."""

    rows: int
    columns: int
    height: float
    panels: tuple[Axes, ...]
    share_x: bool


@dataclass
class ReportCanvas:
    """The canvas of one figure. Implements `studyrun.plugin.Canvas`."""

    palette: Palette
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, Mapping[str, Sequence[Any] | np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        self._agg: Any = FigureCanvasAgg(self._figure)
        self._blocks: list[Block] = []
        self._marks = Marks()

    @property
    def figure(self) -> MatplotlibFigure:
        """The figure behind the axes."""
        return self._figure

    # --- axes -------------------------------------------------------------------------------------------------------

    def axes(self, rows: int = 1, columns: int = 1, *, share_x: bool = True, height: float = 2.6) -> Sequence[Axes]:
        """Return rows × columns axes, row by row; a second call puts its axes below those of the first."""
        first = None
        panels = []
        for place in range(rows * columns):
            panel = self._figure.add_subplot(rows, columns, place + 1, sharex=first if share_x else None)
            first = first or panel
            panels.append(panel)
        self._blocks.append(Block(rows, columns, height, tuple(panels), share_x))
        self._arrange()
        return panels

    def _arrange(self) -> None:
        """Give every block its rows in one grid over the whole figure."""
        from matplotlib.gridspec import GridSpec

        heights = [block.height for block in self._blocks for _ in range(block.rows)]
        columns = lcm(*(block.columns for block in self._blocks))
        grid = GridSpec(len(heights), columns, figure=self._figure, height_ratios=heights)
        self._figure.set_size_inches(WIDTH, sum(heights) + 0.2)
        top = 0
        for block in self._blocks:
            span = columns // block.columns
            for place, panel in enumerate(block.panels):
                row, column = top + place // block.columns, place % block.columns
                panel.set_subplotspec(grid[row, column * span : (column + 1) * span])
            top += block.rows

    # --- drawing ----------------------------------------------------------------------------------------------------

    def color(self, name: str) -> str:
        """The colour that stands for an arm, a group or any other name in this whole report."""
        return self.palette.color(name)

    def line_style(self, arm: str) -> str:
        """The line style of an arm: solid for the trunk."""
        return self.palette.line_style(arm)

    def line(
        self,
        axes: Axes,
        series: Series,
        *,
        label: str,
        color: str,
        style: str = "-",
        arm: str | None = None,
        smooth: float = 0.0,
    ) -> None:
        """Draw a series: its median as a line, its quartiles over seeds as a band; its numbers go to the CSV.

        With `arm`, the line belongs to that arm and `label` names something else, a group say: the line takes the
        arm's style, and the legend explains names by colour and arms by style. With `smooth`, the line is a running
        mean over that share of the x range, and what was recorded stands pale behind it; both go to the CSV.
        """
        style = self.line_style(arm) if arm is not None else style
        mean = series.running_mean(smooth * float(series.x[-1] - series.x[0])) if smooth and len(series.x) else series
        if mean is not series:
            (pale,) = axes.plot(
                series.x, finite(series.median), color=color, linewidth=0.5, alpha=0.3, label="_recorded"
            )
            self.lines.append(Line(axes, label, arm or "", pale, series))
        artist = self._plot(axes, mean, label, color, style)
        self.lines.append(Line(axes, label if mean is series else f"{label} (running mean)", arm or "", artist, mean))
        axes.set_xlabel(axes.get_xlabel() or literal(series.x_label))
        axes.set_ylabel(axes.get_ylabel() or literal(series.y_label))

    def _plot(self, axes: Axes, series: Series, label: str, color: str, style: str) -> Line2D:
        named = self.palette.knows(label) and self.palette.color(label) == color
        place = len([line for line in self.lines if line.axes is axes])
        (artist,) = axes.plot(
            series.x,
            finite(series.median),
            color=color,
            linestyle=style,
            label=literal(label),
            marker=(self.palette.marker(label) if named else "") or ("o" if len(series.x) == 1 else ""),
            markevery=_sparse(len(series.x), place),
            markeredgewidth=0,
        )
        if len(series.values) > 1:
            axes.fill_between(series.x, finite(series.low), finite(series.high), color=color, alpha=0.18, linewidth=0)
        return artist

    def mark(
        self,
        axes: Axes | Sequence[Axes],
        at: float,
        label: str,
        *,
        color: str = GREY,
        level: bool = False,
        span: tuple[float, float] | None = None,
    ) -> None:
        """Draw a labelled straight line: at the moment x = `at`, or with `level` at the height y = `at`.

        A moment goes through all the axes given and is named above each column of them; its `span` is where it lies
        over seeds. A level is named in the right margin; its `span` is the part of the x axis for which it stands, and
        one with an empty span (a, a) is named without a line. Labels are kept clear of one another.
        """
        panels = [axes] if not isinstance(axes, Sequence) else axes
        if not isfinite(at):
            return
        if not level:
            for column in _columns_of(panels):
                self._marks.moment(column, at, literal(label), color, span)
        elif span is not None and span[0] == span[1]:
            self._marks.margin(panels[0], at, literal(label), color)
        else:
            self._marks.level(panels[0], at, literal(label), color, span)

    def mark_forks(self, axes: Axes | Sequence[Axes], ensemble: Ensemble, *, along: Along = "time") -> str:
        """Mark where each branch forks (t*) and first reaches its own threshold (t**); return that in words."""
        marks = fork_marks(ensemble, along)
        for mark in marks:
            self.mark(axes, mark.at, mark.symbol, color=self.color(mark.arm), span=mark.spread)
        return " ".join(mark.words for mark in marks)

    def share_y(self, axes: Sequence[Axes], scale: str = "auto") -> None:
        """Give axes one y scale, so that their heights compare: log, linear, or log where every line is positive."""
        drawn = [line.series.values for line in self.lines if line.axes in axes]
        positive = all((values[np.isfinite(values)] > 0).all() for values in drawn)
        for panel in axes:
            if panel is not axes[0]:
                panel.sharey(axes[0])
            panel.set_yscale("log" if scale == "log" or (scale == "auto" and positive) else "linear")
        if axes:
            axes[0].autoscale(axis="y")

    def table(self, name: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """Add a table of equal columns to the figure's CSV files, for what is drawn by other means than `line`."""
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError(f"table {name!r}: columns differ in length")
        if name in self.tables:
            raise ValueError(f"table {name!r} is already there")
        self.tables[name] = dict(columns)

    def draw_channel(self, ensemble: Ensemble, probe: str, channel: str, *, along: Along = "time") -> None:
        """Draw any channel by its dimensions: a line per arm, per arm and label, or quantiles of many."""
        draw_channel(self, ensemble, probe, channel, along)

    # --- finishing --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Lay the figure out: drop empty axes, add the legend, put labels where they touch nothing, then hold still."""
        for block in self._blocks:
            trim(block.panels, block.columns, block.share_x)
            for panel in block.panels:
                panel.set_ylabel(wrapped(panel.get_ylabel(), block.height))
        for panel in self._figure.axes:
            plain_ticks(panel)
        self._legend()
        self._lay_out()
        if self._marks.place(self._figure, self._agg.get_renderer()):
            self._lay_out()
        self._figure.set_layout_engine("none")

    def _lay_out(self) -> None:
        engine = self._figure.get_layout_engine()
        assert engine is not None, "a canvas is finished once"
        engine.execute(self._figure)

    def _legend(self) -> None:
        """One legend for all axes, above them: names by colour, then arms by style where lines belong to both."""
        from matplotlib.lines import Line2D

        handles: dict[str, Any] = {}
        for panel in self._figure.axes:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        arms: dict[str, Line2D] = {}
        for line in (line for line in self.lines if line.arm and not str(line.artist.get_label()).startswith("_")):
            arms[literal(line.arm)] = Line2D([], [], color=GREY)
            arms[literal(line.arm)].set_linestyle(self.palette.line_style(line.arm))
            handles[str(line.artist.get_label())] = plain = Line2D([], [])
            plain.update_from(line.artist)
            plain.set_linestyle("-")
        entries = handles | (arms if len(arms) > 1 else {})
        if len(entries) > 1:
            self._figure.legend(
                list(entries.values()), list(entries), loc="outside upper left", ncols=legend_columns(list(entries))
            )


def finite(values: np.ndarray) -> np.ndarray:
    """Values with gaps where an arm that diverged has infinities, which no axis can show."""
    return np.where(np.isfinite(values), values, np.nan)


def _columns_of(panels: Sequence[Axes]) -> Iterator[Sequence[Axes]]:
    """The axes that stand above one another, from left to right."""
    places = {panel: spec.colspan.start for panel in panels if (spec := panel.get_subplotspec()) is not None}
    for column in sorted(set(places.values())):
        yield [panel for panel in places if places[panel] == column]


def _sparse(points: int, place: int) -> tuple[int, int]:
    """First point and spacing of a line's markers, so that neighbouring lines carry theirs at different places."""
    spacing = max(1, points // MARKERS_PER_LINE)
    return (place * spacing // 4) % spacing, spacing
