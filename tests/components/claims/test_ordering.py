"""Which of two groups is larger, decided against the synthetic runs' levels of alignment."""

from __future__ import annotations

import pytest
from oracles.synthetic_run import Law

from studyrun.errors import TraceError

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
    assert (verdict.holds, verdict.runs) == (True, 5)
    assert verdict.interval[0] > 0


def test_labels_and_arms_that_are_not_there_cannot_be_decided(decide, lone):
    verdict = decide("ordering", lone, channel="cos2", greater="input_outlier", than="nobody")
    assert verdict.holds is None
    assert "cos2 has no dimension with both 'input_outlier' and 'nobody'" in verdict.sentence
    assert decide("ordering", lone, arm="late", **CLAIM).holds is None
    with pytest.raises(TraceError, match="no probe recorded absent"):
        decide("ordering", lone, channel="absent", greater="a", than="b")
