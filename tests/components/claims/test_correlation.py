"""Claims about rank correlations, decided on numbers with a planted relation, against scipy on the same arrays."""

from __future__ import annotations

import re

import numpy as np
import pytest
from oracles.planted_examples import distances, plant
from oracles.synthetic_run import EXAMPLES, Law, make_run, make_sweep
from pydantic import ValidationError
from scipy.stats import spearmanr

from studyrun.errors import TraceError
from studyrun.registry import Registry
from studyrun.trace.correlation import rank_correlation
from studyrun.trace.ensemble import Ensemble
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
def seven(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seven") / "sweep"
    make_sweep(folder, range(7), steps=340)
    for seed in range(7):
        plant(folder / f"seed-{seed}", turning, seed)
    (ensemble,) = open_run(folder).ensembles()
    return ensemble


def over_examples(verdict):
    """The interval of a lone run, as the sentence has it to three digits."""
    found = re.search(r"interval over its \d+ examples ([−+][\d.]+) to ([−+][\d.]+)", verdict.sentence)
    return tuple(float(end.replace("−", "-")) for end in found.groups())


def truth(run, arm, row, seed=0):
    return spearmanr(distances(seed), run[arm]["examples"]["cos2"].values[row]).statistic


def test_at_a_moment_of_one_run_it_is_scipys_rho_with_the_interval_over_examples(decide, one) -> None:
    verdict = decide("correlation", one, claimed="positive", at="end", **COS2)
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(truth(one.run, "baseline", -1), rel=1e-12)
    last = one.run["baseline"]["examples"]["cos2"].values[-1]
    low, high = rank_correlation(distances(), last)[1:3]
    assert (verdict.runs, verdict.word, verdict.interval) == (1, "seen once", None)
    assert verdict.sentence == (
        f"Spearman ρ of cos2 and distance in baseline, at the end: {verdict.statistic:+.3f}, "
        f"95 % interval over its {EXAMPLES} examples {low:+.3f} to {high:+.3f} (one run: seen once)"
    )


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
    widest = max(abs(end) for end in over_examples(verdict))
    margins = (widest + 0.001, widest - 0.001)
    assert decide("correlation", one, margin=margins[0], **options).holds is True
    assert decide("correlation", one, margin=margins[1], **options).holds is False
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
    assert over_examples(mean) == pytest.approx(tuple(np.mean(ends, axis=0)), abs=6e-4)
    assert "on average from onset t* to 50% of the time after t*" in mean.sentence
    largest = decide("correlation", one, claimed="positive", window=window, take="maximum", **COS2)
    assert largest.statistic == pytest.approx(max(each), rel=1e-12)
    assert over_examples(largest) == pytest.approx(ends[int(np.argmax(each))], abs=6e-4)
    assert "its maximum from" in largest.sentence
    smallest = decide("correlation", one, claimed="positive", window=window, take="minimum", **COS2)
    assert smallest.statistic == pytest.approx(min(each), rel=1e-12)


def test_larger_than_at_another_moment(decide, one) -> None:
    later = decide("correlation", one, claimed="larger", at="end", than="midway", **COS2)
    early, end = (decide("correlation", one, claimed="positive", at=at, **COS2) for at in ("midway", "end"))
    assert later.holds is True
    assert later.statistic == pytest.approx(end.statistic - early.statistic)
    (low, high), (low_before, high_before) = over_examples(end), over_examples(early)
    assert over_examples(later) == pytest.approx((low - high_before, high - low_before), abs=2e-3)
    assert "at the end, minus that at midway to t*:" in later.sentence
    assert decide("correlation", one, claimed="larger", at="midway", than="end", **COS2).holds is False
    assert decide("correlation", one, claimed="larger", at="end", than="end", **COS2).holds is False


def test_over_seeds_it_is_the_median_with_an_interval_over_runs(decide, seven) -> None:
    verdict = decide("correlation", seven, claimed="positive", at="end", **COS2)
    each = [truth(run, "baseline", -1, seed) for seed, run in enumerate(seven.runs)]
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(np.median(each))
    assert (verdict.interval, verdict.coverage) == (pytest.approx((min(each), max(each))), 1 - 2 / 128)
    numbers = f"(median of 7 runs, 98.4 % interval {min(each):+.3f} to {max(each):+.3f})"
    assert verdict.sentence.endswith(f"at the end: {np.median(each):+.3f} {numbers}")
    assert (verdict.runs, verdict.word) == (7, "holds")
    assert decide("correlation", seven, claimed="larger", at="end", than="midway", **COS2).holds is True


def test_two_runs_have_no_interval_at_all(decide, seven) -> None:
    """A bootstrap of two gave 95 % to the stretch between them, narrower than that of one run over its examples."""
    verdict = decide("correlation", Ensemble(seven.runs[:2]), claimed="positive", at="end", **COS2)
    assert (verdict.holds, verdict.interval, verdict.runs) == (None, None, 2)
    assert verdict.sentence.endswith("(median of 2 runs; too few runs to say: 2 of at least 6)")


def test_a_run_without_the_examples_or_the_moment_counts_against(decide, seven, tmp_path) -> None:
    make_run(tmp_path / "run", branches=False, steps=100)
    lacking = Ensemble((*seven.runs, open_run(tmp_path / "run")))
    short = Ensemble((*seven.runs, plant(tmp_path / "run", turning, arms=("baseline",)).run))
    for ensemble, at in ((lacking, "end"), (short, "onset")):
        verdict = decide("correlation", ensemble, claimed="near_zero", margin=0.99, at=at, **COS2)
        assert (verdict.holds, verdict.runs, verdict.interval) == (False, 8, (-np.inf, np.inf))
        assert "1 of 8 runs has no number there" in verdict.sentence


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
