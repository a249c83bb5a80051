"""What arms did, over all runs: forks, crossings, ends."""

from __future__ import annotations

import pytest
from oracles.synthetic_run import Law, make_run, make_sweep

from studyrun.report.arms import Moments, arm_facts, fork_marks
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run

LAW = Law(0, 0.02)


def facts_of(ensemble):
    return {fact.name: fact for fact in arm_facts(ensemble)}


@pytest.fixture
def lone(tmp_path):
    make_run(tmp_path / "run", unstarted=True)
    return for_run(open_run(tmp_path / "run"))


def test_a_fork_at_the_edge_is_where_the_parent_met_its_threshold(lone):
    facts = facts_of(lone)
    assert list(facts) == ["baseline", "exit", "late"]
    assert facts["exit"].edge
    assert facts["baseline"].crossing == facts["exit"].fork == Moments((LAW.fork_step(),), (LAW.fork_time(),))
    assert not facts["late"].started
    assert facts["late"].endings.startswith("its trigger never fired")


def test_early_curvature_above_the_threshold_is_not_t_star(lone):
    """Sharpness may start above the threshold and fall; the trigger looks later, and so does the report."""
    channel = lone.run["baseline"]["sharpness"]["eigenvalue"]
    channel.__dict__["values"] = channel.values.copy()
    channel.values[0] = 500.0
    assert lone.run["baseline"].crossing().step == 0
    assert facts_of(lone)["baseline"].crossing.steps == (LAW.fork_step(),)


def test_marks_are_t_star_and_t_two_star(lone):
    first, second = fork_marks(lone, "time")
    assert (first.symbol, first.arm, first.at, first.spread) == ("t*", "baseline", LAW.fork_time(), None)
    assert (second.symbol, second.arm) == ("t**", "exit")
    assert second.at == lone.run["exit"].crossing().time
    assert fork_marks(lone, "step")[0].at == LAW.fork_step()


def test_a_fork_for_another_reason_is_called_a_fork(lone):
    lone.run["exit"].attributes["trigger_threshold"] = 12.0
    symbols = {mark.symbol: mark.arm for mark in fork_marks(lone, "time")}
    assert symbols == {"t*": "baseline", "fork": "exit", "t**": "exit"}


def test_over_seeds_marks_lie_at_the_median_with_the_quartiles(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1, 2), steps=400)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    mark = fork_marks(ensemble, "time")[-1]
    times = sorted(crossing.time for crossing in ensemble.crossings("exit"))
    assert mark.at == times[1]
    assert mark.spread == (pytest.approx((times[0] + times[1]) / 2), pytest.approx((times[1] + times[2]) / 2))
    assert "the median of 3 runs" in mark.words


def test_states_and_endings_of_many_runs_are_counted(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1, 2, 3, 4), steps=160, branches=False)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    for n, run in enumerate(ensemble.runs):
        run["baseline"].attributes["end_reason"] = f"reason {n}"
    ensemble.runs[4]["baseline"].attributes["state"] = "diverged"
    fact = facts_of(ensemble)["baseline"]
    assert fact.state == "4 × complete, 1 × diverged"
    assert fact.endings == "reason 0; reason 1; reason 2; and 2 more"
