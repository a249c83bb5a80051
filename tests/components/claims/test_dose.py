"""Dose and response on traces whose response is planted."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import make_run

from studyrun.registry import Registry
from studyrun.trace.channel import Channel
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

FORK, LENGTH = 2.0, 4.0


def planted(folder, response, seed=0, rates=(0.9, 0.5, 0.1)):
    """A trunk at η = 0.1 with loss τ, and branches that lie above it by `response(dose, since)`."""
    make_run(folder, seed=seed, branches=False, steps=200)  # a run folder around the trace
    (folder / "trace.h5").unlink()
    with TraceWriter.create(folder / "trace.h5", title="t", study="title: t\n", git_commit="") as writer:
        for name, share in [("baseline", 1.0), *((f"exit_{place}", rate) for place, rate in enumerate(rates))]:
            parent = "" if name == "baseline" else "baseline"
            lr, start = 0.1 * share, FORK if parent else 0.0
            facts = {"parent": parent, "fork_step": round(start / 0.1), "fork_time": start, "learning_rate": lr}
            writer.add_arm(name, {**facts, "state": "complete", "threshold": 2 / lr, "threshold_quantity": "sharpness"})
            writer.add_probe(name, "loss", [Channel("train", "loss")], {"component": "loss"})
            for step, time in enumerate(np.linspace(start, FORK + LENGTH, 201)):
                extra = response(1 - share, time - FORK) if parent else 0.0
                writer.append(name, "loss", step, float(time), {"train": np.array(time + extra)})
    return open_run(folder)


def decide(ensemble, **options):
    options = {"channel": "train", "sign": "positive", **options}
    return Registry().load("claims", "dose").model_validate(options).decide(ensemble)


def test_slope_is_that_of_a_linear_response(tmp_path):
    run = planted(tmp_path / "run", lambda dose, since: 3 * dose * since)
    verdict = decide(for_run(run))
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(3 * LENGTH / 2, rel=1e-6)  # the mean of since is LENGTH / 2
    assert "3 of 3 steps from dose to dose" in verdict.sentence
    assert verdict.interval is None
    assert decide(for_run(run), window=(0.5, 1.0)).statistic == pytest.approx(3 * LENGTH * 0.75, rel=1e-6)
    assert decide(for_run(run), sign="negative").holds is False


def test_the_median_over_time_is_deaf_to_a_spike(tmp_path):
    run = planted(tmp_path / "run", lambda dose, since: dose - (1e4 * dose if abs(since - 2) < 0.03 else 0))
    assert decide(for_run(run)).holds is False
    assert decide(for_run(run), average="median").statistic == pytest.approx(1.0, rel=1e-6)


def test_a_response_that_turns_is_counted(tmp_path):
    run = planted(tmp_path / "run", lambda dose, since: 1.0 if dose < 0.3 else 0.4)
    assert "1 of 3 steps" in decide(for_run(run)).sentence


def test_over_seeds_the_interval_has_to_exclude_zero(tmp_path):
    slopes = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -3.0)
    runs = [planted(tmp_path / f"{s}", lambda dose, since, s=s: s * dose) for s in slopes]
    verdict = decide(Ensemble(tuple(runs)))
    assert verdict.statistic == pytest.approx(3.0, rel=1e-6)
    assert verdict.interval == pytest.approx((-3.0, 6.0), rel=1e-6)
    assert verdict.holds is False
    assert decide(Ensemble(tuple(runs[:6]))).holds is True
    assert decide(Ensemble(tuple(runs[:2]))).holds is None


def test_a_run_with_a_nan_counts_against_whichever_branch_has_it(tmp_path):
    def response(dose, since, at):
        return np.nan if abs(dose - at) < 1e-9 else dose

    places = enumerate([7.0] * 6 + [0.5])
    runs = [planted(tmp_path / f"{run}", lambda dose, since, at=at: response(dose, since, at)) for run, at in places]
    verdict = decide(Ensemble(tuple(runs)))
    assert (verdict.holds, verdict.runs, verdict.interval) == (False, 7, (-np.inf, np.inf))
    assert "1 of 7 runs has no number there" in verdict.sentence
    assert "(19 of 19 steps from dose to dose go that way)" in verdict.sentence  # 6 · 3, and to 0.1 in the seventh
    assert decide(for_run(runs[-1])).holds is None


def test_a_dose_of_zero_is_a_control_and_no_step(tmp_path):
    """A branch at its trunk's own rate equals it, and the steps are those between doses that differ."""
    run = planted(tmp_path / "run", lambda dose, since: 3 * dose, rates=(1.0, 0.9, 0.5, 0.1))
    verdict = decide(for_run(run))
    assert verdict.holds is True
    assert verdict.statistic == pytest.approx(3.0, rel=1e-6)
    assert "3 of 3 steps from dose to dose" in verdict.sentence
    none = decide(for_run(planted(tmp_path / "none", lambda dose, since: 0.0, rates=(1.0, 0.1 + 0.9))))
    assert none.holds is None
    assert "no run has a number there" in none.sentence


def test_one_branch_is_no_dose(tmp_path):
    run = planted(tmp_path / "run", lambda dose, since: dose, rates=(0.5,))
    verdict = decide(for_run(run))
    assert verdict.holds is None
    assert "1 branches of 'baseline' started" in verdict.sentence
