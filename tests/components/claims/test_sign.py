"""The sign of a difference between arms, decided against the known gap of the synthetic runs."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_run
from pydantic import ValidationError

from studyrun.errors import TraceError
from studyrun.trace.ensemble import Ensemble
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)
OUTLIERS = {"channel": "by_group", "arm": "exit", "select": {"group": "input_outlier"}}
INLIERS = {**OUTLIERS, "select": {"group": "inlier"}}


def mean_gap(group, start, end):
    """∫ gap dτ / (end − start), from the closed form's antiderivative on a fine grid."""
    time = np.linspace(start, end, 20_001)
    return np.mean([LAW.gap(group, t, 0.01) for t in time])


def test_the_mean_over_the_whole_stretch_is_the_integral(decide, lone):
    verdict = decide("sign", lone, sign="positive", **OUTLIERS)
    end = lone.run["exit"]["loss"].time[-1]
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(mean_gap("input_outlier", LAW.fork_time(), end), rel=1e-3)
    assert verdict.interval is None
    assert verdict.sentence.endswith("on average after the fork (one run: seen once)")


def test_the_other_sign_does_not_hold(decide, lone):
    assert decide("sign", lone, sign="negative", **OUTLIERS).holds is False
    assert decide("sign", lone, sign="negative", **INLIERS).holds is True
    assert decide("sign", lone, sign="positive", **INLIERS).holds is False


def test_a_window_takes_a_part_of_the_stretch(decide, lone):
    end = lone.run["exit"]["loss"].time[-1]
    middle = (LAW.fork_time() + end) / 2
    verdict = decide("sign", lone, sign="positive", window=[0.5, 1.0], **OUTLIERS)
    assert verdict.statistic == pytest.approx(mean_gap("input_outlier", middle, end), rel=1e-3)
    assert "from 50% to 100% of the time after the fork" in verdict.sentence


def test_at_fractions_the_weakest_decides(decide, lone):
    verdict = decide("sign", lone, sign="positive", at=[0.1, 1.0], **OUTLIERS)
    end = lone.run["exit"]["loss"].time[-1]
    early = LAW.gap("input_outlier", LAW.fork_time() + 0.1 * (end - LAW.fork_time()), 0.01)
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(early, rel=1e-2)
    # at the very fork both arms are the same point: zero is not positive
    assert decide("sign", lone, sign="positive", at=[0.0, 1.0], **OUTLIERS).holds is False


def test_over_seeds_the_interval_has_to_exclude_zero(decide, seeds):
    verdict = decide("sign", seeds, sign="positive", **OUTLIERS)
    assert verdict.holds is True
    assert (verdict.runs, verdict.coverage) == (7, 1 - 2 / 128)
    low, high = verdict.interval
    assert 0 < low <= verdict.statistic <= high
    assert "(median of 7 runs, 98.4 % interval +" in verdict.sentence
    some = decide("sign", Ensemble(seeds.runs[:5]), sign="positive", **OUTLIERS)
    assert (some.holds, some.interval) == (None, None)
    assert some.sentence.endswith("(median of 5 runs; too few runs to say: 5 of at least 6)")
    # before the fork nothing differs, so the accuracy, which no gap enters, has an interval of zero alone
    flat = decide("sign", seeds, sign="positive", channel="test_accuracy", arm="exit")
    assert flat.holds is False
    assert flat.interval == (0.0, 0.0)


def test_a_reference_that_is_not_the_parent(decide, lone):
    verdict = decide("sign", lone, sign="negative", channel="by_group", arm="baseline", reference="exit",
                     select={"group": "input_outlier"})  # fmt: skip
    assert verdict.holds is True


def test_what_is_not_there_cannot_be_decided(decide, lone):
    verdict = decide("sign", lone, sign="positive", channel="train", arm="baseline")
    assert verdict.holds is None
    assert "no run has a branch 'baseline' that started" in verdict.sentence
    with pytest.raises(TraceError, match="no probe recorded absent"):
        decide("sign", lone, sign="positive", channel="absent", arm="exit")


def test_fractions_outside_the_stretch_are_refused():
    from studyrun.registry import Registry

    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Registry().load("claims", "sign").model_validate({**OUTLIERS, "sign": "positive", "at": [1.5]})


def test_until_the_edge_ends_where_the_arm_meets_its_threshold_and_since_it_begins_there(decide, lone):
    met, end = lone.run["exit"].crossing().time, lone.run["exit"]["loss"].time[-1]
    before = decide("sign", lone, sign="positive", until="edge", **OUTLIERS)
    assert before.statistic == pytest.approx(mean_gap("input_outlier", LAW.fork_time(), met), rel=1e-3)
    assert before.sentence.endswith("on average from the fork to where exit meets its threshold (one run: seen once)")
    after = decide("sign", lone, sign="positive", since="edge", **OUTLIERS)
    assert after.statistic == pytest.approx(mean_gap("input_outlier", met, end), rel=1e-3)
    assert after.sentence.endswith("on average after exit met its own threshold (one run: seen once)")
    with pytest.raises(ValidationError, match="no time passes"):
        decide("sign", lone, sign="positive", since="edge", until="edge", **OUTLIERS)


def test_an_arm_that_never_meets_its_threshold_is_not_said_to(decide, tmp_path):
    """Until then it counts to its end, and says so; since then there is nothing to count."""
    for seed, steps in ((0, LAW.fork_step() + 30), (1, 600)):
        make_run(tmp_path / f"run{seed}", seed=seed, steps=steps)
    runs = tuple(open_run(tmp_path / f"run{seed}") for seed in (0, 1))
    short, both = Ensemble(runs[:1]), Ensemble(runs)
    assert [one["exit"].crossing() is None for one in runs] == [True, False]
    never = decide("sign", short, sign="positive", until="edge", **OUTLIERS)
    end = runs[0]["exit"]["loss"].time[-1]
    assert never.statistic == pytest.approx(mean_gap("input_outlier", LAW.fork_time(), end), rel=1e-2)
    assert "to where exit meets its threshold, which it never did (one run: seen once)" in never.sentence
    some = decide("sign", both, sign="positive", until="edge", **OUTLIERS)
    assert "which it did in 1 of 2 runs: elsewhere to the end (median of 2 runs; too few runs" in some.sentence
    assert decide("sign", short, sign="positive", since="edge", **OUTLIERS).holds is None
    after = decide("sign", both, sign="positive", since="edge", **OUTLIERS)
    assert (after.holds, after.runs) == (None, 2)
    assert after.sentence.endswith("(one run; too few runs to say: 2 of at least 6; 1 of 2 runs has no number there)")


def test_a_run_that_cannot_tell_where_the_threshold_was_met_decides_nothing(decide, tmp_path):
    """The curvature that exit's threshold is about was not recorded: that it never met it would be a guess."""
    make_run(tmp_path / "run", steps=340)
    run = open_run(tmp_path / "run")
    run["exit"].attributes["threshold_quantity"] = "preconditioned_sharpness"
    for stretch in ({"until": "edge"}, {"since": "edge"}):
        verdict = decide("sign", Ensemble((run,)), sign="positive", **stretch, **OUTLIERS)
        assert verdict.holds is None
        assert "never" not in verdict.sentence
    assert decide("sign", Ensemble((run,)), sign="positive", **OUTLIERS).holds is True
