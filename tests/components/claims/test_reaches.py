"""Reaching a value or a threshold, decided against the law that the synthetic runs follow."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_run

from studyrun.errors import TraceError
from studyrun.trace.ensemble import Ensemble
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)


def test_the_baseline_reaches_its_own_threshold_at_the_fork(decide, lone):
    verdict = decide("reaches", lone)
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(LAW.fork_time())
    assert verdict.interval is None
    assert verdict.sentence == (
        "baseline reached its own threshold, sharpness ≥ 100, at effective time 3 (step 150) (one run: seen once)"
    )


def test_a_branch_is_held_against_its_own_threshold_after_the_fork(decide, lone):
    verdict = decide("reaches", lone, arm="exit")
    recorded = lone.run["exit"]["sharpness"]
    first = np.flatnonzero(recorded["eigenvalue"].values[:, 0] >= 200)[0]
    assert verdict.statistic == pytest.approx(recorded.time[first])
    assert verdict.holds is True


def test_too_late_is_not_reached(decide, lone):
    verdict = decide("reaches", lone, arm="exit", by_time=LAW.fork_time() + 0.1)
    assert verdict.holds is False
    assert verdict.statistic is None
    assert "did not reach its own threshold, sharpness ≥ 200 by effective time 3.1" in verdict.sentence


def test_a_number_from_above(decide, lone):
    verdict = decide("reaches", lone, channel="by_group", select={"group": "inlier"}, value=0.1, direction="below")
    times = lone.run["baseline"]["loss"].time
    truth = next(time for time in times if LAW.group_loss("inlier", time, 0.02) <= 0.1)
    assert verdict.statistic == pytest.approx(truth)
    assert "by_group of inlier ≤ 0.1" in verdict.sentence


def test_after_step_passes_over_early_rows(decide, lone):
    assert decide("reaches", lone, after_step=200).statistic > LAW.fork_time() + 0.9


def test_over_seeds_the_time_has_an_interval(decide, seeds):
    verdict = decide("reaches", seeds)
    truth = [Law(seed, 0.02).fork_time() for seed in range(7)]
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(np.median(truth))
    assert verdict.interval == pytest.approx((min(truth), max(truth)))
    assert "in 7 of 7 runs, at median effective time" in verdict.sentence
    assert verdict.sentence.endswith(f", 98.4 % interval {min(truth):.4g} to {max(truth):.4g}")
    some = decide("reaches", Ensemble(seeds.runs[:3]))
    assert (some.holds, some.interval, some.word) == (None, None, "undecided")
    assert some.sentence.endswith("; too few runs to say: 3 of at least 6")


def test_a_run_in_which_the_arm_did_not_start_did_not_reach_it(decide, seeds, tmp_path):
    make_run(tmp_path / "run", seed=9, branches=False, steps=340)
    verdict = decide("reaches", Ensemble((*seeds.runs, open_run(tmp_path / "run"))), arm="exit")
    assert (verdict.holds, verdict.runs) == (False, 8)
    assert "of 8 runs" in verdict.sentence
    assert verdict.sentence.endswith("to never")


def test_most_is_more_than_half_and_all_is_all(decide, seeds):
    middle = float(np.median([run["exit"].crossing().time for run in seeds.runs if run["exit"].crossing()]))
    reached = sum(run["exit"].crossing() is not None and run["exit"].crossing().time <= middle for run in seeds.runs)
    assert 2 * reached > 7 > reached
    for share in ("most", "all"):  # of others more than half need not: the interval for the median has no end
        verdict = decide("reaches", seeds, arm="exit", by_time=middle, share=share)
        assert (verdict.holds, verdict.interval[1]) == (False, np.inf)
        assert f"in {reached} of 7 runs" in verdict.sentence
    lone = Ensemble(seeds.runs[:2])
    assert decide("reaches", lone, by_time=0.1, share="all").holds is False
    assert decide("reaches", lone, by_time=0.1, share="most").holds is None


def test_most_bears_one_that_never_did_where_runs_are_enough(decide, seeds, tmp_path):
    make_run(tmp_path / "run", branches=False, steps=50)
    never = open_run(tmp_path / "run")
    for runs, holds in (((*seeds.runs, never), False), ((*seeds.runs, seeds.runs[0], never), True)):
        assert decide("reaches", Ensemble(runs), share="most").holds is holds
        assert decide("reaches", Ensemble(runs), share="all").holds is False


def test_what_was_not_recorded_cannot_be_decided(decide, lone):
    verdict = decide("reaches", lone, arm="nowhere")
    assert verdict.holds is None
    assert verdict.sentence == "cannot be decided: no run has an arm 'nowhere' that started"
    with pytest.raises(TraceError, match="no probe recorded no_channel"):
        decide("reaches", lone, channel="no_channel", value=1.0)
