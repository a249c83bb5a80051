"""Alignment, curvature influence and what the edge of stability gave, condition beside condition."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

from studyrun.plugin import Canvas, ComparingFigure, Ensemble, Field, NothingToDrawError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["cos2", "influence", "gradient_norm", "delta_loss"]


class Selectivity(ComparingFigure):
    """For each condition a column: alignment cos²θ_k, influence C_k, and Δℓ_k of a branch against its parent.

    The studies of a pair (coherent against random displacement, squared error against cross-entropy) then stand side by
    side, each row on one scale, so that heights compare across, and each column along one time. Trunk solid, branch
    dashed. Draws cos2, influence and gradient_norm (step, group) of a `group_alignment` probe and by_group(step, group)
    of a `loss` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figures 6, 7 and 11 to 14.
    """

    quantities: Annotated[tuple[Quantity, ...], Field(min_length=1)] = ("cos2", "influence", "delta_loss")
    """Which rows to draw, from top to bottom."""
    arm: str = "exit"
    """The branch."""
    smooth: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Lines are running means over this share of the time shown; 0: as recorded."""
    scale: Literal["log", "linear"] = "log"
    """The y axes of influence and gradient norm."""
    delta_scale: Literal["linear", "symlog"] = "symlog"
    """The y axis of Δℓ; symlog shows small late differences beside large early ones."""

    def draw_all(self, ensembles: Sequence[Ensemble], canvas: Canvas) -> str:
        if not any(ensemble.started(self.arm) for ensemble in ensembles):
            raise NothingToDrawError(f"no run has a branch {self.arm!r} that started")
        columns = len(ensembles)
        panels = canvas.axes(len(self.quantities), columns, share_x=False, height=2.2)
        captions = []
        for column, ensemble in enumerate(ensembles):
            mine = panels[column::columns]
            for panel, quantity in zip(mine, self.quantities, strict=True):
                self._draw(ensemble, canvas, panel, quantity)
                if column:
                    panel.set_ylabel("")
            mine[0].set_title(fill(ensemble.name, max(16, 60 // columns)).replace("$", r"\$"), fontsize=9)
            marks = canvas.mark_forks([panel for panel in mine if panel.has_data()], ensemble)
            captions.append(f"{ensemble.name}: {marks}" if ensemble.name else marks)
        for row, quantity in enumerate(self.quantities):
            self._share_scale(
                canvas, [one for one in panels[row * columns : (row + 1) * columns] if one.has_data()], quantity
            )
        for column in range(columns):
            drawn = [panel for panel in panels[column::columns] if panel.has_data()]
            for panel in drawn[1:]:
                panel.sharex(drawn[0])
            if drawn:
                drawn[0].autoscale(axis="x")
        text = f"A column for each condition. Δℓ is {self.arm} − its parent: above zero the parent is ahead."
        if self.smooth:
            text += f" Lines are running means over {self.smooth:.0%} of the time, pale: as recorded."
        return f"{text} {' '.join(captions)}".strip()

    def _share_scale(self, canvas: Canvas, row: Sequence[Axes], quantity: Quantity) -> None:
        """One y axis for a row: from 0 for a share, as the options say for what spans decades or changes sign."""
        canvas.share_y(row, self.scale if quantity in ("influence", "gradient_norm") else "linear")
        if row and quantity == "cos2":
            row[0].set_ylim(bottom=0)
        if row and quantity == "delta_loss" and self.delta_scale == "symlog":
            row[0].set_yscale("symlog", linthresh=0.01)

    def _draw(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, quantity: Quantity) -> None:
        if quantity == "delta_loss":
            self._draw_delta(ensemble, canvas, panel)
            return
        probe = ensemble.locate("group_alignment", quantity)
        for arm in ensemble.recording(probe, quantity):
            if arm in (self.arm, ensemble.parents.get(self.arm)):
                for group in ensemble.channel(arm, probe, quantity).labels["group"]:
                    series = ensemble.series(arm, probe, quantity, select={"group": group})
                    color, name = canvas.color(str(group)), str(group)
                    canvas.line(panel, series, label=name, color=color, arm=arm, smooth=self.smooth)

    def _draw_delta(self, ensemble: Ensemble, canvas: Canvas, panel: Axes) -> None:
        reference = ensemble.parents.get(self.arm)
        if reference is None or not ensemble.started(self.arm):
            return
        probe = ensemble.locate("loss", "by_group")
        for group in ensemble.channel(self.arm, probe, "by_group").labels["group"]:
            series = ensemble.difference(self.arm, reference, probe, "by_group", select={"group": group})
            canvas.line(panel, series, label=str(group), color=canvas.color(str(group)), smooth=self.smooth)
        panel.axhline(0, color="#1a1a1a", linewidth=0.8)
