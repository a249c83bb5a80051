"""What the contracts themselves decide: a verdict on a sign, over runs and places."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.component import Verdict


def verdict(*runs, positive=True, places=("here",)):
    return Verdict.on_sign([np.atleast_1d(np.array(run, dtype=float)) for run in runs], "x", places, positive=positive)


def test_an_interval_that_contains_zero_does_not_hold():
    runs = (-1.0, -0.5, -0.1, 0.2, 0.5, 1.0, 2.0)
    found = verdict(*runs)
    assert found.statistic == 0.2
    assert (found.interval, found.coverage) == ((-1.0, 2.0), 1 - 2 / 128)
    assert (found.holds, found.word) == (False, "does not hold")
    assert found.sentence == "x: +0.2 here (median of 7 runs, 98.4 % interval −1 to +2)"
    assert verdict(*runs, positive=False).holds is False


@pytest.mark.parametrize(("positive", "word"), [(True, "holds"), (False, "does not hold")])
def test_six_runs_that_agree_hold(positive, word):
    found = verdict(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, positive=positive)
    assert (found.word, found.runs, found.statistic, found.interval) == (word, 6, 0.35, (0.1, 0.6))
    assert "median of 6 runs, 96.9 % interval +0.1 to +0.6" in found.sentence


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_fewer_runs_say_how_many_it_takes(count):
    found = verdict(*[0.1] * count)
    assert (found.holds, found.word, found.interval, found.coverage) == (None, "undecided", None, None)
    assert (found.statistic, found.runs) == (0.1, count)
    assert found.sentence == f"x: +0.1 here (median of {count} runs; too few runs to say: {count} of at least 6)"


def test_one_run_has_no_interval_and_is_seen_once():
    found = verdict(-0.25, positive=False)
    assert (found.holds, found.statistic, found.interval, found.runs) == (True, -0.25, None, 1)
    assert (found.word, found.sentence) == ("seen once", "x: −0.25 here (one run: seen once)")
    other = verdict(-0.25)
    assert (other.holds, other.word, other.sentence) == (False, "does not hold", "x: −0.25 here (one run)")


def test_zero_is_neither_positive_nor_negative():
    for runs in ((0.0,), (0.0,) * 7):
        assert verdict(*runs).holds is False
        assert verdict(*runs, positive=False).holds is False


def test_every_place_has_to_hold_and_each_run_counts_with_its_weakest():
    """Every place has a positive median, and a negative one stands in every run but one."""
    early, late = np.arange(1, 8) / 10, np.arange(7, 0, -1) / 10
    found = verdict(*zip(early, late, strict=True), places=("early", "late"))
    assert (found.holds, found.statistic, found.interval) == (True, 0.2, (0.1, 0.4))
    assert found.sentence == (
        "x: +0.4 early, +0.4 late; at the weakest place of each run +0.2 "
        "(median of 7 runs, 98.4 % interval +0.1 to +0.4)"
    )
    turned = verdict(*zip(-early, -late, strict=True), places=("early", "late"), positive=False)
    assert (turned.holds, turned.statistic, turned.interval) == (True, -0.2, (-0.4, -0.1))
    assert verdict(*zip(early, late - 0.15, strict=True), places=("early", "late")).holds is False
    assert verdict((0.5, -0.1), places=("early", "late")).sentence == "x: +0.5 early, −0.1 late (one run)"


def test_a_run_that_is_nan_counts_against_and_no_number_is_no_verdict():
    four_of_five = verdict(np.nan, np.nan, np.nan, np.nan, 0.1)
    assert (four_of_five.holds, four_of_five.runs) == (None, 5)
    assert "4 of 5 runs have no number there" in four_of_five.sentence
    six = verdict(*[0.1] * 5, np.nan)
    assert (six.holds, six.interval) == (False, (-np.inf, np.inf))
    assert "1 of 6 runs has no number there" in six.sentence
    nine = verdict(*[0.1] * 8, np.nan)
    assert (nine.holds, nine.interval, nine.runs) == (True, (0.1, 0.1), 9)
    half = verdict(*[(0.1, 0.2)] * 6, (0.1, np.nan), places=("early", "late"))
    assert (half.holds, "1 of 7 runs has no number there" in half.sentence) == (False, True)
    assert verdict(np.nan, np.nan).holds is None
    assert "no run has a number there" in verdict(np.nan).sentence
    assert verdict().holds is None


def test_what_was_a_bootstrap_is_refused_with_what_takes_its_place():
    with pytest.raises(ImportError, match=r"no bootstrap_interval any more: .*`median_interval` gives"):
        from studyrun.plugin import bootstrap_interval  # noqa: F401
