"""Quartiles against numpy, interpolation against its definition, medians over time against their law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from studyrun.errors import TraceError
from studyrun.trace.series import Series, interpolate, on_common_grid

finite = st.floats(-1e6, 1e6)


def series(values):
    values = np.asarray(values, dtype=float)
    return Series(np.arange(values.shape[1], dtype=float), values, "x", "y", "1")


@given(npst.arrays(float, npst.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite))
def test_quartiles_are_numpys(values):
    one = series(values)
    for ours, share in ((one.low, 25), (one.median, 50), (one.high, 75)):
        np.testing.assert_allclose(ours, np.percentile(values, share, axis=0), rtol=1e-12, atol=1e-9)


def test_one_run_is_its_own_quartiles():
    one = series([[1.0, np.nan, np.inf]])
    for ours in (one.low, one.median, one.high):
        np.testing.assert_array_equal(ours, one.values[0])


def test_runs_without_a_number_do_not_count_there():
    many = series([[1.0, np.nan, np.inf], [3.0, np.nan, np.inf], [np.nan, np.nan, 1.0]])
    np.testing.assert_array_equal(many.median, [2.0, np.nan, np.inf])
    np.testing.assert_array_equal(many.known, [2, 0, 3])


def test_medians_between_and_outside_the_grid():
    one = series([[0.0, 2.0, 4.0], [2.0, 4.0, 0.0]])
    np.testing.assert_allclose(one.at([0.5, 1.0, 2.0]), [2.0, 3.0, 2.0])
    np.testing.assert_array_equal(np.isnan(one.at([[-0.1, 2.1]])), [[True, True]])
    assert one.at(1.0) == 3.0


@given(st.lists(finite, min_size=2, max_size=8), st.data())
def test_interpolation_is_numpys_where_all_is_finite(values, data):
    grid = np.array(sorted(data.draw(st.sets(st.integers(-50, 50), min_size=len(values), max_size=len(values)))), float)
    places = np.array(data.draw(st.lists(st.floats(grid[0], grid[-1]), max_size=8)))
    expected = np.interp(places, grid, values)
    np.testing.assert_allclose(interpolate(places, grid, np.array(values)), expected, rtol=1e-9, atol=1e-6)


def test_a_point_that_is_not_finite_spoils_only_its_neighbourhood():
    grid, values = np.arange(5.0), np.array([0.0, 1.0, np.nan, 3.0, 4.0])
    found = interpolate(np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]), grid, values)
    np.testing.assert_array_equal(found, [0.5, 1.0, np.nan, np.nan, np.nan, 3.0, 3.5])


def test_a_single_point_is_met_exactly_and_nowhere_else():
    np.testing.assert_array_equal(interpolate(np.array([1.0, 2.0, 3.0]), np.array([2.0]), np.array([7.0]))[[1]], [7.0])
    assert np.isnan(interpolate(np.array([1.0, 3.0]), np.array([2.0]), np.array([7.0]))).all()


def test_curves_without_a_common_stretch_are_an_error():
    curves = [(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.zeros(2))]
    with pytest.raises(TraceError, match="baseline/loss/train: there is no stretch that every curve reaches"):
        on_common_grid(curves, "baseline/loss/train")


def test_the_mean_over_a_stretch_is_the_integral_of_the_broken_line():
    """Uneven rows: ∫ x dx over [a, b] is (b² − a²)/2, exactly, since a line is what interpolation gives back."""
    x = np.array([0.0, 0.1, 0.2, 1.0, 5.0, 5.5, 8.0])
    one = Series(x, np.stack([x, 2 * x]), "x", "y", "1")
    np.testing.assert_allclose(one.over(0.15, 7.0), [[(0.15 + 7.0) / 2], [0.15 + 7.0]], rtol=1e-12)
    np.testing.assert_allclose(one.over(3.0, 3.0), [[3.0], [6.0]])
    assert np.isnan(one.over(-1.0, 2.0)).all()


@given(st.floats(0.1, 1e3), st.floats(0, 1e3))
def test_fractions_of_a_stretch_reach_both_ends_whatever_the_rounding(length, start):
    x = start + length * np.linspace(0, 1, 7)
    one = Series(x, x[None] ** 2, "x", "y", "1")
    first, length = float(x[0]), float(x[-1] - x[0])
    np.testing.assert_allclose(one.over(first, first + length, (0.0, 1.0))[0], [x[0] ** 2, x[-1] ** 2])
    assert np.isfinite(one.over(first, first + length)).all()


def test_a_running_mean_takes_out_what_alternates_and_keeps_a_line():
    x = np.linspace(0, 10, 101)
    line = Series(x, np.stack([x, 3 - x]), "x", "y", "1")
    np.testing.assert_allclose(line.running_mean(1.0).values, line.values, atol=1e-12)
    zigzag = Series(x, (x + (-1.0) ** np.arange(101))[None], "x", "y", "1")
    smooth = zigzag.running_mean(1.0)
    assert abs(smooth.values[0] - x)[10:-10].max() <= 1 / 9
    assert zigzag.running_mean(0.05) is zigzag


def test_a_running_mean_is_the_mean_of_its_window_and_a_nan_spoils_no_other():
    x = np.sort(np.random.default_rng(1).random(60))
    values = np.random.default_rng(2).random((2, 60))
    values[1, 30] = np.nan
    smooth = Series(x, values, "x", "y", "1").running_mean(0.1).values
    for place in range(60):
        half = min(0.05, x[place] - x[0], x[-1] - x[place]) * (1 + 1e-9)
        window = abs(x - x[place]) <= half
        np.testing.assert_allclose(smooth[0, place], values[0, window].mean(), rtol=1e-12)
        assert np.isnan(smooth[1, place]) == window[30]


def test_the_median_over_a_stretch_weighs_by_x_and_is_deaf_to_a_spike():
    x = np.array([0.0, 1.0, 2.0, 3.0, 7.0])
    series = Series(x, np.array([[1.0, 1.0, 1e6, 2.0, 2.0]]), "x", "y", "")
    # shares by trapezoid weights: 1/2, 1, 1, 5/2, 2 of 7; the upper half begins within the 2s
    assert series.over(0, 7, average="median") == [[2.0]]
    assert series.over(0, 2, average="median") == [[1.0]]
    assert series.over(0, 7)[0, 0] > 1e5


def test_the_median_of_a_run_with_a_nan_is_nan():
    series = Series(np.array([0.0, 1.0, 2.0]), np.array([[1.0, np.nan, 1.0], [1.0, 2.0, 3.0]]), "x", "y", "")
    found = series.over(0, 2, average="median")
    assert np.isnan(found[0, 0])
    assert found[1, 0] == 2.0


def over_time(values, widths=None):
    """The median over the whole stretch, of rows whose distances are `widths`."""
    x = np.concatenate([[0.0], np.cumsum(np.ones(len(values) - 1) if widths is None else widths)])
    return Series(x, np.array([values], dtype=float), "x", "y", "").over(x[0], x[-1], average="median")[0, 0]


def test_a_series_that_alternates_has_its_middle_for_a_median():
    """By trapezoid weights both levels have half of the time, whichever comes first, for any even number of steps."""
    assert over_time([1, -1, 1, -1, 1]) == over_time([-1, 1, -1, 1, -1]) == 0.0
    assert over_time([4, 2, 4, 2, 4, 2, 4]) == 3.0
    assert over_time([4, 2] * 50_000 + [4], widths=np.full(100_000, 0.1)) == 3.0
    assert over_time([1, np.inf, 1, np.inf, 1]) == np.inf
    assert np.isnan(over_time([-np.inf, np.inf, -np.inf]))


values_and_widths = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([-3.0, -0.1, 0.0, 0.1, 2.0, 1e300]) | finite, min_size=n, max_size=n),
        st.lists(st.integers(1, 4), min_size=n - 1, max_size=n - 1),
    )
)


@given(values_and_widths)
def test_negated_data_have_the_negated_median(drawn):
    values, widths = drawn
    assert over_time([-value for value in values], widths) == -over_time(values, widths)


@given(values_and_widths)
def test_the_median_over_time_is_that_of_its_definition(drawn):
    """Each row as many times as it has half widths: the plain median of the long list, which is their midpoint."""
    values, widths = drawn
    times = np.append(widths, 0) + np.append(0, widths)
    long = np.sort(np.repeat(values, times))
    low, high = long[(len(long) - 1) // 2], long[len(long) // 2]
    assert over_time(values, widths) == pytest.approx(low / 2 + high / 2, rel=1e-15)


def test_medians_of_symmetric_noise_that_alternates_take_no_side():
    """Of 2,000 series whose sign swings, as many medians are above zero as below, to within five deviations."""
    random = np.random.default_rng(4)
    swing = (-1.0) ** np.arange(21)
    signs = [np.sign(over_time(random.choice([-1, 1]) * swing * (1 + 0.1 * random.random(21)))) for _ in range(2000)]
    assert abs(np.sum(signs)) < 5 * np.sqrt(2000)
