"""Arms compared at equal effective time, and runs of one condition seen together, against answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.synthetic_run import GROUPS, make_run, make_sweep

from studyrun.errors import TraceError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

FORK = 2.0


def recorded(folder, arms, *, fork=FORK):
    """A run whose arms recorded, under the label `p`, the channel `x` of values f(time) at the given times."""
    folder.mkdir(parents=True)
    with TraceWriter.create(folder / "trace.h5", title="", study="", git_commit="") as writer:
        for name, (times, law) in arms.items():
            facts = (
                {"parent": "", "fork_time": 0.0} if name == "baseline" else {"parent": "baseline", "fork_time": fork}
            )
            writer.add_arm(name, {**facts, "fork_step": 0, "state": "complete"})
            writer.add_probe(name, "p", [Channel("x", "loss", symbol="ℓ", units="loss")], {})
            for step, time in enumerate(times):
                writer.append(name, "p", step, time, {"x": law(time)})
    return open_run(folder)


def grid(start, end, by):
    return start + by * np.arange(round((end - start) / by) + 1)


def test_difference_is_arm_minus_reference_at_the_arms_own_times(tmp_path):
    """The arm runs at half the learning rate; a line is what linear interpolation gives back exactly."""
    arms = {"baseline": (grid(0, 6, 0.5), lambda t: 3 * t + 1), "exit": (grid(FORK, 6, 0.25), lambda t: t**2)}
    delta = for_run(recorded(tmp_path / "run", arms)).difference("exit", "baseline", "p", "x")
    assert delta.x.tolist() == grid(FORK, 6, 0.25).tolist()
    np.testing.assert_allclose(delta.values, [delta.x**2 - (3 * delta.x + 1)], rtol=1e-14)
    assert (delta.y_label, delta.x_label, delta.units) == (
        "Δ loss, exit − baseline [loss]",
        "effective time Σ η",
        "loss",
    )


def test_a_piecewise_linear_reference_is_met_between_its_rows(tmp_path):
    """A reference recorded only at its corners: |t − 4| on 0, 4, 8."""
    arms = {"baseline": (np.array([0.0, 4.0, 8.0]), lambda t: abs(t - 4)), "exit": (grid(FORK, 8, 0.5), lambda t: 0.0)}
    delta = for_run(recorded(tmp_path / "run", arms)).difference("exit", "baseline", "p", "x")
    np.testing.assert_allclose(delta.values[0], -abs(delta.x - 4), atol=1e-14)


def test_difference_changes_sign_and_grid_with_the_order_of_the_arms(tmp_path):
    arms = {"baseline": (grid(0, 6, 0.5), lambda t: 3 * t + 1), "exit": (grid(FORK, 6, 0.25), lambda t: 5 * t)}
    ensemble = for_run(recorded(tmp_path / "run", arms))
    there, back = (ensemble.difference(*pair, "p", "x") for pair in (("exit", "baseline"), ("baseline", "exit")))
    assert back.x.tolist() == grid(FORK, 6, 0.5).tolist()  # from the fork on, although the baseline began at 0
    np.testing.assert_allclose(back.median, -there.at(back.x), rtol=1e-14)


def test_difference_ends_where_the_shorter_arm_ends(tmp_path):
    arms = {"baseline": (grid(0, 4, 0.5), lambda t: 0.0), "exit": (grid(FORK, 9, 0.25), lambda t: 1.0)}
    delta = for_run(recorded(tmp_path / "run", arms)).difference("exit", "baseline", "p", "x")
    assert delta.x[[0, -1]].tolist() == [FORK, 4.0]


def test_equal_step_would_give_another_answer(tmp_path):
    """The same function of effective time in both arms differs by nothing, although no two steps agree."""
    arms = {"baseline": (grid(0, 6, 0.5), lambda t: 7 * t), "exit": (grid(FORK, 6, 0.125), lambda t: 7 * t)}
    delta = for_run(recorded(tmp_path / "run", arms)).difference("exit", "baseline", "p", "x")
    np.testing.assert_allclose(delta.values, 0.0, atol=1e-13)


def test_group_differences_follow_the_law_of_the_run(tmp_path):
    """Δℓ_k of the closed form; the error of linear interpolation is at most h² max|f''| / 8 = 0.02² · 0.4 / 8."""
    law = make_run(tmp_path / "run", seed=2)
    ensemble = for_run(open_run(tmp_path / "run"))
    for group in GROUPS:
        delta = ensemble.difference("exit", "baseline", "loss", "by_group", select={"group": group})
        expected = [law.gap(group, time, 0.01) for time in delta.x]
        np.testing.assert_allclose(delta.median, expected, atol=2e-5)
    assert delta.x[0] == law.fork_time()


def test_runs_at_the_same_times_keep_their_exact_rows(tmp_path):
    random = np.random.default_rng(0)
    values = random.random((3, 13))
    runs = tuple(
        recorded(tmp_path / f"{n}", {"baseline": (grid(0, 6, 0.5), lambda t, row=row: row[round(t / 0.5)])})
        for n, row in enumerate(values)
    )
    series = Ensemble(runs).series("baseline", "p", "x")
    np.testing.assert_array_equal(series.values, values)
    assert (series.count, series.y_label, series.units) == (3, "loss ℓ [loss]", "loss")


def test_runs_at_other_times_meet_at_the_union_within_the_reach_of_all(tmp_path):
    one = recorded(tmp_path / "one", {"baseline": (np.array([0.0, 1.0, 2.0, 3.0]), lambda t: 2 * t)})
    other = recorded(tmp_path / "other", {"baseline": (np.array([0.5, 1.5, 2.0, 2.75]), lambda t: 10 - t)})
    series = Ensemble((one, other)).series("baseline", "p", "x")
    assert series.x.tolist() == [0.5, 1.0, 1.5, 2.0, 2.75]
    np.testing.assert_allclose(series.values, [2 * series.x, 10 - series.x], rtol=1e-14)


def test_series_along_step(tmp_path):
    run = recorded(tmp_path / "run", {"baseline": (grid(0, 2, 0.5), lambda t: t)})
    series = for_run(run).series("baseline", "p", "x", along="step")
    assert (series.x.tolist(), series.x_label) == ([0, 1, 2, 3, 4], "training step")


def test_differences_of_runs_that_forked_at_other_times_share_the_later_fork(tmp_path):
    arms = {"baseline": (grid(0, 6, 0.5), lambda t: 0.0)}
    early = recorded(tmp_path / "a", {**arms, "exit": (grid(2, 6, 0.25), lambda t: t)})
    late = recorded(tmp_path / "b", {**arms, "exit": (grid(3, 5, 0.2), lambda t: 2 * t)}, fork=3.0)
    delta = Ensemble((early, late)).difference("exit", "baseline", "p", "x")
    assert delta.x[[0, -1]].tolist() == [3.0, 5.0]
    np.testing.assert_allclose(delta.values, [delta.x, 2 * delta.x], rtol=1e-13)


def test_runs_that_lack_a_channel_are_left_out(tmp_path):
    both = {"baseline": (grid(0, 6, 0.5), lambda t: 0.0), "exit": (grid(2, 6, 0.25), lambda t: t)}
    ensemble = Ensemble((recorded(tmp_path / "a", {"baseline": both["baseline"]}), recorded(tmp_path / "b", both)))
    assert ensemble.series("baseline", "p", "x").count == 2
    assert ensemble.series("exit", "p", "x").count == 1
    assert ensemble.difference("exit", "baseline", "p", "x").count == 1
    assert ensemble.arms == ("baseline", "exit")
    assert len(ensemble.started("exit")) == 1


def test_what_no_run_recorded_is_named(tmp_path):
    ensemble = for_run(recorded(tmp_path / "run7", {"baseline": (grid(0, 6, 0.5), lambda t: 0.0)}))
    for arguments in (("exit", "p", "x"), ("baseline", "q", "x"), ("baseline", "p", "y")):
        words = f"no run has recorded {'/'.join(arguments)} .looked in: run7."
        with pytest.raises(TraceError, match=words):
            ensemble.series(*arguments)
    with pytest.raises(TraceError, match="no run has recorded exit/p/x"):
        ensemble.difference("exit", "baseline", "p", "x")
    with pytest.raises(TraceError, match="no run has recorded exit/p/x"):
        ensemble.difference("baseline", "exit", "p", "x")


def test_arms_that_never_overlap_are_an_error(tmp_path):
    arms = {"baseline": (grid(0, 1, 0.5), lambda t: 0.0), "exit": (grid(FORK, 6, 0.25), lambda t: 0.0)}
    with pytest.raises(TraceError, match="exit − baseline of p/x: there is no stretch that every curve reaches"):
        for_run(recorded(tmp_path / "run", arms)).difference("exit", "baseline", "p", "x")


def test_an_open_dimension_is_named(tmp_path):
    make_run(tmp_path / "run", branches=False, steps=20)
    with pytest.raises(TraceError, match="the channel 'by_group' has more than one number a step: select one group"):
        for_run(open_run(tmp_path / "run")).series("baseline", "loss", "by_group")


def test_a_sweep_over_seeds_is_one_ensemble(tmp_path):
    laws = make_sweep(tmp_path / "sweep", (0, 3, 5), unstarted=True)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    assert (ensemble.name, ensemble.condition, len(ensemble.runs)) == ("", {}, 3)
    assert (ensemble.arms, ensemble.children("baseline"), ensemble.children("exit")) == (
        ("baseline", "exit"),
        ("exit",),
        (),
    )
    assert ensemble.parents == {"baseline": None, "exit": "baseline", "late": "baseline"}
    assert [arm.fork_time for arm in ensemble.started("exit")] == [law.fork_time() for law in laws]
    assert len(ensemble.crossings("exit")) == 3
    sharpness = ensemble.series("exit", "sharpness", "eigenvalue", select={"k": 1})
    np.testing.assert_allclose(sharpness.median[0], np.median([law.sharpness(sharpness.x[0], 0.01)[0] for law in laws]))


def test_every_condition_is_an_ensemble_of_its_seeds(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1), learning_rates=(0.02, 0.03), steps=400)
    ensembles = open_run(tmp_path / "sweep").ensembles()
    assert [one.name for one in ensembles] == ["optimizer.lr=0.02", "optimizer.lr=0.03"]
    assert [one.condition for one in ensembles] == [{"optimizer.lr": 0.02}, {"optimizer.lr": 0.03}]
    assert [[run.overrides["seed"] for run in one.runs] for one in ensembles] == [[0, 1], [0, 1]]


def test_what_goes_with_another_path_is_no_condition_of_its_own():
    from types import SimpleNamespace

    from studyrun.trace.ensemble import by_condition

    zipped = [{"loss": loss, "optimizer.lr": lr, "model.width": 4} for loss, lr in (("a", 1), ("b", 2), ("c", 2))]
    runs = [SimpleNamespace(overrides={**one, "seed": seed}) for one in zipped for seed in (0, 1)]
    assert [one.condition for one in by_condition(runs)] == [{"loss": "a"}, {"loss": "b"}, {"loss": "c"}]
    grid = [SimpleNamespace(overrides={"loss": loss, "optimizer.lr": lr}) for loss in "ab" for lr in (1, 2)]
    assert [one.name for one in by_condition(grid)] == [
        f"loss={loss}, optimizer.lr={lr}" for loss in "ab" for lr in (1, 2)
    ]


def test_seeds_by_purpose_are_no_conditions(tmp_path):
    run = recorded(tmp_path / "run", {"baseline": (grid(0, 1, 0.5), lambda t: t)})
    object.__setattr__(run, "overrides", {"seed.init": 3, "model.hidden": [4, 4]})
    from studyrun.trace.ensemble import by_condition

    (ensemble,) = by_condition([run])
    assert (ensemble.name, ensemble.condition) == ("model.hidden=[4, 4]", {"model.hidden": [4, 4]})


def test_an_unfinished_probe_without_rows_counts_as_not_recorded(tmp_path):
    with TraceWriter.create(tmp_path / "trace.h5", title="", study="", git_commit="") as writer:
        writer.add_arm("baseline", {"parent": "", "state": "running"})
        writer.add_probe("baseline", "p", [Channel("x", "x", (Dimension.of_size("k", 2),))], {})
    with pytest.raises(TraceError, match="no run has recorded baseline/p/x"):
        for_run(open_run(tmp_path)).series("baseline", "p", "x")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    make_run(folder)
    return for_run(open_run(folder))


def test_recording_names_the_arms_that_have_the_channel(synthetic):
    assert synthetic.recording("loss", "train") == ("baseline", "exit")
    assert synthetic.recording("group_data", "distance") == ("baseline",)
    assert synthetic.recording("loss", "valid") == ()
    assert synthetic.channel("exit", "alignment", "cos2").symbol == "cos² θ_k"


def test_locate_goes_by_component_then_by_channels_then_by_label(synthetic):
    assert synthetic.locate("group_alignment", "cos2") == "alignment"
    assert synthetic.locate("another", "residual") == "sharpness"
    assert synthetic.locate("loss", label="alignment") == "alignment"
    with pytest.raises(TraceError, match=r"no probe 'loss' recorded cos2 \(recorded: loss: train, test, "):
        synthetic.locate("loss", "cos2", label="loss")


def test_gain_is_the_average_of_each_runs_own_difference_up_to_its_own_threshold(tmp_path):
    """Σ gap over t* to t**, of runs whose forks differ; a run without the branch is NaN."""
    laws = make_sweep(tmp_path / "sweep", (0, 1), steps=340)
    (both,) = open_run(tmp_path / "sweep").ensembles()
    make_run(tmp_path / "lone", branches=False, steps=200)
    ensemble = Ensemble((*both.runs, open_run(tmp_path / "lone")))
    select = {"group": "input_outlier"}
    found = ensemble.gain("exit", "loss", "by_group", select=select, until="edge")
    for row, (run, law) in enumerate(zip(both.runs, laws, strict=True)):
        time = np.linspace(law.fork_time(), run["exit"].crossing().time, 20_001)
        truth = np.mean([law.gap("input_outlier", moment, 0.01) for moment in time])
        assert found[row, 0] == pytest.approx(truth, abs=1e-4)  # the parent is read off between its rows
    assert np.isnan(found[2, 0])
    whole = ensemble.gain("exit", "loss", "by_group", select=select)
    assert (whole[:2] > found[:2]).all()  # the gap grows
    late = ensemble.gain("exit", "loss", "by_group", select=select, window=(0.5, 1.0), average="median")
    end = ensemble.gain("exit", "loss", "by_group", select=select, at=(0.75, 1.0))
    assert late[:2, 0] == pytest.approx(end[:2, 0], rel=0.01)  # of a gap that only grows, the median is its middle


def test_gain_of_the_trunk_is_the_channel_itself(tmp_path):
    make_run(tmp_path / "run", steps=340)
    ensemble = for_run(open_run(tmp_path / "run"))
    channel = ensemble.channel("baseline", "loss", "train")
    mean = np.trapezoid(channel.values, channel.time) / channel.time[-1]
    assert ensemble.gain("baseline", "loss", "train") == pytest.approx(mean)


def test_says_compares_the_resolved_study_by_dotted_path(tmp_path):
    make_run(tmp_path / "run", steps=340)
    ensemble = for_run(open_run(tmp_path / "run"))
    assert ensemble.says({})
    assert ensemble.says({"optimizer.lr": 0.02, "model": "mlp", "model.activation": "relu"})
    assert not ensemble.says({"optimizer.lr": 0.01})
    assert not ensemble.says({"optimizer.lr.far.down": 0.02})
