"""The interval for a median over few runs: its ranks against the binomial law, what it covers by simulation."""

from __future__ import annotations

from itertools import product
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from studyrun.component import Verdict
from studyrun.trace.median import OverRuns, median_interval, runs_needed

COUNTS = range(2, 12)
TAILS = {
    "normal": (lambda random, shape: random.standard_normal(shape), 0.0),
    "t, 2 degrees": (lambda random, shape: random.standard_t(2, shape), 0.0),
    "Cauchy": (lambda random, shape: random.standard_cauchy(shape), 0.0),
    "lognormal": (lambda random, shape: random.lognormal(size=shape), 1.0),
    "two clusters": (lambda random, shape: random.choice([-1, 1], shape) + 0.1 * random.standard_normal(shape), 0.0),
}


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [*range(1, 16), 40, 101])
def test_ranks_and_coverage_are_those_of_the_binomial_law(count: int, level: float) -> None:
    """P(X_(k) ≤ median ≤ X_(n+1−k)) = P(k ≤ B ≤ n − k) with B of n coins; the largest k that reaches the level."""
    law = binom(count, 0.5)
    reach = {k: law.cdf(count - k) - law.cdf(k - 1) for k in range(1, count // 2 + 1)}
    best = max((k for k, coverage in reach.items() if coverage >= level), default=None)
    found = median_interval(np.random.default_rng(count).permutation(count) + 1, level)
    if best is None:
        assert found is None
    else:
        assert found == (best, count + 1 - best, pytest.approx(reach[best], rel=1e-12))


def test_six_runs_are_needed_for_95_percent() -> None:
    assert (runs_needed(), runs_needed(0.5), runs_needed(0.99)) == (6, 2, 8)
    assert median_interval(range(5)) is None
    assert median_interval(range(6)) == (0, 5, 1 - 2 / 64)
    assert median_interval([]) is None


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("count", COUNTS)
def test_what_is_printed_is_what_is_covered(count: int, tail: str) -> None:
    """100,000 samples: the share has a deviation below 0.002, and what is printed is within 0.01 of it.

    The interval takes the same places of any sorted sample, which the first of these are asked for.
    """
    draw, truth = TAILS[tail]
    samples = np.sort(draw(np.random.default_rng(count), (100_000, count)), axis=1)
    found = median_interval(samples[0])
    if found is None:
        assert count < 6
        return
    low, high = (int(np.flatnonzero(samples[0] == end)[0]) for end in found[:2])
    assert median_interval(samples[1])[:2] == (samples[1, low], samples[1, high])
    covered = ((samples[:, low] <= truth) & (truth <= samples[:, high])).mean()
    assert covered == pytest.approx(found.coverage, abs=0.01)
    assert f"{100 * found.coverage:.1f} % interval" in OverRuns.of(samples[0]).words()


@pytest.mark.parametrize("tail", ["normal", "two clusters"])
@pytest.mark.parametrize("count", COUNTS)
def test_a_claim_about_a_true_zero_holds_no_more_often_than_stated(count: int, tail: str) -> None:
    """One end errs half as often as both: of 1,500 claims five deviations more; of too few runs none."""
    draw, truth = TAILS[tail]
    samples = draw(np.random.default_rng(count), (1500, count)) - truth
    verdicts = [Verdict.on_sign(list(sample[:, None]), "x", ["here"]) for sample in samples]
    held = np.mean([verdict.holds is True for verdict in verdicts])
    if count < 6:
        assert held == 0
        assert {verdict.holds for verdict in verdicts} == {None}
        return
    stated = (1 - verdicts[0].coverage) / 2
    assert held <= stated + 5 * np.sqrt(stated / 1500)


@given(st.lists(st.floats(-10, 10) | st.just(nan), min_size=6, max_size=11), st.data())
def test_a_run_without_a_number_may_be_any(numbers, data) -> None:
    """Whatever stood in the place of each NaN, the interval would lie within the one that is given."""
    filled = [data.draw(st.floats(-20, 20)) if np.isnan(one) else one for one in numbers]
    given, whole = median_interval(numbers), median_interval(filled)
    assert given.low <= whole.low <= whole.high <= given.high
    assert given.coverage == whole.coverage


def test_of_six_one_without_a_number_leaves_nothing_known_of_nine_it_does_not() -> None:
    assert median_interval([1, 2, 3, 4, 5, nan])[:2] == (-inf, inf)
    assert median_interval([1, 2, 3, 4, 5, 6, 7, 8, nan])[:2] == (1, 8)


def test_an_interval_decides_where_both_its_ends_lie() -> None:
    for low, high in product((-1.0, 1.0), repeat=2):
        numbers = [low, *[0.0] * 4, high]
        assert OverRuns.of(numbers).lie(lambda one: abs(one) < 0.5) is False
    assert OverRuns.of([0.1] * 6).lie(lambda one: one > 0) is True
    assert OverRuns.of([0.1] * 5).lie(lambda one: one > 0) is None
    assert OverRuns.of([0.1]).lie(lambda one: one > 0) is True
    assert OverRuns.of([nan]).lie(lambda one: True) is None


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([1], "one run"),
        ([1, 2, 3], "median of 3 runs; too few runs to say: 3 of at least 6"),
        ([1, 2, 3, 4, 5, nan], "median of 5 runs, 96.9 % interval −∞ to ∞; 1 of 6 runs has no number there"),
        ([-1, -2, -3, -4, -5, -0.5, -7], "median of 7 runs, 98.4 % interval −7 to −0.5"),
        ([nan, nan, nan, nan, 0.1], "one run; too few runs to say: 5 of at least 6; 4 of 5 runs have no number there"),
    ],
)
def test_words(numbers, words) -> None:
    assert OverRuns.of(numbers).words() == words
