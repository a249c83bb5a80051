"""How each group's coupling to the sharpness compares with its curvature influence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Figure, NothingToDrawError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = ("o", "^", "s", "D", "v", "P")  # by arm
GREY = "#6E6E6E"


class Pairs(NamedTuple):
    """What one arm gives of one group over all runs, each (pairs,): C_k, Q_k², ‖∇ℓ_k‖² and the step."""

    arm: str
    group: str
    influence: np.ndarray
    coupling: np.ndarray
    square: np.ndarray
    step: np.ndarray


class SingleMode(Figure):
    """Scatter of Q_k² against C_k over groups and steps, with the median ratio as a line.

    In the approximation of a single mode Q_k² = α C_k with one α = (v_1 · ∇S)²; here α is the median of Q_k² / C_k over
    all pairs. Colour is the group, the marker the arm. Both scale as ‖∇ℓ_k‖², so that they are correlated even where
    directions are not: the caption names the correlation of the logarithms as it is, and once both are divided by it.
    Pairs in which either is zero or NaN have no place on the axes and are counted. Draws the channels coupling_squared,
    influence and gradient_norm (step, group) of a `sharpness_coupling` probe.

    Source: Kwag et al. 2026, arXiv 2606.04212, Figure 22.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records couplings."""
    arms: tuple[str, ...] | None = None
    """Which arms to draw; null draws all."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate(
            "sharpness_coupling", "coupling_squared", "influence", "gradient_norm", label=self.probe
        )
        arms = [arm for arm in ensemble.recording(probe, "influence") if self.arms is None or arm in self.arms]
        recorded = [pairs for arm in arms for pairs in _recorded(ensemble, probe, arm)]
        drawn = [_positive(pairs) for pairs in recorded]
        ratios = np.concatenate([pairs.coupling / pairs.influence for pairs in drawn]) if drawn else np.zeros(0)
        left_out = sum(len(pairs.step) for pairs in recorded) - len(ratios)
        if not len(ratios):
            raise NothingToDrawError(
                f"the probe {probe!r} recorded no pair of positive Q_k² and C_k ({left_out} others)"
            )
        (panel,) = canvas.axes(height=3.8)
        self._scatter(canvas, panel, drawn)
        channels = [ensemble.channel(arms[0], probe, name) for name in ("influence", "coupling_squared")]
        panel.set_xlabel(channels[0].label)
        panel.set_ylabel(channels[1].label)
        alpha = float(np.median(ratios))
        ends = np.array([min(pairs.influence.min() for pairs in drawn if len(pairs.step)), panel.dataLim.x1])
        panel.plot(ends, alpha * ends, linestyle="--", color="#1a1a1a", linewidth=1.2, label="median ratio α")
        canvas.table("pairs", _table(drawn))
        return _caption(drawn, alpha, left_out, len(ensemble.runs))

    def _scatter(self, canvas: Canvas, panel: Axes, drawn: Sequence[Pairs]) -> None:
        """Points in the order of the groups; grey markers explain the arms where there are several."""
        panel.set_xscale("log")
        panel.set_yscale("log")
        arms = list(dict.fromkeys(pairs.arm for pairs in drawn))
        for pairs in drawn:
            marker = MARKERS[arms.index(pairs.arm) % len(MARKERS)]
            style: dict[str, Any] = {"marker": marker, "color": canvas.color(pairs.group), "label": pairs.group}
            panel.scatter(pairs.influence, pairs.coupling, s=16, alpha=0.65, linewidths=0, **style)
        for arm in arms if len(arms) > 1 else ():
            marker = MARKERS[arms.index(arm) % len(MARKERS)]
            panel.scatter([], [], s=20, marker=marker, facecolors="none", edgecolors=GREY, label=arm)


def _recorded(ensemble: Ensemble, probe: str, arm: str) -> list[Pairs]:
    """The pairs of each group, of all runs together."""
    found = [run[probe] for run in ensemble.started(arm) if probe in run and len(run[probe].step)]
    groups = [str(group) for group in found[0]["influence"].labels["group"]]
    step = np.concatenate([one.step for one in found])
    names = ("influence", "coupling_squared", "gradient_norm")
    influence, coupling, norm = (np.concatenate([one[name].values for one in found]) for name in names)
    return [
        Pairs(arm, group, influence[:, place], coupling[:, place], norm[:, place] ** 2, step)
        for place, group in enumerate(groups)
    ]


def _positive(pairs: Pairs) -> Pairs:
    """The pairs that have a place on logarithmic axes."""
    kept = np.isfinite(pairs.influence) & np.isfinite(pairs.coupling) & (pairs.influence > 0) & (pairs.coupling > 0)
    return Pairs(pairs.arm, pairs.group, *(column[kept] for column in pairs[2:]))


def _correlation(drawn: Sequence[Pairs], *, per_square: bool = False) -> float:
    """Pearson's, of the logarithms; NaN where one of them does not vary."""
    scale = [pairs.square if per_square else np.ones_like(pairs.square) for pairs in drawn]
    x = np.log(np.concatenate([pairs.influence / one for pairs, one in zip(drawn, scale, strict=True)]))
    y = np.log(np.concatenate([pairs.coupling / one for pairs, one in zip(drawn, scale, strict=True)]))
    varies = len(x) > 2 and min(np.ptp(x), np.ptp(y)) > 0
    return float(np.corrcoef(x, y)[0, 1]) if varies else float("nan")


def _table(drawn: Sequence[Pairs]) -> dict[str, np.ndarray]:
    columns = {
        name: np.concatenate([np.full(len(pairs.step), getattr(pairs, name), dtype=object) for pairs in drawn])
        for name in ("arm", "group")
    }
    numbers = {"step": "step", "influence": "influence", "coupling_squared": "coupling"}
    return columns | {
        name: np.concatenate([getattr(pairs, field) for pairs in drawn]) for name, field in numbers.items()
    }


def _caption(drawn: Sequence[Pairs], alpha: float, left_out: int, runs: int) -> str:
    count = sum(len(pairs.step) for pairs in drawn)
    text = f"Q_k² against C_k for {count} pairs of group and step"
    text += f" of {runs} runs" if runs > 1 else ""
    text += f"; dashed: the median ratio α = {alpha:.2g}."
    plain, divided = _correlation(drawn), _correlation(drawn, per_square=True)
    if np.isfinite([plain, divided]).all():
        text += f" Correlation of the logarithms {plain:.2f}, and {divided:.2f} once both are divided by ‖∇ℓ_k‖²."
    if left_out:
        text += f" {left_out} further pairs are left out: zero or not defined."
    return text.replace("-", "−")
