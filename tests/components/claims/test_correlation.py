"""Claims about rank correlations, decided on numbers with a planted relation, against scipy on the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.planted_examples import distances, plant
from oracles.synthetic_run import EXAMPLES, Law, make_run, make_sweep
from pydantic import ValidationError
from scipy.stats import spearmanr

from studyrun.errors import TraceError
from studyrun.registry import Registry
from studyrun.trace.correlation import rank_correlation
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)
MET = LAW.fork_time()
COS2 = {"channel": "cos2"}


def turning(arm, time):
    """Falls with the distance before t*, rises with it afterwards; nothing but noise in the exit arm."""
    return (-0.4 if time < MET - 0.3 else 0.4) if arm == "baseline" else 0.0


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    make_run(folder, steps=340)
    return plant(folder, turning)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    folder = tmp_path_factory.mktemp("five") / "sweep"
    make_sweep(folder, (0, 1, 2, 3, 4), steps=340)
    for seed in range(5):
        plant(folder / f"seed-{seed}", turning, seed)
    (ensemble,) = open_run(folder).ensembles()
    return ensemble


def truth(run, arm, row, seed=0):
    return spearmanr(distances(seed), run[arm]["examples"]["cos2"].values[row]).statistic


def test_at_a_moment_of_one_run_it_is_scipys_rho_with_the_interval_over_examples(decide, one) -> None:
    verdict = decide("correlation", one, claimed="positive", at="end", **COS2)
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(truth(one.run, "baseline", -1), rel=1e-12)
    last = one.run["baseline"]["examples"]["cos2"].values[-1]
    assert verdict.interval == pytest.approx(rank_correlation(distances(), last)[1:3])
    numbers = f"{verdict.statistic:+.3f}, 95 % interval {verdict.interval[0]:+.3f} to {verdict.interval[1]:+.3f}"
    assert verdict.sentence == (
        f"Spearman ρ of cos2 and distance in baseline, at the end: {numbers} over the {EXAMPLES} examples of one run"
    )
    assert verdict.runs == 1


def test_signs_are_told_apart(decide, one) -> None:
    for at, sign, other in (("midway", "negative", "positive"), ("end", "positive", "negative")):
        assert decide("correlation", one, claimed=sign, at=at, **COS2).holds is True
        assert decide("correlation", one, claimed=other, at=at, **COS2).holds is False
        assert decide("correlation", one, claimed="near_zero", margin=0.2, at=at, **COS2).holds is False


def test_near_zero_needs_the_whole_interval_within_the_margin(decide, one) -> None:
    options = {"claimed": "near_zero", "arm": "exit", **COS2}
    verdict = decide("correlation", one, margin=0.35, **options)
    assert verdict.holds is True
    assert abs(verdict.statistic) < 0.1
    widest = max(abs(end) for end in verdict.interval)
    assert decide("correlation", one, margin=widest * 1.001, **options).holds is True
    assert decide("correlation", one, margin=widest * 0.999, **options).holds is False
    assert "−" in verdict.sentence
    assert "-" not in verdict.sentence.split(":")[1]


def test_over_a_window_it_is_the_mean_of_the_rows_or_their_maximum(decide, one) -> None:
    rows = one.run["baseline"]["examples"]
    window = ["onset", {"after": 0.5}]
    last = MET + 0.5 * (rows.time[-1] - MET)
    inside = np.flatnonzero((rows.time >= MET - 1e-9) & (rows.time <= last + 1e-9))
    each = [truth(one.run, "baseline", row) for row in inside]
    assert 3 < len(inside) < len(rows.time)
    mean = decide("correlation", one, claimed="positive", window=window, **COS2)
    assert mean.statistic == pytest.approx(np.mean(each), rel=1e-12)
    ends = [rank_correlation(distances(), rows["cos2"].values[row])[1:3] for row in inside]
    assert mean.interval == pytest.approx(tuple(np.mean(ends, axis=0)))
    assert "on average from onset t* to 50% of the time after t*" in mean.sentence
    largest = decide("correlation", one, claimed="positive", window=window, take="maximum", **COS2)
    assert largest.statistic == pytest.approx(max(each), rel=1e-12)
    assert largest.interval == pytest.approx(ends[int(np.argmax(each))])
    assert "its maximum from" in largest.sentence
    smallest = decide("correlation", one, claimed="positive", window=window, take="minimum", **COS2)
    assert smallest.statistic == pytest.approx(min(each), rel=1e-12)


def test_larger_than_at_another_moment(decide, one) -> None:
    later = decide("correlation", one, claimed="larger", at="end", than="midway", **COS2)
    early, end = (decide("correlation", one, claimed="positive", at=at, **COS2) for at in ("midway", "end"))
    assert later.holds is True
    assert later.statistic == pytest.approx(end.statistic - early.statistic)
    low, high = end.interval[0] - early.interval[1], end.interval[1] - early.interval[0]
    assert later.interval == pytest.approx((low, high))
    assert "at the end, minus that at midway to t*:" in later.sentence
    assert decide("correlation", one, claimed="larger", at="midway", than="end", **COS2).holds is False
    assert decide("correlation", one, claimed="larger", at="end", than="end", **COS2).holds is False


def test_over_seeds_it_is_the_median_with_an_interval_over_runs(decide, five) -> None:
    verdict = decide("correlation", five, claimed="positive", at="end", **COS2)
    each = [truth(run, "baseline", -1, seed) for seed, run in enumerate(five.runs)]
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(np.median(each))
    assert verdict.interval == pytest.approx((min(each), max(each)), abs=0.15)
    assert min(each) <= verdict.interval[0] <= verdict.interval[1] <= max(each)
    assert verdict.sentence.endswith("over 5 runs")
    assert "at the end: median +0." in verdict.sentence
    assert verdict.runs == 5
    assert decide("correlation", five, claimed="larger", at="end", than="midway", **COS2).holds is True


def test_against_a_number_that_changes_steps_have_to_be_equal(decide, one) -> None:
    """The losses of the synthetic run rise with the example's place, at every moment."""
    rows = one.run["baseline"]["examples"]
    verdict = decide("correlation", one, claimed="near_zero", margin=0.9, at=200, against="loss", **COS2)
    values = rows["cos2"].select(step=200)
    assert verdict.statistic == pytest.approx(spearmanr(np.arange(EXAMPLES), values).statistic, rel=1e-12)


def test_of_a_branch_the_onset_is_its_own(decide, one) -> None:
    verdict = decide("correlation", one, claimed="near_zero", arm="exit", at="onset", **COS2)
    assert "in exit, at onset t**:" in verdict.sentence


def test_a_moment_that_never_came_cannot_be_decided(decide, tmp_path) -> None:
    make_run(tmp_path / "run", branches=False, steps=100)
    alone = plant(tmp_path / "run", turning, arms=("baseline",))
    for options in ({"at": "onset"}, {"at": 1000}, {"window": ["onset", "end"]}, {"arm": "exit"}):
        verdict = decide("correlation", alone, claimed="positive", **options, **COS2)
        assert verdict.holds is None
        assert "cannot be decided, no run has a ρ there" in verdict.sentence
    verdict = decide("correlation", alone, claimed="larger", at="end", than="onset", **COS2)
    assert verdict.holds is None


def test_what_was_not_recorded_by_example_is_named(decide, one) -> None:
    with pytest.raises(TraceError, match="no probe recorded eigenvalue by example"):
        decide("correlation", one, claimed="positive", channel="eigenvalue")
    with pytest.raises(TraceError, match="no probe 'alignment' recorded cos2 by example"):
        decide("correlation", one, claimed="positive", probe="alignment", **COS2)


@pytest.mark.parametrize("wrong", [{"claimed": "larger"}, {"claimed": "positive", "than": "onset"}])
def test_than_goes_with_larger(wrong) -> None:
    with pytest.raises(ValidationError, match="`than` goes with `claimed: larger`: give both, or neither"):
        Registry().load("claims", "correlation").model_validate({**COS2, **wrong})
