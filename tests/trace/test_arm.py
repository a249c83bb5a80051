"""Facts of an arm: its fork, its threshold, and where it met that."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import CITES, Law, make_run

from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm") / "run"
    make_run(folder, seed=3, unstarted=True)
    return open_run(folder)


LAW = Law(3, 0.02)


def test_trunk_and_branch_know_their_fork(run):
    trunk, branch, late = run.arms.values()
    assert (trunk.parent, trunk.fork_step, trunk.fork_time, trunk.started) == (None, 0, 0.0, True)
    assert (branch.parent, branch.fork_step, branch.fork_time) == ("baseline", LAW.fork_step(), LAW.fork_time())
    assert (branch.learning_rate, branch.threshold, branch.threshold_quantity) == (0.01, 200.0, "sharpness")
    assert (branch.state, branch.end_reason[:7]) == ("complete", "reached")
    assert (late.started, late.threshold, dict(late.probes)) == (False, None, {})
    assert "never fired" in late.end_reason


def test_probes_know_component_cites_and_words(run):
    probe = run["exit"]["alignment"]
    assert (probe.label, probe.component, probe.figures) == ("alignment", "group_alignment", ())
    assert probe.cites == tuple(CITES)
    assert probe.description == "What alignment measures, in one line."
    assert "cos2" in probe
    assert list(probe) == ["cos2", "influence", "gradient_norm"]


def test_find_goes_by_standard_name(run):
    assert run["exit"].find("sharpness") is run["exit"]["sharpness"]["eigenvalue"]
    assert run["exit"].find("entropy") is None


def test_the_exit_arm_crosses_where_the_law_says(run):
    reach = (LAW.threshold(0.01) - 10) / LAW.slope  # the effective time at which its sharpness meets 2/η
    crossing = run["exit"].crossing()
    assert 0 <= crossing.time - reach < 10 * 0.01  # the first measurement from there on; one every ten steps
    assert crossing.step == LAW.fork_step() + round((crossing.time - LAW.fork_time()) / 0.01)
    assert crossing.value == LAW.sharpness(crossing.time, 0.01)[0]
    assert run["exit"].crossing("sharpness") == crossing
    assert run["exit"].crossing("loss") is None


def test_the_trunk_crosses_at_the_fork(run):
    assert run["baseline"].crossing().step == LAW.fork_step()


def written(folder, values, *, parent="", fork_step=0, threshold=2.0, dims=()):
    """One arm with a quantity `preconditioned` recorded at steps 10, 20, ..."""
    writer = TraceWriter.create(folder / "trace.h5", title="", study="", git_commit="")
    facts = {"parent": parent, "fork_step": fork_step, "threshold": threshold}
    writer.add_arm("arm", {**facts, "threshold_quantity": "preconditioned"})
    writer.add_probe("arm", "p", [Channel("x", "x", dims, standard_name="preconditioned")], {})
    for row, value in enumerate(values, start=1):
        writer.append("arm", "p", 10 * row, 1.0 * row, {"x": value})
    writer.close()
    return open_run(folder)["arm"]


def test_reaching_the_threshold_exactly_is_crossing_it(tmp_path):
    assert written(tmp_path, [1.0, 2.0, 3.0]).crossing() == (20, 2.0, 2.0)


def test_nan_crosses_nothing_and_infinity_does(tmp_path):
    assert written(tmp_path, [np.nan, np.inf]).crossing() == (20, 2.0, np.inf)


def test_a_branch_does_not_cross_at_its_fork(tmp_path):
    arm = written(tmp_path, [5.0, 1.0, 4.0], parent="baseline", fork_step=10)
    assert arm.crossing() == (30, 3.0, 4.0)


def test_only_the_leading_value_counts(tmp_path):
    arm = written(tmp_path, [[1.0, 9.0], [2.5, 0.0]], dims=(Dimension("k", (1, 2)),))
    assert arm.crossing().step == 20


@pytest.mark.parametrize(("values", "threshold"), [([1.0], 2.0), ([9.0], float("nan")), ([], 2.0)])
def test_no_crossing_is_none(tmp_path, values, threshold):
    assert written(tmp_path, values, threshold=threshold).crossing() is None
