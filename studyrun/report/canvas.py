"""What figures draw on: axes in the house style, lines with bands, marks, a shared legend, and a record for the CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar
from warnings import catch_warnings, simplefilter

import numpy as np

from studyrun.errors import NothingToDrawError
from studyrun.report.arms import fork_marks
from studyrun.report.channel_plot import draw_channel
from studyrun.report.crowds import thin_out
from studyrun.report.fitting import fit_texts
from studyrun.report.grid import WIDTH, Block, add_block, arrange, columns_of, holds_no_number, lacks, trim
from studyrun.report.lines import SMOOTHED, Line, add_legend, plot, plot_pale
from studyrun.report.marks import Marks
from studyrun.report.selection import some
from studyrun.report.style import GREY, Palette, literal
from studyrun.report.ticks import plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

    from studyrun.component import Along
    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.series import Series

Name = TypeVar("Name")

TALLEST, MOST_COLUMNS = 300.0, 8  # inches, and axes beside one another
MOST_LAYOUTS, SMALLEST_LACK = 6, 0.05  # inches


@dataclass
class ReportCanvas:
    """The canvas of one figure. Implements `studyrun.plugin.Canvas`."""

    palette: Palette
    lines: list[Line] = field(default_factory=list)
    tables: dict[str, Mapping[str, Sequence[Any] | np.ndarray]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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
        """Return rows × columns axes, row by row; a second call puts its axes below those of the first.

        Raises `NothingToDrawError` where the figure would be taller than anybody scrolls, or its columns too narrow.
        """
        tall = sum(block.rows * block.height for block in self._blocks) + rows * height
        if tall > TALLEST or columns > MOST_COLUMNS:
            size = f"{tall:.0f} inches tall" if tall > TALLEST else f"{columns} columns wide"
            raise NothingToDrawError(f"it would be {size}, with {rows * columns} axes: have it draw less")
        self._blocks.append(add_block(self._figure, rows, columns, height, share_x))
        arrange(self._figure, self._blocks)
        return self._blocks[-1].panels

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
            self.lines.append(Line(axes, label, arm or "", plot_pale(axes, series, color), series))
        marker = self.palette.marker(label) if self._named(label, color) else ""
        place = sum(line.axes is axes for line in self.lines)
        drawn = plot(axes, mean, place, color=color, linestyle=style, marker=marker, label=literal(label))
        name = label if mean is series else f"{label}{SMOOTHED}"
        self.lines.append(Line(axes, name, arm or "", drawn[0], mean, drawn[1]))
        axes.set_xlabel(axes.get_xlabel() or literal(series.x_label))
        axes.set_ylabel(axes.get_ylabel() or literal(series.y_label))

    def _named(self, label: str, color: str) -> bool:
        """Whether the line is drawn in the colour that stands for its own label, which then has a marker too."""
        return self.palette.knows(label) and self.palette.color(label) == color and not self.palette.is_arm(label)

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
            for column in columns_of(panels):
                self._marks.moment(column, at, literal(label), color, span)
        elif span is not None and span[0] == span[1]:
            self._marks.margin(panels[0], at, literal(label), color)
        else:
            self._marks.level(panels[0], at, literal(label), color, span)

    def say(self, text: str) -> None:
        """Add a sentence to the caption, once, on what the picture does not show or does not show as it is."""
        if text and text not in self.notes:
            self.notes.append(text)

    def some(self, names: Sequence[Name], most: int, what: str) -> Sequence[Name]:
        """Return the names, or `most` of very many, evenly spread, and have the caption say so; `what` they are."""
        chosen = some(names, most)
        if len(chosen) < len(names):
            self.say(f"Shown are {len(chosen)} of {len(names)} {what}, evenly spread in their order.")
        return chosen

    def mark_forks(self, axes: Axes | Sequence[Axes], ensemble: Ensemble, *, along: Along = "time") -> str:
        """Mark where each branch forks (t*) and first reaches its own threshold (t**); return that in words."""
        marks = fork_marks(ensemble, along)
        for mark in marks:
            self.mark(axes, mark.at, mark.symbol, color=self.color(mark.arm), span=mark.spread)
        return " ".join(mark.words for mark in marks)

    def share_y(self, axes: Sequence[Axes], scale: str = "auto") -> None:
        """Give axes one y scale, so that heights compare: log, linear, or log where all that is drawn is positive.

        What has no place on a logarithmic axis is counted in the caption; where nothing has, the axis is linear.
        """
        known = [panel.dataLim for panel in axes if isfinite(panel.dataLim.ymin)]
        positive, some_positive = (all(box.ymin > 0 for box in known), any(isfinite(box.minposy) for box in known))
        log = some_positive and (scale == "log" or (scale == "auto" and positive))
        for panel in axes:
            if panel is not axes[0]:
                panel.sharey(axes[0])
            panel.set_yscale("log" if log else "linear")
        if log and not positive:
            self._say_hidden(axes)
        if axes:
            axes[0].autoscale(axis="y")

    def _say_hidden(self, axes: Sequence[Axes]) -> None:
        """Count what the lines lose to a logarithmic axis."""
        lines = [line.series.median for line in self.lines if line.axes in axes and not line.hidden]
        hidden, whole = sum(int((one <= 0).sum()) for one in lines), sum(map(len, lines))
        if hidden:
            self.say(f"Zero or negative, and so not on the logarithmic axis: {hidden} of {whole} values.")

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
        """Lay the figure out: drop empty axes, add the legend, put labels where they touch nothing, then hold still.

        Raises `NothingToDrawError` where there is no number in any of it.
        """
        for block in self._blocks:
            trim(block)
        self._say_empty()
        crowded = [line for panel in self._figure.axes for line in self._thinned(panel)]
        for block in self._blocks:
            for panel in (panel for panel in block.panels if panel.figure is not None):
                fit_texts(panel, WIDTH / block.columns, block.height)
        for panel in self._figure.axes:
            plain_ticks(panel)
        self.say(add_legend(self._figure, [line for line in self.lines if line not in crowded], self.palette))
        self._lay_out()
        if self._marks.place(self._figure, self._agg.get_renderer()):
            self._lay_out()
        self._figure.set_layout_engine("none")

    def _thinned(self, panel: Axes) -> Sequence[Line]:
        lines, words = thin_out(panel, self.lines, self.palette)
        self.say(words)
        return lines

    def _say_empty(self) -> None:
        """Write into axes whose lines hold no number that they hold none."""
        panels = self._figure.axes
        empty = [panel for panel in panels if holds_no_number(panel)]
        if len(empty) == len(panels):
            raise NothingToDrawError("nothing but NaN or infinity was recorded of what it shows")
        for panel in empty:
            panel.text(
                0.5, 0.5, "no number was recorded", transform=panel.transAxes, ha="center", va="center", color=GREY
            )

    def _lay_out(self) -> None:
        """Place everything, and make the figure taller for as long as legend and labels eat into the axes."""
        engine = self._figure.get_layout_engine()
        assert engine is not None, "a canvas is finished once"
        for _ in range(MOST_LAYOUTS):
            with catch_warnings(record=True) as found:
                simplefilter("always")
                engine.execute(self._figure)
            collapsed = any("collapsed" in str(warning.message) for warning in found)
            width, height = self._figure.get_size_inches()
            lacking = 2.0 if collapsed else lacks(self._blocks, height)
            if lacking < SMALLEST_LACK:
                return
            self._figure.set_size_inches(width, height + lacking)
        if collapsed:
            raise NothingToDrawError("labels and legend leave no room for its axes")
