"""A branch starts where its parent was, measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np

from studyrun.plugin import Arm, Claim, Ensemble, Field, Verdict


class Fork(NamedTuple):
    """One channel at one fork: which branch, the largest relative difference between its row and its parent's, and
    whether the row has a number that is not NaN.
    """

    branch: str
    channel: str
    difference: float
    told: bool


class Identical(Claim):
    """At its fork a branch has the numbers that its parent has there: same gradients, same losses.

    A branch measures its fork step anew, in its own right; what it reads there is held against its parent's row of the
    same step, number by number. The statistic is the largest relative difference |a − b| / max(|a|, |b|) over channels,
    branches and runs; two NaNs are equal, a NaN and a number infinitely different. Where the probe of some fork was not
    due in both arms, or read nothing but NaN there, it cannot be decided that all are identical. Runs are counted, and
    nothing is inferred of others: there is no interval, and one run in which it fails is enough.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one with these channels, of the component group_gradients if any."""
    channels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Which channels have to agree; null: all that the probe recorded."""
    branches: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Which branches; null: all that started."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """The largest relative difference allowed; 0 asks for the same numbers to the last bit."""

    def decide(self, ensemble: Ensemble) -> Verdict:
        probe = ensemble.locate("group_gradients", *(self.channels or ()), label=self.probe)
        names = self.branches or tuple(arm for arm in ensemble.arms if ensemble.parents[arm])
        absent = [name for name in names if not ensemble.started(name)]
        if absent or not names:
            return Verdict.undecided(
                f"no run has a branch {absent[0]!r} that started" if absent else "no branch started"
            )
        forks: list[Fork] = []
        missing: list[str] = []
        runs = 0
        for run in ensemble.runs:
            started = [run[name] for name in names if name in run and run[name].started]
            for branch in started:
                found = list(self._differences(run[str(branch.parent)], branch, probe))
                forks += found
                if not any(fork.told for fork in found):
                    why = ", nothing but NaN" if found else ""
                    missing.append(f"{branch.name} of {run.name} (step {branch.fork_step}{why})")
            runs += bool(started)
        if not forks:
            return Verdict.undecided(
                f"{probe} has no row in both arms at the fork of {missing[0]}; a schedule that has is right"
            )
        return self._verdict(probe, forks, missing, (runs, len(ensemble.runs)))

    def _differences(self, parent: Arm, branch: Arm, probe: str) -> Iterator[Fork]:
        """Each channel's largest difference at the fork; none where one of the arms has no row there."""
        if probe not in parent or probe not in branch:
            return
        rows = [np.flatnonzero(arm[probe].step == branch.fork_step) for arm in (parent, branch)]
        if not all(len(places) for places in rows):
            return
        for name in self.channels or tuple(branch[probe]):
            own, other = (
                arm[probe][name].values[places[0]] for arm, places in zip((parent, branch), rows, strict=True)
            )
            told = own.dtype.kind in "bu" or not np.isnan(own).all()
            yield Fork(branch.name, name, _largest(own, other), told)

    def _verdict(self, probe: str, forks: list[Fork], missing: list[str], counts: tuple[int, int]) -> Verdict:
        worst = max(forks, key=lambda fork: fork.difference)
        same = worst.difference <= self.tolerance
        names, branches = (
            list(dict.fromkeys(one)) for one in zip(*((f.channel, f.branch) for f in forks), strict=True)
        )
        runs, asked = counts
        holds = None if same and missing else same
        over = f"one run{': seen once' if holds else ''}" if runs == 1 else f"{runs} runs"
        over += f"; {asked - runs} of {asked} runs without a fork" if runs < asked else ""
        text = f"{', '.join(names)} of {probe} at the fork of {', '.join(branches)}, against the parent's row there: "
        if worst.difference == 0:
            text += f"the same to the last bit (largest relative difference 0, {over})"
        else:
            text += f"largest relative difference {worst.difference:.3g}, of {worst.channel} in {worst.branch} ({over})"
        if missing:
            text += f"; without a row in both arms: {', '.join(missing)}"
        return Verdict(holds, worst.difference, None, text, runs)


def _largest(first: np.ndarray, second: np.ndarray) -> float:
    """The largest relative difference between two arrays of one shape; whole numbers keep all their digits."""
    if first.shape != second.shape:
        return float("inf")
    if first.dtype.kind in "bu":
        first, second = first.astype("int64"), second.astype("int64")
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    size = np.maximum(np.abs(first), np.abs(second))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.where(equal, 0.0, np.abs(first - second) / size)
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))
