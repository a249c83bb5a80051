"""What a branch gains or loses, by how far it leaves its trunk's learning rate."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, Series

Average = Literal["mean", "median"]
Share = Annotated[float, Field(ge=0, le=1)]


class DoseResponse(Figure):
    """Difference in group loss between a trunk and each branch, over time, against the branch's learning rate.

    Δℓ_k as in `delta_loss`, averaged over the time after the fork. A line for each group, its median over runs with a
    band from quartile to quartile; the trunk is 1 on the axis and 0 in height. Above zero the trunk is ahead: staying
    at the edge helped that group. Draws the channel by_group(step, group) of a `loss` probe.
    """

    every_arm: ClassVar[bool] = True
    probe: str | None = None
    """The label of the probe; null takes the first one that records losses by group."""
    trunk: str = "baseline"
    """The arm that the branches forked from."""
    window: tuple[Share, Share] = (0.0, 1.0)
    """From where to where, as fractions of the time after the fork, the average is taken."""
    averages: Annotated[tuple[Average, ...], Field(min_length=1)] = ("mean", "median")
    """Which averages over time to draw, a panel each; spikes decide the mean and not the median."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        branches = ensemble.children(self.trunk)
        if not branches:
            raise NothingToDrawError(f"no branch of {self.trunk!r} started, so there is no dose")
        probe = ensemble.locate("loss", "by_group", label=self.probe)
        panels = canvas.axes(1, len(self.averages), height=3.2)
        arms = sorted((_rate(ensemble, arm), arm) for arm in (self.trunk, *branches))
        for panel, average in zip(panels, self.averages, strict=True):
            for group in ensemble.channel(self.trunk, probe, "by_group").labels["group"]:
                series = self._series(ensemble, probe, str(group), average, arms)
                canvas.line(panel, series, label=str(group), color=canvas.color(str(group)))
            panel.axhline(0, color="#1a1a1a", linewidth=0.8)
            panel.set_yscale("symlog", linthresh=1e-3)
        text = f"Loss of each group in the branches less that in {self.trunk}, averaged over the time after the fork."
        return f"{text} Above zero the trunk is ahead."

    def _series(
        self, ensemble: Ensemble, probe: str, group: str, average: Average, arms: list[tuple[float, str]]
    ) -> Series:
        """The averages (runs, arms) against the arms' learning rates over the trunk's."""
        columns = []
        for _, arm in arms:
            select = {"group": group}
            if arm == self.trunk:
                columns.append(np.zeros(len(ensemble.runs)))
            else:
                columns.append(
                    ensemble.gain(arm, probe, "by_group", select=select, window=self.window, average=average)[:, 0]
                )
        if not np.isfinite([column for (_, arm), column in zip(arms, columns, strict=True) if arm != self.trunk]).any():
            raise NothingToDrawError(f"no difference between {self.trunk!r} and a branch is a number")
        rates = np.array([rate for rate, _ in arms])
        words = ("learning rate of the arm / of the trunk", f"{average} of Δℓ after the fork")
        return Series(rates / _rate(ensemble, self.trunk), np.stack(columns, axis=1), *words, "1")


def _rate(ensemble: Ensemble, arm: str) -> float:
    """The learning rate of an arm, which every arm of a report has."""
    rate = ensemble.started(arm)[0].learning_rate
    if rate is None:
        raise NothingToDrawError(f"the arm {arm!r} has no learning rate")
    return rate
