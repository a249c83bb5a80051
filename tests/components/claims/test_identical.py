"""A branch's numbers at its fork against its parent's, planted: equal, a last bit apart, missing, not there."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from oracles.planted import Planted, plant, together

from studyrun.errors import TraceError
from studyrun.trace.channel import Channel, Dimension

CHANNELS = [
    Channel("norm", "norm", (Dimension("group", ("inlier", "boundary")),)),
    Channel("drawn_from", "seed", (), dtype="int64"),
]
PROBES = MappingProxyType({"group_gradients": CHANNELS})
FORK = 20


def row(step: int, shift: float = 0.0, nan: bool = False, seed: int = 2**60 + 1):
    norm = np.array([1 / (3 + step), np.nan if nan else 7.0 + step]) * (1 + shift)
    return {"norm": norm, "drawn_from": seed}


def run(folder: Path, *, shift: float = 0.0, nan=(False, False), every: int = 10, trunk=None, **further: Planted):
    steps = range(0, 60, every)
    trunk = {step: row(step, nan=nan[0]) for step in steps} | (trunk or {})
    branch = {step: row(step, shift if step == FORK else 0.5, nan[1]) for step in steps if step >= FORK}
    arms = {"baseline": Planted({"group_gradients": trunk})}
    arms["exit"] = Planted({"group_gradients": branch}, "baseline", FORK, 0.05)
    return plant(folder, PROBES, arms | further)


def test_equal_rows_are_identical_whatever_follows(decide, tmp_path) -> None:
    verdict = decide("identical", together(run(tmp_path / "a"), run(tmp_path / "b")))
    assert (verdict.holds, verdict.statistic, verdict.interval, verdict.runs) == (True, 0.0, None, 2)
    assert verdict.sentence == (
        "norm, drawn_from of group_gradients at the fork of exit, against the parent's row there: "
        "the same to the last bit (largest relative difference 0, 2 runs)"
    )


def test_one_bit_in_one_of_the_runs_is_a_difference(decide, tmp_path) -> None:
    """7 + 20 times 1 + ε is one unit in the last place away."""
    ensemble = together(run(tmp_path / "a"), run(tmp_path / "b", shift=2.0**-52))
    verdict = decide("identical", ensemble)
    assert verdict.holds is False
    assert 1e-17 < verdict.statistic < 3e-16
    assert re.search(r"largest relative difference \d[.\d]*e-1[67], of norm in exit \(2 runs\)$", verdict.sentence)
    assert decide("identical", ensemble, tolerance=1e-15).holds is True
    assert decide("identical", ensemble, channels=["drawn_from"]).holds is True


def test_the_difference_is_relative_to_the_larger_of_the_two(decide, tmp_path) -> None:
    verdict = decide("identical", together(run(tmp_path / "a", shift=0.25)))
    assert verdict.statistic == pytest.approx(0.2)
    assert verdict.sentence.endswith("largest relative difference 0.2, of norm in exit (one run)")


def test_nan_equals_nan_and_nothing_else(decide, tmp_path) -> None:
    assert decide("identical", together(run(tmp_path / "a", nan=(True, True)))).holds is True
    verdict = decide("identical", together(run(tmp_path / "b", nan=(True, False))), tolerance=10)
    assert (verdict.holds, verdict.statistic) == (False, np.inf)


def test_branches_are_held_against_their_own_parents(decide, tmp_path) -> None:
    """`late` leaves `exit`, whose rows are half as large again as the trunk's, and equals those."""
    late = Planted({"group_gradients": {40: row(40, 0.5), 50: row(50)}}, "exit", 40, 0.01)
    ensemble = together(run(tmp_path / "a", late=late))
    assert decide("identical", ensemble).holds is True
    assert "at the fork of exit, late" in decide("identical", ensemble).sentence
    assert "at the fork of late," in decide("identical", ensemble, branches=["late"]).sentence


def test_forks_without_rows_leave_it_open(decide, tmp_path) -> None:
    between = Planted({"group_gradients": {40: row(40)}}, "baseline", 35)
    ensemble = together(run(tmp_path / "a", between=between))
    verdict = decide("identical", ensemble)
    assert verdict.holds is None
    assert verdict.sentence.endswith("without a row in both arms: between of a (step 35)")
    assert decide("identical", ensemble, branches=["exit"]).holds is True
    alone = decide("identical", ensemble, branches=["between"])
    assert alone.holds is None
    assert "has no row in both arms at the fork of between of a (step 35)" in alone.sentence
    broken = together(run(tmp_path / "b", shift=0.1, between=between))
    assert decide("identical", broken).holds is False


def test_what_is_not_there_is_named(decide, tmp_path) -> None:
    never = Planted({}, "baseline", state="not started")
    ensemble = together(run(tmp_path / "a", never=never))
    verdict = decide("identical", ensemble, branches=["never"])
    assert (verdict.holds, verdict.runs) == (None, 0)
    assert "no run has a branch 'never' that started" in verdict.sentence
    assert decide("identical", ensemble).holds is True
    with pytest.raises(TraceError, match="no probe recorded absent"):
        decide("identical", ensemble, channels=["absent"])


def test_rows_of_nothing_but_nan_tell_nothing(decide, tmp_path) -> None:
    blank = {"norm": np.full(2, np.nan), "drawn_from": 1}
    arms = {"blank": Planted({"group_gradients": {40: blank}}, "baseline", 40)}
    ensemble = together(run(tmp_path / "a", trunk={40: blank}, **arms))
    verdict = decide("identical", ensemble, channels=["norm"], branches=["blank"])
    assert (verdict.holds, verdict.statistic) == (None, 0.0)
    assert verdict.sentence.endswith("without a row in both arms: blank of a (step 40, nothing but NaN)")
    assert decide("identical", ensemble, branches=["blank"]).holds is True  # the whole numbers are the same


def test_one_run_is_seen_once_and_runs_without_a_fork_are_counted(decide, tmp_path) -> None:
    alone = run(tmp_path / "a")
    never = plant(tmp_path / "b", PROBES, {"baseline": Planted({"group_gradients": {0: row(0)}})})
    verdict = decide("identical", together(alone, never))
    assert (verdict.holds, verdict.runs, verdict.word) == (True, 1, "seen once")
    assert verdict.sentence.endswith("0, one run: seen once; 1 of 2 runs without a fork)")


def test_whole_numbers_are_held_against_one_another_in_all_their_digits(decide, tmp_path) -> None:
    """2⁶⁰ and 2⁶⁰ + 1 are the same number in double precision."""
    other = Planted({"group_gradients": {40: row(40, seed=2**60)}}, "baseline", 40)
    verdict = decide("identical", together(run(tmp_path / "a", other=other)), branches=["other"])
    assert (verdict.holds, verdict.statistic) == (False, pytest.approx(2.0**-60))


def test_forks_of_a_real_run_are_identical(decide, tiny, carry_out) -> None:
    probes = "  - {use: group_gradients, every: 2}\n  - {use: sharpness, k: 2, every: 2}\n"
    branches = "branches: {exit: {at: {use: step, step: 4}, set: {optimizer.lr: 0.002}}}\n"
    ensemble = together(carry_out(tiny(probes + branches, "stop.steps=6")))
    for probe in ("group_gradients", "sharpness", "loss"):
        assert decide("identical", ensemble, probe=probe).holds is True, probe
