"""Where in the network the sharpest direction lies, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TENSORS = 60  # rows


class CurvatureByLayer(Figure):
    """Share of curvature in each parameter tensor as a map over time, one panel for each arm.

    A row for each tensor, first layer on top; darker is more. Tensors that never reach `least` are left out, except the
    last layer's weights. Draws the channel share(step, tensor) of a `curvature_by_layer` probe, its median over runs.

    Source: Rosenfeld and Risteski 2023, arXiv 2311.04163, Appendix D, Figures 32 to 35.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records shares by tensor."""
    along: Literal["time", "step"] = "time"
    """The x axis: effective time Σ η, in which arms of different learning rates compare, or steps."""
    least: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Tensors whose share never exceeds this in any arm are left out."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("curvature_by_layer", "share", label=self.probe)
        arms = ensemble.recording(probe, "share")
        tensors = [str(name) for name in ensemble.channel(arms[0], probe, "share").labels["tensor"]]
        maps = {arm: self._shares(ensemble, canvas, probe, arm, tensors) for arm in arms}
        whole = np.concatenate([shares for _, shares in maps.values()], axis=1)
        if not np.isfinite(whole).any():
            raise NothingToDrawError(f"the probe {probe!r} recorded no share that is a number")
        counting = self._kept(tensors, whole)
        kept = list(canvas.some(counting, MOST_TENSORS, "tensors that exceed the least share"))
        panels = canvas.axes(len(arms), height=0.7 + 0.17 * len(kept))
        for panel, (arm, (x, shares)) in zip(panels, maps.items(), strict=True):
            self._map(panel, arm, x, shares[kept], [tensors[place] for place in kept])
        panels[-1].set_xlabel("effective time Σ η" if self.along == "time" else "training step")
        left = len(tensors) - len(counting)
        hidden = f" {left} tensors that never exceed {self.least:g} are left out." if left else ""
        what = ensemble.channel(arms[0], probe, "share").long_name
        return f"{what[0].upper()}{what[1:]}, white 0 to dark 1.{hidden}"

    def _shares(
        self, ensemble: Ensemble, canvas: Canvas, probe: str, arm: str, tensors: list[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the arm was measured, and shares (tensors, places); both go to the CSV."""
        curves = [ensemble.series(arm, probe, "share", along=self.along, select={"tensor": name}) for name in tensors]
        shares = np.stack([curve.median for curve in curves])
        canvas.table(arm, {self.along: curves[0].x, **dict(zip(tensors, shares, strict=True))})
        return curves[0].x, shares

    def _kept(self, tensors: list[str], shares: np.ndarray) -> list[int]:
        """The rows to show: those that count at some time, and the last layer's weights."""
        weights = [place for place, name in enumerate(tensors) if name.endswith("weight")]
        last = weights[-1] if weights else len(tensors) - 1
        return [place for place, row in enumerate(shares) if place == last or np.nanmax(row, initial=-1.0) > self.least]

    def _map(self, panel: Axes, arm: str, x: np.ndarray, shares: np.ndarray, names: list[str]) -> None:
        panel.pcolormesh(_edges(x), np.arange(len(names) + 1), shares, cmap="Greys", vmin=0, vmax=1, rasterized=True)
        panel.set_yticks(np.arange(len(names)) + 0.5, [name.replace("$", r"\$") for name in names], fontsize=6)
        panel.set_title(arm.replace("$", r"\$"))
        panel.invert_yaxis()
        panel.grid(False)


def _edges(x: np.ndarray) -> np.ndarray:
    """The borders of cells around the places x, half-way to the neighbours."""
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
