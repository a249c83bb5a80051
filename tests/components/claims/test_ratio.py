"""Ratios of planted numbers: their median, its interval, the share near it, and what cannot be a pair."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from oracles.planted import Planted, plant, together
from pydantic import ValidationError

from studyrun.registry import Registry
from studyrun.trace.channel import Channel, Dimension

GROUP = Dimension("group", ("inlier", "boundary"))
PROBES = MappingProxyType(
    {
        "coupling": [
            Channel("coupling_squared", "coupling", (GROUP,), nan="none"),
            Channel("influence", "influence", (GROUP,), nan="none"),
        ],
        "elsewhere": [Channel("size", "size", (GROUP,))],
        "alone": [Channel("single", "one number")],
    }
)
SQUARED = MappingProxyType({"channel": "coupling_squared", "over": "influence"})


def run(folder: Path, factors: np.ndarray, **further: Planted):
    """Q² = factor · C at the steps 0, 10, ..., one factor for each step and group."""
    influence = np.exp(np.random.default_rng(0).normal(size=factors.shape))
    rows = {
        10 * place: {"coupling_squared": factors[place] * influence[place], "influence": influence[place]}
        for place in range(len(factors))
    }
    sizes = {5 * place: {"size": [place + 1.0, 2.0 * place + 2]} for place in range(2 * len(factors))}
    readings = {"coupling": rows, "elsewhere": sizes, "alone": {0: {"single": 1.0}}}
    return plant(folder, PROBES, {"baseline": Planted(readings)} | further)


@pytest.fixture
def factors() -> np.ndarray:
    """Six ratios with the median 400; four of them within a factor 2 of it, five within 4."""
    return np.array([[10.0, 250.0], [390.0, 410.0], [799.0, 1500.0]])


def test_the_median_ratio_lies_within_its_bounds(decide, tmp_path, factors) -> None:
    ensemble = together(run(tmp_path / "run", factors))
    verdict = decide("ratio", ensemble, at_least=399, at_most=401, **SQUARED)
    assert (verdict.holds, verdict.statistic, verdict.interval, verdict.runs) == (True, pytest.approx(400), None, 1)
    assert (
        verdict.sentence
        == "coupling_squared / influence in baseline: median ratio 400 (one run: seen once) over 6 pairs"
    )
    assert decide("ratio", ensemble, at_least=401, **SQUARED).holds is False
    assert decide("ratio", ensemble, at_most=399, **SQUARED).holds is False


def test_the_share_of_pairs_near_the_median_is_counted_up_and_down(decide, tmp_path, factors) -> None:
    ensemble = together(run(tmp_path / "run", factors))
    assert decide("ratio", ensemble, within=2, share=4 / 6, **SQUARED).holds is True
    assert decide("ratio", ensemble, within=2, share=0.7, **SQUARED).holds is False
    assert decide("ratio", ensemble, within=4, share=5 / 6, **SQUARED).holds is True
    verdict = decide("ratio", ensemble, within=2, **SQUARED)
    assert verdict.sentence.endswith("over 6 pairs; 67% lie within a factor 2 of it")


def test_a_factor_is_met_at_its_very_edge(decide, tmp_path) -> None:
    ensemble = together(run(tmp_path / "run", np.array([[1.0, 3.0], [9.0, 3.0]])))
    assert decide("ratio", ensemble, within=3, share=1.0, **SQUARED).holds is True
    assert decide("ratio", ensemble, within=2.999, share=1.0, **SQUARED).holds is False


def test_zeros_and_nans_are_left_out_and_counted(decide, tmp_path, factors) -> None:
    factors[0, 0], factors[2, 1] = 0.0, np.nan
    verdict = decide("ratio", together(run(tmp_path / "run", factors)), within=2, **SQUARED)
    assert verdict.statistic == pytest.approx(np.median([250, 390, 410, 799]))
    assert "over 4 pairs; 2 with a zero or NaN left out; 100% lie" in verdict.sentence
    nothing = decide("ratio", together(run(tmp_path / "nothing", 0 * factors)), within=2, **SQUARED)
    assert (nothing.holds, nothing.runs) == (None, 0)
    assert "no run has a pair of numbers; 6 with a zero or NaN left out" in nothing.sentence


def test_over_seeds_the_whole_interval_has_to_lie_within(decide, tmp_path) -> None:
    runs = [run(tmp_path / str(place), np.full((2, 2), ratio)) for place, ratio in enumerate(range(97, 104))]
    verdict = decide("ratio", together(*runs), at_least=96.9, at_most=103.1, **SQUARED)
    assert (verdict.holds, verdict.statistic, verdict.runs) == (True, pytest.approx(100), 7)
    assert (verdict.interval, verdict.coverage) == (pytest.approx((97, 103)), 1 - 2 / 128)
    assert "median ratio 100 (median of 7 runs, 98.4 % interval 97 to 103) over 28 pairs" in verdict.sentence
    assert decide("ratio", together(*runs), at_least=98, **SQUARED).holds is False
    assert decide("ratio", together(*runs[:5]), at_least=1, **SQUARED).holds is None
    # within each run the ratios are all alike, whatever the runs' medians
    verdict = decide("ratio", together(*runs), within=1.001, share=1.0, **SQUARED)
    assert verdict.holds is True
    assert verdict.sentence.endswith("; 100% lie within a factor 1.001 of it, in 100% to 100% by the same interval")
    mixed = run(tmp_path / "mixed", np.array([[50.0, 100.0], [100.0, 400.0]]))
    assert decide("ratio", together(*runs, mixed), within=1.001, share=1.0, **SQUARED).holds is False
    none = run(tmp_path / "none", np.full((2, 2), np.nan))
    against = decide("ratio", together(*runs, none), at_least=1, **SQUARED)
    assert (against.holds, against.runs) == (False, 8)
    assert "1 of 8 runs has no number there" in against.sentence


def test_two_probes_meet_at_the_steps_of_both(decide, tmp_path) -> None:
    """Sizes s + 1 and 2 s + 2 at step 5 s; at the steps of C these are 1, 3, 5, ... and twice that."""
    ensemble = together(run(tmp_path / "run", np.ones((3, 2))))
    select = {"select": {"group": "boundary"}, "over_select": {"group": "inlier"}}
    verdict = decide("ratio", ensemble, channel="size", at_least=2, at_most=2, **select)
    assert (verdict.holds, verdict.statistic) == (True, 2.0)
    assert verdict.sentence.startswith(
        "size of boundary / size of inlier in baseline: median ratio 2 (one run: seen once) over 6 "
    )
    verdict = decide("ratio", ensemble, channel="size", over="influence", select={"group": "inlier"}, at_least=0)
    influence = ensemble.run["baseline"]["coupling"]["influence"].values[:, 0]
    assert verdict.statistic == pytest.approx(np.median([1, 3, 5] / influence))
    assert "over 3 pairs" in verdict.sentence


def test_two_arms_meet_at_equal_effective_time(decide, tmp_path) -> None:
    """The branch has half the learning rate: its step 10 + 2 s has the effective time of the trunk's 10 + s."""
    sizes = {10 + step: {"size": [3 * (1 + (10 + step / 2) / 5), 1.0]} for step in (0, 3, 6, 40)}
    branch = Planted({"elsewhere": sizes}, "baseline", 10, 0.05)
    ensemble = together(run(tmp_path / "run", np.ones((3, 2)), exit=branch))
    options = {"channel": "size", "arm": "exit", "over_arm": "baseline", "select": {"group": "inlier"}}
    verdict = decide("ratio", ensemble, at_least=3 - 1e-9, within=1 + 1e-9, share=1.0, **options)
    assert (verdict.holds, verdict.statistic) == (True, pytest.approx(3))
    assert verdict.sentence.startswith("size of inlier in exit / size of inlier in baseline: median ratio 3")
    assert "over 3 pairs" in verdict.sentence  # the last row lies beyond the trunk's end


def test_only_the_window_counts(decide, tmp_path, factors) -> None:
    ensemble = together(run(tmp_path / "run", factors))
    assert decide("ratio", ensemble, window=[0.5, 1], at_least=0, **SQUARED).statistic == pytest.approx(
        np.median(factors[1:])
    )
    never = decide("ratio", ensemble, since="edge", at_least=0, **SQUARED)
    assert never.holds is None


def test_since_the_edge_counts_from_the_arms_crossing(decide, lone) -> None:
    verdict = decide("ratio", lone, channel="influence", over="gradient_norm", since="edge", at_least=0)
    probe, met = lone.run["baseline"]["alignment"], lone.run["baseline"].crossing().time
    late = probe.time >= met
    assert 0 < late.sum() < len(late)
    truth = probe["influence"].values[late] / probe["gradient_norm"].values[late]
    assert verdict.statistic == pytest.approx(np.median(truth))


def test_what_cannot_be_a_pair_cannot_be_decided(decide, tmp_path, factors) -> None:
    ensemble = together(run(tmp_path / "run", factors))
    verdict = decide("ratio", ensemble, channel="influence", over="single", at_least=1)
    assert verdict.holds is None
    assert "influence leaves open: group; single: none; select labels until both are alike" in verdict.sentence
    late = decide("ratio", ensemble, channel="size", over_arm="late", at_least=1)
    assert "no run has an arm 'late' that started" in late.sentence


def test_a_ratio_that_claims_nothing_or_is_one_by_itself_is_refused() -> None:
    ratio = Registry().load("claims", "ratio")
    with pytest.raises(ValidationError, match="a ratio claims at_least, at_most or within: name one of them"):
        ratio.model_validate(dict(SQUARED))
    with pytest.raises(ValidationError, match="a ratio of a number to itself is 1"):
        ratio.model_validate({"channel": "influence", "at_least": 1})
