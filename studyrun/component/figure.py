"""Pictures of traces, and what they are drawn on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from studyrun.component.options import Along, Component

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

    from studyrun.trace.ensemble import Ensemble
    from studyrun.trace.series import Series

Name = TypeVar("Name")


class Canvas(Protocol):
    """What a figure draws on: axes in the house style, colours that stay the same for one arm or group throughout."""

    def axes(self, rows: int = 1, columns: int = 1, *, share_x: bool = True, height: float = 2.6) -> Sequence[Axes]:
        """Return rows × columns axes, row by row. `height` is one row's, in inches."""

    def color(self, name: str) -> str:
        """Return the colour that stands for an arm, a group or any other name in this whole report."""

    def line_style(self, arm: str) -> str:
        """Return the line style of an arm: solid for the trunk."""

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
        """Draw a series: its median as a line, its spread over seeds as a band; its numbers go to the CSV.

        With `arm`, the line belongs to that arm and `label` names something else, a group say: the line takes the
        arm's style, and the legend explains labels by colour and arms by style. With `smooth`, the line is a running
        mean over that share of the x range, and what was recorded stands pale behind it.
        """

    def share_y(self, axes: Sequence[Axes], scale: str = "auto") -> None:
        """Give axes one y scale, so that their heights compare: log, linear, or auto: log if every line is positive."""

    def mark(
        self,
        axes: Axes | Sequence[Axes],
        at: float,
        label: str,
        *,
        color: str = "#6E6E6E",
        level: bool = False,
        span: tuple[float, float] | None = None,
    ) -> None:
        """Draw a labelled line at the moment x = `at` through all the axes, or with `level` at the height y = `at`.

        `span` is where a moment lies over seeds, or the part of the x axis that a level stands for. Labels stand in
        the margins, kept clear of one another.
        """

    def say(self, text: str) -> None:
        """Add a sentence to the caption on what the picture does not show, or does not show as it is."""

    def some(self, names: Sequence[Name], most: int, what: str) -> Sequence[Name]:
        """Return the names, or `most` of very many, evenly spread, and have the caption say so; `what` they are."""

    def mark_forks(self, axes: Axes | Sequence[Axes], ensemble: Ensemble, *, along: Along = "time") -> str:
        """Mark where arms fork and meet their own thresholds (t*, t**); return that in words, for the caption."""

    def table(self, name: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """Add columns of equal length to the figure's CSV, for what is drawn by other means than `line`."""

    def draw_channel(self, ensemble: Ensemble, probe: str, channel: str, *, along: Along = "time") -> None:
        """Draw any channel by its dimensions: a line per arm, per arm and label, or quantiles of many."""

    @property
    def figure(self) -> MatplotlibFigure:
        """The figure behind the axes."""


class Figure(Component):
    """A picture, drawn from traces alone.

    Of a study with very many arms it is shown some, and the caption says so, unless it needs `every_arm`.
    """

    every_arm: ClassVar[bool] = False

    @abstractmethod
    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        """Draw, and return the caption. Raises `NothingToDrawError` if the channels it needs were not recorded."""


class ComparingFigure(Figure):
    """A picture of all conditions of a sweep at once; of a lone run, of that one."""

    @abstractmethod
    def draw_all(self, ensembles: Sequence[Ensemble], canvas: Canvas) -> str:
        """Draw, and return the caption; each ensemble holds the runs of one condition and has a name for it."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        """Draw a lone condition."""
        return self.draw_all((ensemble,), canvas)
