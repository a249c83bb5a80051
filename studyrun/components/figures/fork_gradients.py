"""Whether arms start from the same gradients, and how they part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure, NothingToDrawError, Run, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 26  # characters of a name in the table
MOST_LINES = 40  # of the table
AFTER = 3  # rows after the fork that the table shows
HEADS = ("‖∇ℓ‖ parent", "‖∇ℓ‖ branch", "difference", "cos at fork")
X_LABEL = "training steps since the fork"
INK, PALE = "#1a1a1a", "#b5b5b5"


class Parted(NamedTuple):
    """A branch beside its parent in one run: steps since the fork (m,), and by row and group (m, g) the norms of both
    and the cosine between their gradients. `vectors` is how many random vectors the cosine was estimated from.
    """

    since: np.ndarray
    parent: np.ndarray
    branch: np.ndarray
    cosine: np.ndarray
    vectors: int


class ForkGradients(Figure):
    """Norm and direction of each group's gradient in a branch and in its parent, at the fork and from there on.

    A table of the fork and the first rows after it, then curves at equal steps: the norms in both arms, and the cosine
    between the two arms' gradients, from the sketches of their directions. It is exactly 1 where the sketches are the
    same, and has a standard error of about (1 − cos²)/√m for m random vectors. Draws the channels norm, sketch and
    drawn_from of a `group_gradients` probe.

    Source: the control for Kwag et al. 2026, arXiv 2606.04212: that arms differ by what follows the fork alone.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records sketches."""
    branches: tuple[str, ...] | None = None
    """Which branches to draw; null draws every branch that started."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """How many steps after the fork to draw; null: as far as both arms reach."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("group_gradients", "norm", "sketch", "drawn_from", label=self.probe)
        names = [arm for arm in ensemble.recording(probe, "norm") if ensemble.parents[arm]]
        wanted = [arm for arm in names if self.branches is None or arm in self.branches]
        found = {arm: [_parted(run, arm, probe, self.steps) for run in ensemble.runs] for arm in wanted}
        parted = {
            arm: runs for arm, all_runs in found.items() if (runs := [one for one in all_runs if one is not None])
        }
        if not parted:
            raise NothingToDrawError(f"no branch has a row of {probe!r} at a step at which its parent has one too")
        groups = [str(group) for group in ensemble.channel(next(iter(parted)), probe, "norm").labels["group"]]
        self._table(canvas, parted, groups)
        panels = canvas.axes(len(parted), 2, height=2.4)
        for place, (arm, runs) in enumerate(parted.items()):
            self._curves(canvas, ensemble, panels[2 * place : 2 * place + 2], arm, runs, groups)
        canvas.share_y(panels[::2])
        canvas.share_y(panels[1::2], "linear")
        return self._caption(parted)

    def _table(self, canvas: Canvas, parted: Mapping[str, Sequence[Parted]], groups: Sequence[str]) -> None:
        """A line for each branch and group: medians over runs, the difference at its largest."""
        after = _after([one for runs in parted.values() for one in runs])
        heads = [*HEADS, *(f"cos +{step:g}" for step in after)]
        lines = {
            (arm, group): _numbers(runs, place, after)
            for arm, runs in parted.items()
            for place, group in enumerate(groups)
        }
        shown = canvas.some(list(lines), MOST_LINES, "lines of the table")
        (panel,) = canvas.axes(height=0.45 + 0.19 * len(shown))
        panel.set_axis_off()
        panel.set_xlim(0, 1)
        panel.set_ylim(len(shown), -1)
        panel.axhline(-0.1, color=PALE, linewidth=0.8)
        _write(panel, -0.6, "group" if len(parted) == 1 else "group, branch", heads)
        for row, (arm, group) in enumerate(shown):
            numbers = lines[arm, group]
            name = group if len(parted) == 1 else f"{group}, {arm}"
            panel.scatter([0.012], [row + 0.4], s=18, color=canvas.color(group), linewidths=0)
            _write(panel, row + 0.4, name, [_shown(*cell) for cell in zip(heads, numbers, strict=True)])
        columns = {"branch": [arm for arm, _ in lines], "group": [group for _, group in lines]}
        canvas.table("at_the_fork", columns | dict(zip(heads, zip(*lines.values(), strict=True), strict=True)))

    def _curves(
        self,
        canvas: Canvas,
        ensemble: Ensemble,
        panels: Sequence[Axes],
        arm: str,
        runs: Sequence[Parted],
        groups: Sequence[str],
    ) -> None:
        norms, cosines = panels
        parent = str(ensemble.parents[arm])
        norm_label, cosine_label = "norm of the group's gradient", f"cosine between {arm} and {parent}"
        for place, group in enumerate(groups):
            color = canvas.color(group)
            for name in (parent, arm):
                values = [(one.parent if name == parent else one.branch)[:, place] for one in runs]
                canvas.line(norms, _series(runs, values, norm_label), label=group, color=color, arm=name)
            series = _series(runs, [one.cosine[:, place] for one in runs], cosine_label)
            canvas.line(cosines, series, label=group, color=color)
        cosines.axhline(1, color=INK, linewidth=0.8, zorder=1.8)

    def _caption(self, parted: dict[str, list[Parted]]) -> str:
        runs = [one for found in parted.values() for one in found]
        vectors = min(one.vectors for one in runs)
        text = "Gradients of the groups in each branch and its parent at equal steps: norms (left), and the cosine "
        text += f"between the two arms (right), estimated with {vectors} random vectors (standard error "
        text += f"(1 − cos²)/√{vectors}, at most {1 / np.sqrt(vectors):.2g})."
        forks = [one for one in runs if one.since[0] == 0]
        if not forks:
            return f"{text} No row was recorded at a fork itself."
        largest = max(float(np.nanmax(_apart(one)[0], initial=0.0)) for one in forks)
        over = f" over {len(forks)} forks" if len(forks) > 1 else ""
        what = "are the same to the last bit" if largest == 0 else f"differ by {_difference(largest)} at most"
        return f"{text} At the fork the norms of both arms {what}{over}."


def _parted(run: Run, arm: str, probe: str, steps: int | None) -> Parted | None:
    """The rows that both arms have, which begin at the fork; None where there is none."""
    branch = run.arms.get(arm)
    parent = run.arms.get(str(branch.parent)) if branch is not None else None
    if branch is None or parent is None or probe not in branch or probe not in parent:
        return None
    one, other = parent[probe], branch[probe]
    common, rows, others = np.intersect1d(one.step, other.step, return_indices=True)
    kept = common - branch.fork_step <= (np.inf if steps is None else steps)
    if not kept.any():
        return None
    rows, others = rows[kept], others[kept]
    first, second = one["sketch"].values[rows], other["sketch"].values[others]
    with np.errstate(invalid="ignore"):  # a gradient that vanishes has a sketch of NaNs
        cosine = (first * second).sum(2) / np.sqrt((first * first).sum(2) * (second * second).sum(2))
    cosine[one["drawn_from"].values[rows] != other["drawn_from"].values[others]] = np.nan
    norms = one["norm"].values[rows], other["norm"].values[others]
    return Parted((common[kept] - branch.fork_step).astype(float), *norms, cosine, first.shape[2])


def _apart(one: Parted) -> np.ndarray:
    """The relative difference of the norms, (m, g); 0 where both vanish."""
    larger = np.maximum(one.parent, one.branch)
    return np.asarray(np.abs(one.branch - one.parent) / np.where(larger == 0, 1.0, larger))


def _after(runs: Sequence[Parted]) -> list[float]:
    """The first moments after the fork at which every run has rows."""
    common = set.intersection(*(set(one.since.tolist()) for one in runs))
    return sorted(common - {0.0})[:AFTER]


def _numbers(runs: Sequence[Parted], place: int, after: Sequence[float]) -> list[float]:
    """A line of the table: both norms, their difference and the cosine at the fork, the cosines after it."""
    forks = [one for one in runs if one.since[0] == 0]
    at_fork = [(one.parent[0, place], one.branch[0, place], one.cosine[0, place]) for one in forks]
    parent, branch, cosine = np.median(at_fork, axis=0) if at_fork else (np.nan,) * 3
    largest = max((float(_apart(one)[0, place]) for one in forks), default=float("nan"))
    later = [np.median([_at(one, step)[place] for one in runs if step in one.since] or [np.nan]) for step in after]
    return [float(number) for number in (parent, branch, largest, cosine, *later)]


def _at(one: Parted, step: float) -> np.ndarray:
    return np.asarray(one.cosine[np.flatnonzero(one.since == step)[0]])


def _series(runs: Sequence[Parted], values: Sequence[np.ndarray], label: str) -> Series:
    """One row a run on the rows that all have, or by linear interpolation between, where all reach."""
    grids = [one.since for one in runs]
    start, end = max(grid[0] for grid in grids), min(grid[-1] for grid in grids)
    union = np.unique(np.concatenate(grids))
    x = union[(union >= start) & (union <= end)]
    if not len(x):
        raise NothingToDrawError("there is no stretch after the fork that every run has rows in")
    stacked = np.stack([np.interp(x, grid, row) for grid, row in zip(grids, values, strict=True)])
    return Series(x, stacked, X_LABEL, label, "1")


def _write(panel: Axes, height: float, name: str, cells: Sequence[str]) -> None:
    """One line of the table."""
    name = " ".join(name.split())
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 10]}…{name[-9:]}"
    panel.text(0.03, height, name.replace("$", r"\$"), va="center", fontsize=8, color=INK)
    for x, text in zip(np.linspace(0.385, 1.0, len(cells)), cells, strict=True):
        panel.text(x, height, text, ha="right", va="center", fontsize=7.5, color=INK)


def _shown(head: str, number: float) -> str:
    if np.isnan(number):
        return "–"
    if head == "difference":
        return _difference(number)
    return (f"{number:.4g}" if head.startswith("‖") else _cosine(number)).replace("-", "−")


def _cosine(number: float) -> str:
    """Exactly 1 as it is; what merely rounds to it says so."""
    if number == 1:
        return "1"
    return ">0.9999" if number > 0.99995 else f"{number:.4f}"


def _difference(number: float) -> str:
    return "0" if number == 0 else f"{number:.1e}".replace("-", "−")
