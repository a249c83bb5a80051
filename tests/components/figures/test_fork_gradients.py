"""Gradients at a fork and after it, planted: the table's numbers, the curves of norms and cosines, what is missing."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from oracles.planted import Planted, plant, together

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.trace.channel import Channel, Dimension

GROUP = Dimension("group", ("inlier", "boundary"))
PROBES = MappingProxyType(
    {
        "group_gradients": [
            Channel("norm", "norm", (GROUP,)),
            Channel("sketch", "sketch", (GROUP, Dimension.of_size("direction", 3)), nan="zero"),
            Channel("drawn_from", "seed", (), dtype="int64"),
        ]
    }
)
FORK = 20
TURN = np.array([0.02, 0.05])  # of each group's sketch, in radians a step


def row(since: int, norm: float, seed: int = 7):
    """Sketches that have turned from (0, 0.3, 0.4) by an angle, and become longer, with the steps since."""
    angles = TURN * since
    start, side = np.array([0.0, 0.3, 0.4]), np.array([0.5, 0.0, 0.0])
    sketch = np.cos(angles)[:, None] * start + np.sin(angles)[:, None] * side
    return {"norm": [norm, 2 * norm], "sketch": (1 + 0.01 * since) * sketch, "drawn_from": seed}


def run(folder: Path, *, fork: int = FORK, growth: float = 0.1, start: float = 1.0, seed: int = 7, **further: Planted):
    trunk = {step: row(0, 4.0) for step in range(0, 60, 10)}
    branch = {step: row(step - fork, 4 * start + growth * (step - fork), seed) for step in range(20, 90, 10)}
    branch = {step: reading for step, reading in branch.items() if step >= fork}
    arms = {"baseline": Planted({"group_gradients": trunk})}
    arms["exit"] = Planted({"group_gradients": branch}, "baseline", fork, 0.05)
    return plant(folder, PROBES, arms | further)


def test_the_table_holds_the_fork_and_the_first_rows_after_it(draw, tmp_path) -> None:
    drawing = draw("fork_gradients", together(run(tmp_path / "a")))
    table = drawing.canvas.tables["at_the_fork"]
    assert list(table["branch"]) == ["exit", "exit"]
    assert list(table["group"]) == ["inlier", "boundary"]
    assert list(table["‖∇ℓ‖ parent"]) == list(table["‖∇ℓ‖ branch"]) == [4.0, 8.0]
    assert list(table["difference"]) == [0.0, 0.0]
    assert list(table["cos at fork"]) == [1.0, 1.0]
    for since in (10, 20, 30):
        np.testing.assert_allclose(table[f"cos +{since}"], np.cos(TURN * since), rtol=1e-12)
    assert {"inlier", "boundary", "4", "8", "0", "1", f"{np.cos(0.2):.4f}"} <= drawing.texts
    assert f"−{-np.cos(0.05 * 40):.4f}" not in drawing.texts  # only three rows after the fork have a place
    assert "At the fork the norms of both arms are the same to the last bit." in drawing.caption
    assert "estimated with 3 random vectors (standard error (1 − cos²)/√3, at most 0.58)" in drawing.caption


def test_curves_run_from_the_fork_as_far_as_both_arms(draw, tmp_path) -> None:
    drawing = draw("fork_gradients", together(run(tmp_path / "a")))
    since = np.array([0.0, 10.0, 20.0, 30.0])
    norms, cosines = drawing.lines(1), drawing.lines(2)
    for place, group in enumerate(GROUP.labels):
        np.testing.assert_array_equal(norms[group, "baseline"].x, since)
        np.testing.assert_allclose(norms[group, "baseline"].values[0], 4 * (1 + place))
        np.testing.assert_allclose(norms[group, "exit"].values[0], (4 + 0.1 * since) * (1 + place))
        np.testing.assert_allclose(cosines[group, ""].values[0], np.cos(TURN[place] * since), rtol=1e-12)
    assert drawing.legend == ["inlier", "boundary", "baseline", "exit"]
    short = draw("fork_gradients", together(run(tmp_path / "b")), steps=10)
    assert list(short.lines(2)["inlier", ""].x) == [0, 10]


def test_what_differs_at_the_fork_is_told(draw, tmp_path) -> None:
    drawing = draw("fork_gradients", together(run(tmp_path / "a"), run(tmp_path / "b", start=1.25)))
    assert list(drawing.canvas.tables["at_the_fork"]["difference"]) == [0.2, 0.2]
    assert "differ by 2.0e−01 at most over 2 forks" in drawing.caption


def test_runs_meet_on_the_rows_since_their_own_forks(draw, tmp_path) -> None:
    """The second run forks ten steps later, at a row; the third between two rows."""
    runs = [run(tmp_path / str(fork), fork=fork) for fork in (20, 30, 25)]
    two = draw("fork_gradients", together(*runs[:2])).lines(2)["boundary", ""]
    assert list(two.x) == [0, 10, 20]
    np.testing.assert_allclose(two.values, np.cos(TURN[1] * two.x)[None].repeat(2, 0), rtol=1e-12)
    three = draw("fork_gradients", together(*runs))
    assert list(three.lines(2)["boundary", ""].x) == [5, 10, 15, 20]
    assert "over 2 forks" in three.caption
    alone = draw("fork_gradients", together(runs[2]))
    assert "No row was recorded at a fork itself." in alone.caption
    assert np.isnan(alone.canvas.tables["at_the_fork"]["cos at fork"]).all()
    assert "–" in alone.texts


def test_sketches_of_other_vectors_do_not_compare(draw, tmp_path) -> None:
    table = draw("fork_gradients", together(run(tmp_path / "a", seed=8))).canvas.tables["at_the_fork"]
    assert np.isnan(table["cos at fork"]).all()
    assert list(table["difference"]) == [0, 0]


def test_each_branch_is_held_against_its_own_parent(draw, tmp_path) -> None:
    late = Planted({"group_gradients": {40: row(20, 6.0), 50: row(0, 1.0)}}, "exit", 40, 0.01)
    ensemble = together(run(tmp_path / "a", late=late))
    drawing = draw("fork_gradients", ensemble)
    table = drawing.canvas.tables["at_the_fork"]
    assert list(table["branch"]) == ["exit", "exit", "late", "late"]
    assert list(table["‖∇ℓ‖ parent"])[2:] == [6.0, 12.0]
    assert list(table["difference"]) == [0] * 4
    assert "inlier, late" in drawing.texts
    only = draw("fork_gradients", ensemble, branches=["late"])
    assert list(only.canvas.tables["at_the_fork"]["branch"]) == ["late", "late"]


def test_without_a_branch_or_a_probe_there_is_nothing_to_draw(draw, tmp_path, ensemble) -> None:
    lone = plant(tmp_path / "a", PROBES, {"baseline": Planted({"group_gradients": {0: row(0, 1.0)}})})
    with pytest.raises(NothingToDrawError, match="no branch has a row of 'group_gradients' at a step at which its par"):
        draw("fork_gradients", together(lone))
    with pytest.raises(TraceError, match="no probe recorded norm and sketch and drawn_from"):
        draw("fork_gradients", ensemble)
