"""What a branch gains, condition against condition, on synthetic runs whose gaps are known."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import Law, make_run, make_sweep
from pydantic import ValidationError

from studyrun.registry import Registry
from studyrun.trace.ensemble import Ensemble
from studyrun.trace.reader import open_run

SLOW, FAST = {"optimizer.lr": 0.02}, {"optimizer.lr": 0.025}
INTERPOLATED = 1e-4  # each mean gap, of 0.1, is off by 1e-3 of itself: the parent is read off between its rows
OUTLIERS = {"channel": "by_group", "arm": "exit", "select": {"group": "input_outlier"}}


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    """Six seeds under two learning rates."""
    folder = tmp_path_factory.mktemp("contrast") / "sweep"
    make_sweep(folder, range(6), learning_rates=(0.02, 0.025), steps=340)
    return open_run(folder).ensembles()


def decide(ensembles, **options):
    return Registry().load("claims", "contrast").model_validate(options).decide_all(ensembles)


def mean_gap(ensemble, seed, lr):
    """∫ gap dτ over the exit arm's rows, divided by their length, from the closed form."""
    law = Law(seed, lr)
    run = next(run for run in ensemble.runs if run.overrides["seed"] == seed)
    end = min(run["exit"]["loss"].time[-1], run["baseline"]["loss"].time[-1])
    time = np.linspace(law.fork_time(), end, 20_001)
    return np.mean([law.gap("input_outlier", t, lr / 2) for t in time])


def mean_loss(run):
    """The trunk's training loss by the trapezoid rule, divided by its time."""
    channel = run["baseline"]["loss"]["train"]
    return np.trapezoid(channel.values, channel.time) / channel.time[-1]


def test_statistic_is_the_median_over_seeds_of_the_paired_difference(conditions):
    verdict = decide(conditions, greater=FAST, than=SLOW, **OUTLIERS)
    slow, fast = conditions
    truth = [mean_gap(fast, seed, 0.025) - mean_gap(slow, seed, 0.02) for seed in range(6)]
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(np.median(truth), abs=INTERPOLATED)
    assert (verdict.runs, verdict.interval) == (6, pytest.approx((min(truth), max(truth)), abs=INTERPOLATED))
    assert "optimizer.lr = 0.025 − optimizer.lr = 0.02" in verdict.sentence


def test_turned_round_it_does_not_hold(conditions):
    assert decide(conditions, greater=SLOW, than=FAST, **OUTLIERS).holds is False


def test_seeds_are_paired_by_name_and_not_by_place(conditions):
    slow, fast = conditions
    shuffled = Ensemble(fast.runs[::-1], fast.name, fast.condition)
    given, turned = (decide([slow, other], greater=FAST, than=SLOW, **OUTLIERS) for other in (fast, shuffled))
    assert turned.statistic == given.statistic
    assert turned.interval == given.interval


def test_only_seeds_of_both_conditions_count(conditions):
    slow, fast = conditions
    part = Ensemble(fast.runs[:1], fast.name, fast.condition)
    verdict = decide([slow, part], greater=FAST, than=SLOW, **OUTLIERS)
    assert verdict.runs == 1
    assert verdict.statistic == pytest.approx(mean_gap(fast, 0, 0.025) - mean_gap(slow, 0, 0.02), abs=INTERPOLATED)


def test_the_trunk_is_taken_as_it_is(conditions):
    verdict = decide(conditions, channel="train", arm="baseline", greater=SLOW, than=FAST)
    slow, fast = (np.array([mean_loss(run) for run in ensemble.runs]) for ensemble in conditions)
    assert verdict.statistic == pytest.approx(np.median(slow - fast))


def test_what_is_missing_is_named(conditions):
    nowhere = decide(conditions, greater={"optimizer.lr": 7}, than=SLOW, **OUTLIERS)
    assert nowhere.holds is None
    assert "no run with optimizer.lr = 7 has by_group in exit" in nowhere.sentence
    slow, fast = conditions
    apart = [Ensemble(slow.runs[:1], slow.name, slow.condition), Ensemble(fast.runs[1:], fast.name, fast.condition)]
    assert "no seed was run both" in decide(apart, greater=FAST, than=SLOW, **OUTLIERS).sentence


def test_a_pair_without_a_number_counts_against(conditions, tmp_path):
    slow, fast = conditions
    make_run(tmp_path / "run", seed=5, branches=False, steps=340)
    lacking = Ensemble((*fast.runs[:5], open_run(tmp_path / "run")), fast.name, fast.condition)
    verdict = decide([slow, lacking], greater=FAST, than=SLOW, **OUTLIERS)
    assert (verdict.holds, verdict.runs) == (False, 6)
    assert "1 of 6 runs has no number there" in verdict.sentence


def test_two_runs_of_one_seed_are_no_pair(conditions):
    slow, fast = conditions
    again = Ensemble(fast.runs[2:3], "other", {**fast.condition, "optimizer.momentum": 0.9})
    verdict = decide([slow, fast, again], greater=FAST, than=SLOW, **OUTLIERS)
    assert verdict.holds is None
    assert "2 runs with optimizer.lr = 0.025 have the seed 2 and differ in something else: name that too" in (
        verdict.sentence
    )


def test_an_empty_condition_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        Registry().load("claims", "contrast").model_validate({**OUTLIERS, "greater": {}, "than": SLOW})
