"""What the contracts themselves decide: a verdict on a sign, over runs and places."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.component import Verdict


def verdict(*runs, positive=True, places=("here",)):
    return Verdict.on_sign([np.atleast_1d(np.array(run, dtype=float)) for run in runs], "x", places, positive=positive)


def test_an_interval_that_contains_zero_does_not_hold():
    runs = (-1.0, -0.5, 0.2, 0.5, 1.0)
    found = verdict(*runs)
    assert found.statistic == 0.2
    assert found.interval[0] < 0 < found.interval[1]
    assert found.holds is False
    assert verdict(*runs, positive=False).holds is False


@pytest.mark.parametrize(("positive", "holds"), [(True, True), (False, False)])
def test_runs_that_agree_hold(positive, holds):
    found = verdict(0.1, 0.2, 0.3, positive=positive)
    assert (found.holds, found.runs, found.statistic) == (holds, 3, 0.2)
    assert "medians of 3 runs" in found.sentence


def test_one_run_has_no_interval_and_says_so():
    found = verdict(-0.25, positive=False)
    assert (found.holds, found.statistic, found.interval, found.runs) == (True, -0.25, None, 1)
    assert found.sentence == "x: −0.25 here (one run)"


def test_zero_is_neither_positive_nor_negative():
    assert verdict(0.0).holds is False
    assert verdict(0.0, positive=False).holds is False


def test_every_place_has_to_hold_and_the_weakest_is_told():
    found = verdict((0.5, -0.1), (0.6, -0.2), (0.7, -0.3), places=("early", "late"))
    assert (found.holds, found.statistic) == (False, -0.2)
    assert found.sentence == "x: +0.6 early, −0.2 late (medians of 3 runs)"


def test_a_run_that_is_nan_does_not_count_and_no_number_is_no_verdict():
    assert verdict(np.nan, 1.0).runs == 1
    assert verdict(np.nan, np.nan).holds is None
    assert "no run has a number there" in verdict(np.nan).sentence
    assert verdict().holds is None
