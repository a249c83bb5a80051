"""Which of two groups is larger, decided against the synthetic runs' levels of alignment."""

from __future__ import annotations

import pytest
from oracles.synthetic_run import Law, make_run

from studyrun.errors import TraceError
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

LAW = Law(0, 0.02)
CLAIM = {"channel": "cos2", "greater": "input_outlier", "than": "boundary"}


def test_the_larger_group_is_larger(decide, lone):
    verdict = decide("ordering", lone, at=[1.0], **CLAIM)
    end = lone.run["baseline"]["alignment"].time[-1]
    truth = LAW.alignment("input_outlier", end) - LAW.alignment("boundary", end)
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(truth)
    assert verdict.sentence.startswith("cos2 in baseline, input_outlier − boundary: +0.3 at 100% of baseline's time")


def test_the_smaller_group_is_not(decide, lone):
    assert decide("ordering", lone, channel="cos2", greater="boundary", than="input_outlier").holds is False


def test_a_factor_asks_for_more(decide, lone):
    assert decide("ordering", lone, at=[1.0], factor=6.9, **CLAIM).holds is True
    assert decide("ordering", lone, at=[1.0], factor=7.1, **CLAIM).holds is False


def test_since_the_edge_starts_where_the_arm_met_its_threshold(decide, lone):
    verdict = decide("ordering", lone, since="edge", at=[0.0], **CLAIM)
    time = LAW.fork_time()
    truth = LAW.alignment("input_outlier", time) - LAW.alignment("boundary", time)
    assert verdict.statistic == pytest.approx(truth)
    assert "after it met its own threshold" in verdict.sentence


def test_over_seeds_there_is_an_interval(decide, seeds):
    verdict = decide("ordering", seeds, **CLAIM)
    assert (verdict.holds, verdict.runs) == (True, 7)
    assert verdict.interval[0] > 0


def test_a_run_without_the_arm_counts_against(decide, seeds, tmp_path):
    make_run(tmp_path / "run", seed=9, branches=False, steps=340)
    for arm, holds in (("baseline", True), ("exit", False)):
        verdict = decide("ordering", Ensemble((*seeds.runs, open_run(tmp_path / "run"))), arm=arm, **CLAIM)
        assert (verdict.holds, verdict.runs) == (holds, 8)
    assert "(median of 7 runs, 99.2 % interval −∞ to +∞; 1 of 8 runs has no number there)" in verdict.sentence


def test_labels_and_arms_that_are_not_there_cannot_be_decided(decide, lone):
    verdict = decide("ordering", lone, channel="cos2", greater="input_outlier", than="nobody")
    assert verdict.holds is None
    assert "cos2 has no dimension with both 'input_outlier' and 'nobody'" in verdict.sentence
    assert decide("ordering", lone, arm="late", **CLAIM).holds is None
    with pytest.raises(TraceError, match="no probe recorded absent"):
        decide("ordering", lone, channel="absent", greater="a", than="b")


def test_held_against_several_the_largest_of_them_decides(decide, lone):
    rivals = ["inlier", "boundary", "output_outlier"]
    verdict = decide("ordering", lone, channel="cos2", greater="input_outlier", than=rivals, at=[1.0])
    end = lone.run["baseline"]["alignment"].time[-1]
    truth = LAW.alignment("input_outlier", end) - max(LAW.alignment(rival, end) for rival in rivals)
    assert verdict.statistic == pytest.approx(truth)
    assert "input_outlier − the largest of inlier, boundary, output_outlier" in verdict.sentence
    lower = decide("ordering", lone, channel="cos2", greater="output_outlier", than=["inlier", "input_outlier"])
    assert lower.holds is False


def test_the_edge_is_where_branches_left_it_not_an_earlier_crossing(decide, tmp_path):
    """Curvature above the threshold before the trigger looked is no onset."""
    make_run(tmp_path / "run", steps=340)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.set_arm("exit", fork_step=200, fork_time=4.0)
    run = open_run(tmp_path / "run")
    assert run["baseline"].crossing().time < 3.5
    verdict = decide("ordering", for_run(run), since="edge", at=[0.0], **CLAIM)
    truth = LAW.alignment("input_outlier", 4.0) - LAW.alignment("boundary", 4.0)
    assert verdict.statistic == pytest.approx(truth)
