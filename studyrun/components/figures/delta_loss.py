"""What a branch gained or lost against the arm it left, group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class DeltaLoss(Figure):
    """Difference in group loss between each branch and its parent, at equal effective time.

    Δℓ_k(τ) = ℓ_k(branch, τ) − ℓ_k(parent, τ), by linear interpolation in effective time τ = Σ η from the fork on.
    Above zero the parent is ahead: staying with it helped that group. One panel for each branch; t** is marked.
    Draws the channel by_group(step, group) of a `loss` probe, or the training loss where a study has no groups.

    Source: Kwag et al. 2026, arXiv 2606.04212, Section 3 and Figure 4.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records losses by group."""
    branches: tuple[str, ...] | None = None
    """Which branches to draw; null draws every branch that started."""
    scale: Literal["linear", "symlog"] = "linear"
    """The y axis; symlog shows small late differences beside large early ones."""
    smooth: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Lines are running means over this share of the time shown, with what was recorded pale behind; 0: as recorded."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("loss", "by_group", label=self.probe)
        branches = [arm for arm in ensemble.recording(probe, "by_group") if self._wanted(ensemble, arm)]
        if not branches:
            raise NothingToDrawError("no branch started, so there is nothing to compare with its parent")
        panels = canvas.axes(len(branches), height=3.5)
        for panel, arm in zip(panels, branches, strict=True):
            self._draw(ensemble, canvas, panel, probe, arm)
        marks = canvas.mark_forks(panels, ensemble)
        pairs = " and ".join(f"ℓ({arm}) − ℓ({ensemble.parents[arm]})" for arm in branches)
        text = f"Difference in each group's mean loss at equal effective time, {pairs}, from the fork on."
        text += " Above zero the parent arm is ahead, below zero the branch."
        if self.smooth:
            text += f" Lines are running means over {self.smooth:.0%} of the time, pale: as recorded."
        return f"{text} {marks}".strip()

    def _wanted(self, ensemble: Ensemble, arm: str) -> bool:
        return bool(ensemble.parents[arm]) and (self.branches is None or arm in self.branches)

    def _draw(self, ensemble: Ensemble, canvas: Canvas, panel: Axes, probe: str, arm: str) -> None:
        parent = ensemble.parents[arm]
        assert parent is not None
        for group in ensemble.channel(arm, probe, "by_group").labels["group"]:
            series = ensemble.difference(arm, parent, probe, "by_group", select={"group": group})
            canvas.line(panel, series, label=str(group), color=canvas.color(str(group)), smooth=self.smooth)
        panel.axhline(0, color="#1a1a1a", linewidth=1.0, zorder=1.8)
        if self.scale == "symlog":
            highest = max(abs(value) for value in panel.dataLim.intervaly)
            panel.set_yscale("symlog", linthresh=highest / 100 or 1.0)
        panel.set_ylabel(f"Δℓ = ℓ({arm}) − ℓ({parent})\n> 0: {self._name(ensemble, parent, arm)} ahead")
        for height, text, side in ((1.0, f"▲ {parent} ahead", "top"), (0.0, f"▼ {arm} ahead", "bottom")):
            panel.text(1.01, height, text, transform=panel.transAxes, va=side, fontsize=8, color="#555555")

    def _name(self, ensemble: Ensemble, parent: str, arm: str) -> str:
        """The parent's name, with what it stays at where the branch left at the parent's own threshold."""
        first = next(run for run in ensemble.runs if arm in run.arms and run.arms[arm].started)
        return f"{parent} (edge of stability)" if edge.forked_at_edge(first[arm], first[parent]) else parent
