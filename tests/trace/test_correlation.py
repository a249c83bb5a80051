"""Spearman's ρ against scipy and closed forms, the coverage of its interval, and examples paired across probes."""

from __future__ import annotations

from math import asin, atanh, nan, pi, sqrt, tanh

import numpy as np
import pytest
from oracles.planted_examples import cos2, distances, plant
from oracles.synthetic_run import EXAMPLES, make_run, make_sweep
from scipy.stats import spearmanr

from studyrun.errors import TraceError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.correlation import (
    Pairs,
    Source,
    has_examples,
    locate_examples,
    pair_examples,
    rank_correlation,
    series_of_examples,
)
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

COS2, DISTANCE = Source("examples", "cos2"), Source("centroid_distance", "distance")


def rising(arm, time):
    return 0.5


def test_rho_is_scipys_with_ties_and_without_the_pairs_that_have_a_nan() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 8, 200).astype(float), random.standard_normal(200)
    y += 0.3 * x
    whole = spearmanr(x, y).statistic
    assert rank_correlation(x, y).rho == pytest.approx(whole, rel=1e-14)
    x[3], y[7], y[3] = nan, nan, nan
    known = np.isfinite(x) & np.isfinite(y)
    found = rank_correlation(x, y)
    assert found.rho == pytest.approx(spearmanr(x[known], y[known]).statistic, rel=1e-14)
    assert found.rho != whole
    assert found.pairs == 198


def test_ties_share_their_mean_rank() -> None:
    """Ranks by hand: x has 1, 2.5, 2.5, 4 and y 1, 2, 3, 4; ρ is Pearson's of the ranks, 4.5 / √(4.5 · 5)."""
    assert rank_correlation([1, 5, 5, 9], [1, 2, 3, 4]).rho == pytest.approx(4.5 / sqrt(4.5 * 5), rel=1e-14)


def test_the_interval_is_that_of_the_formula() -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal(40)
    found = rank_correlation(x, x + random.standard_normal(40))
    half = 1.959963984540054 * sqrt((1 + found.rho**2 / 2) / 37)
    assert found.low == pytest.approx(tanh(atanh(found.rho) - half), rel=1e-12)
    assert found.high == pytest.approx(tanh(atanh(found.rho) + half), rel=1e-12)


@pytest.mark.parametrize(("pearson", "n"), [(0.0, 10), (0.9, 10), (0.0, 30), (0.4, 100), (-0.7, 60), (0.9, 400)])
def test_the_interval_covers_the_populations_rho_as_often_as_it_says(pearson: float, n: int) -> None:
    """Of a bivariate normal ρ_s = (6/π) asin(r/2). 2,000 draws: the share has a deviation of 0.005; four of them, and
    0.01 for what the approximation itself is off by.
    """
    random, truth = np.random.default_rng(2), 6 / pi * asin(pearson / 2)
    x = random.standard_normal((2000, n))
    y = pearson * x + sqrt(1 - pearson**2) * random.standard_normal((2000, n))
    found = [rank_correlation(*pair) for pair in zip(x, y, strict=True)]
    assert np.mean([one.low <= truth <= one.high for one in found]) == pytest.approx(0.95, abs=0.03)


def test_perfect_order_and_orders_without_evidence() -> None:
    assert rank_correlation(range(10), np.exp2(range(10)))[:3] == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)
    assert rank_correlation(range(9), range(9)) == (1.0, -1.0, 1.0, 9)
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]).rho == pytest.approx(-1.0, abs=1e-12)
    assert rank_correlation([1, 2, 3], [1, 3, 2])[1:] == (-1.0, 1.0, 3)
    for first in ([1.0], [2.0, 2.0, 2.0], []):
        found = rank_correlation(first, np.arange(len(first)))
        assert np.isnan(found[:3]).all()
        assert found.pairs == len(first)


@pytest.fixture
def ensemble(tmp_path):
    make_run(tmp_path / "run", steps=340)
    return plant(tmp_path / "run", rising)


def test_what_was_recorded_once_stands_for_every_moment_also_in_a_branch(ensemble) -> None:
    for arm in ("baseline", "exit"):
        pairs, rows = pair_examples(ensemble.run, arm, DISTANCE, COS2), ensemble.run[arm]["examples"]
        np.testing.assert_array_equal(pairs.step, rows.step)
        np.testing.assert_array_equal(pairs.time, rows.time)
        for row, step in enumerate(pairs.step):
            np.testing.assert_array_equal(pairs.first[row], distances())
            np.testing.assert_array_equal(pairs.second[row], cos2(0.5, 0, step))
            assert pairs.correlation(row).rho == pytest.approx(spearmanr(distances(), cos2(0.5, 0, step)).statistic)
        assert pairs.correlations().shape == (3, len(rows.step))
        assert pairs.correlations()[1, 2] == pairs.correlation(2).low
    turned = pair_examples(ensemble.run, "exit", COS2, DISTANCE)
    np.testing.assert_array_equal(turned.first, pairs.second)
    assert turned.first_label == pairs.second_label == "alignment with v1 cos²"


def test_two_that_change_meet_at_equal_steps(ensemble) -> None:
    """The losses stand at every 50th step, the alignments at every 20th: they meet at every 100th."""
    pairs = pair_examples(ensemble.run, "baseline", Source("per_example_loss", "loss"), COS2)
    np.testing.assert_array_equal(pairs.step, [0, 100, 200, 300])
    losses = ensemble.run["baseline"]["per_example_loss"]
    np.testing.assert_array_equal(pairs.first[2], losses["loss"].select(step=200))
    np.testing.assert_array_equal(pairs.second[2], cos2(0.5, 0, 200))


def test_examples_are_paired_by_their_labels(ensemble, tmp_path) -> None:
    some = (Dimension("example", (7, 3, 50, EXAMPLES + 5)),)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.add_probe("baseline", "some", [Channel("number", "a number of some", some)], {"component": "x"})
        writer.append("baseline", "some", 40, 0.8, {"number": np.array([7.0, 3.0, 50.0, 65.0])})
    pairs = pair_examples(open_run(tmp_path / "run"), "baseline", Source("some", "number"), DISTANCE)
    assert sorted(pairs.first[0]) == [3, 7, 50]
    np.testing.assert_array_equal(pairs.second[0], distances()[pairs.first[0].astype(int)])


def test_what_cannot_be_paired_is_named(ensemble) -> None:
    run = ensemble.run
    with pytest.raises(TraceError, match="has not recorded centroid_distance/nothing in exit"):
        pair_examples(run, "exit", COS2, Source("centroid_distance", "nothing"))
    with pytest.raises(TraceError, match="sharpness/eigenvalue is no number by example: its dimensions are step, k"):
        pair_examples(run, "exit", COS2, Source("sharpness", "eigenvalue"))
    assert not has_examples(run, "exit", Source("centroid_distance", "nothing"))
    assert not has_examples(run, "no such arm", COS2)
    assert has_examples(run, "exit", COS2, DISTANCE)


def test_a_probe_by_example_is_found_among_others_that_record_a_channel_of_that_name(ensemble) -> None:
    assert locate_examples(ensemble, "per_example_alignment", "cos2") == COS2
    assert locate_examples(ensemble, "", "distance") == DISTANCE
    with pytest.raises(TraceError, match=r"no probe recorded eigenvalue by example .*per_example_loss: loss"):
        locate_examples(ensemble, "sharpness", "eigenvalue")
    with pytest.raises(TraceError, match="no probe 'alignment' recorded cos2 by example"):
        locate_examples(ensemble, "", "cos2", "alignment")


def test_a_missing_probe_is_asked_for(tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    ensemble = for_run(open_run(tmp_path / "run"))
    with pytest.raises(TraceError, match=r"per_example_loss: loss\); add the probe centroid_distance"):
        locate_examples(ensemble, "centroid_distance", "distance")


def test_series_hold_a_row_for_each_run_that_has_the_numbers(tmp_path) -> None:
    make_sweep(tmp_path / "sweep", (0, 7, 14), steps=340)
    for seed in (0, 7):
        plant(tmp_path / "sweep" / f"seed-{seed}", rising, seed)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    rho, low, high = series_of_examples(ensemble, "exit", DISTANCE, COS2, "time", Pairs.correlations)
    assert rho.count == 2
    assert (low.values < rho.values).all()
    assert (rho.values < high.values).all()
    for row, seed in enumerate((0, 7)):
        step = int(ensemble.runs[row]["exit"]["examples"].step[4])
        expected = spearmanr(distances(seed), cos2(0.5, seed, step)).statistic
        assert rho.values[row, 4] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TraceError, match="no run has recorded centroid_distance/nothing"):
        series_of_examples(ensemble, "exit", Source("centroid_distance", "nothing"), COS2, "time", Pairs.correlations)
