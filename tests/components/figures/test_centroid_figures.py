"""Alignment against centroid distance, in pictures: what stands where, against numbers planted in synthetic runs."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.planted_examples import cos2, distances, plant
from oracles.synthetic_run import EXAMPLES, Law, make_run, make_sweep
from scipy.stats import spearmanr

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.correlation import rank_correlation
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

LAW = Law(0, 0.02)
MET = LAW.fork_time()


def turning(arm, time):
    """Falls with the distance until t*, rises with it after; in the exit arm there is no relation."""
    return (-0.5 if time < MET else 0.6) if arm == "baseline" else 0.0


@pytest.fixture
def planted(tmp_path):
    make_run(tmp_path / "run", steps=340)
    return plant(tmp_path / "run", turning)


@pytest.fixture
def two_seeds(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 7), steps=340)
    for seed in (0, 7):
        plant(tmp_path / "sweep" / f"seed-{seed}", turning, seed)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    return ensemble


@pytest.fixture
def trunk_alone(tmp_path):
    make_run(tmp_path / "alone", branches=False, steps=100)
    return plant(tmp_path / "alone", lambda arm, time: 0.4, arms=("baseline",))


def titles(drawing):
    return [panel.get_title() or panel.get_title(loc="left") for panel in drawing.canvas.figure.axes]


class TestCentroidAlignment:
    def test_each_panel_holds_the_examples_of_its_moment(self, draw, planted) -> None:
        drawing = draw("centroid_alignment", planted)
        steps = planted.run["baseline"]["examples"].step
        half, met, last = (int(steps[np.abs(steps - at).argmin()]) for at in (MET / 0.04, MET / 0.02, 340))
        assert titles(drawing) == [f"midway to t*\nstep {half}", f"onset t*\nstep {met}", f"the end\nstep {last}"]
        for words, step in (("midway to t*", half), ("onset t*", met), ("the end", last)):
            table = drawing.canvas.tables[f"examples_{words}"]
            np.testing.assert_array_equal(table["distance"], distances())
            np.testing.assert_array_equal(table["cos2"], cos2(turning("baseline", step * LAW.lr), 0, step))

    def test_rho_and_its_interval_are_printed(self, draw, planted) -> None:
        drawing = draw("centroid_alignment", planted, at=["midway", "end"])
        for panel, words in zip(drawing.canvas.figure.axes, ("midway to t*", "the end"), strict=True):
            table = drawing.canvas.tables[f"examples_{words}"]
            rho, low, high, _ = rank_correlation(table["distance"], table["cos2"])
            assert rho == pytest.approx(spearmanr(table["distance"], table["cos2"]).statistic)
            expected = f"ρ = {rho:+.2f} [{low:+.2f}, {high:+.2f}]\nn = {EXAMPLES}".replace("-", "−")
            assert [text.get_text() for text in panel.texts] == [expected]
        assert "Bonett–Wright interval over the examples" in drawing.caption

    def test_the_trend_is_the_median_of_equally_large_sets(self, draw, planted) -> None:
        drawing = draw("centroid_alignment", planted, at=["end"], sets=6)
        (series,) = drawing.lines().values()
        table = drawing.canvas.tables["examples_the end"]
        order = np.argsort(table["distance"]).reshape(6, EXAMPLES // 6)
        np.testing.assert_allclose(series.x, np.median(table["distance"][order], axis=1))
        np.testing.assert_allclose(series.median, np.median(table["cos2"][order], axis=1))
        assert (np.diff(series.median) > 0).all()

    def test_examples_without_gradient_are_left_out(self, draw, tmp_path) -> None:
        make_run(tmp_path / "run", steps=340)
        plant(tmp_path / "run", turning, arms=())
        run = open_run(tmp_path / "run")
        values = np.where(np.arange(EXAMPLES) < 20, np.nan, cos2(0.5))
        with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
            channel = run["baseline"]["per_example_loss"]["loss"]
            dims = (Dimension("example", channel.labels["example"]),)
            writer.add_probe("baseline", "examples", [Channel("cos2", "c", dims, nan="none")], {"component": "x"})
            writer.append("baseline", "examples", 0, 0.0, {"cos2": values})
        drawing = draw("centroid_alignment", for_run(open_run(tmp_path / "run")), at=["start"])
        assert len(drawing.canvas.tables["examples_the start"]["cos2"]) == EXAMPLES - 20
        assert any(f"n = {EXAMPLES - 20}" in text for text in drawing.texts)

    def test_over_seeds_points_are_pooled_and_rho_is_the_median_with_an_interval_over_runs(
        self, draw, two_seeds
    ) -> None:
        drawing = draw("centroid_alignment", two_seeds, at=["end"])
        table = drawing.canvas.tables["examples_the end"]
        assert len(table["cos2"]) == 2 * EXAMPLES
        each = [
            spearmanr(table["distance"][part], table["cos2"][part]).statistic
            for part in (slice(EXAMPLES), slice(EXAMPLES, None))
        ]
        (text,) = drawing.texts
        assert text == f"ρ = {np.mean(each):+.2f}\n2 runs: too few for an interval"
        assert "the median of 2 runs, with its interval over runs, which takes six" in drawing.caption
        (text,) = draw("centroid_alignment", Ensemble(two_seeds.runs * 3), at=["end"]).texts
        ends = f"[{min(each):+.2f}, {max(each):+.2f}]"
        assert text == f"ρ = {np.mean(each):+.2f} {ends}\n6 runs, 96.9 %"

    def test_moments_that_never_came_are_named(self, draw, trunk_alone) -> None:
        drawing = draw("centroid_alignment", trunk_alone)
        assert titles(drawing) == ["the end\nstep 100"]
        assert "Not shown, since baseline has no such moment: midway to t*, onset t*." in drawing.caption
        with pytest.raises(NothingToDrawError, match=r"baseline has no row at onset t\*"):
            draw("centroid_alignment", trunk_alone, at=["onset"])

    def test_a_branch_is_told_by_its_own_onset(self, draw, planted) -> None:
        drawing = draw("centroid_alignment", planted, arm="exit", at=["onset", {"after": 0.5}])
        met = planted.run["exit"].crossing().step
        assert titles(drawing)[0] == f"onset t**\nstep {met}"
        assert titles(drawing)[1].startswith("50% of the time after t**\n")

    def test_an_arm_that_is_not_there_has_nothing(self, draw, planted) -> None:
        with pytest.raises(NothingToDrawError, match="no run recorded the alignment of the examples of 'later'"):
            draw("centroid_alignment", planted, arm="later")


class TestCentroidCorrelation:
    def test_rho_of_every_row_stands_below_the_sharpness(self, draw, planted) -> None:
        drawing = draw("centroid_correlation", planted)
        above, below = drawing.lines(0), drawing.lines(1)
        np.testing.assert_array_equal(
            above["baseline", ""].median, planted.run["baseline"]["sharpness"]["eigenvalue"].values[:, 0]
        )
        assert {"baseline: 100", "exit: 200"} <= drawing.texts
        for arm in ("baseline", "exit"):
            rows, series = planted.run[arm]["examples"], below[arm, ""]
            np.testing.assert_array_equal(series.x, rows.time)
            truth = [spearmanr(distances(), row).statistic for row in rows["cos2"].values]
            np.testing.assert_allclose(series.median, truth, rtol=1e-12)
        assert (np.sign(below["baseline", ""].median) == np.where(series_times(planted) < MET, -1, 1)).all()
        assert "t*" in drawing.texts
        assert "t**" in drawing.texts

    def test_the_band_of_one_run_is_the_interval_over_examples(self, draw, planted) -> None:
        drawing = draw("centroid_correlation", planted, smooth=0)
        table, rows = drawing.canvas.tables["interval_exit"], planted.run["exit"]["examples"]
        for row, values in enumerate(rows["cos2"].values):
            found = (table["rho"][row], table["low"][row], table["high"][row])
            assert found == pytest.approx(rank_correlation(distances(), values)[:3])
        band = drawing.canvas.figure.axes[1].collections[-1].get_paths()[0].vertices
        assert band[:, 1].max() == pytest.approx(table["high"].max())
        assert band[:, 1].min() == pytest.approx(table["low"].min())
        assert "band: the 95 % interval over examples" in drawing.caption

    def test_over_seeds_it_is_the_quartiles(self, draw, two_seeds) -> None:
        drawing = draw("centroid_correlation", two_seeds)
        assert drawing.lines(1)["baseline", ""].count == 2
        assert not [name for name in drawing.canvas.tables if name.startswith("interval")]
        assert "the quartiles over runs" in drawing.caption

    def test_lines_are_running_means_if_asked(self, draw, planted) -> None:
        drawing = draw("centroid_correlation", planted, smooth=0.5)
        recorded = drawing.lines(1)["baseline", ""]
        smooth = drawing.lines(1)["baseline (running mean)", ""]
        width = 0.5 * (recorded.x[-1] - recorded.x[0])
        np.testing.assert_array_equal(smooth.values, recorded.running_mean(width).values)
        assert "running means over 50% of the time" in drawing.caption
        assert "running means" not in draw("centroid_correlation", planted, smooth=0).caption

    def test_without_sharpness_there_is_one_panel(self, draw, tmp_path) -> None:
        make_run(tmp_path / "run", steps=340)
        ensemble = plant(tmp_path / "run", turning)
        with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
            for arm in ("baseline", "exit"):
                writer.set_arm(arm, threshold_quantity="batch_sharpness")
        drawing = draw("centroid_correlation", for_run(open_run(ensemble.run.path)))
        assert len(drawing.canvas.figure.axes) == 1
        assert "Dotted" not in drawing.caption

    def test_arms_can_be_chosen(self, draw, planted) -> None:
        assert set(draw("centroid_correlation", planted, arms=["exit"]).lines(1)) == {("exit", "")}
        with pytest.raises(NothingToDrawError, match="none of the arms later recorded alignment by example"):
            draw("centroid_correlation", planted, arms=["later"])


def series_times(ensemble):
    return ensemble.run["baseline"]["examples"].time


class TestTypicality:
    def test_lines_are_the_medians_of_the_nearest_and_the_farthest_examples(self, draw, planted) -> None:
        drawing = draw("typicality", planted, share=0.2)
        order = np.argsort(distances())
        for place, arm in enumerate(("baseline", "exit")):
            values = planted.run[arm]["examples"]["cos2"].values
            lines = drawing.lines(place)
            for name, chosen in (("most typical", order[:12]), ("most atypical", order[-12:])):
                np.testing.assert_allclose(lines[name, ""].median, np.median(values[:, chosen], axis=1), rtol=1e-6)
                table = drawing.canvas.tables[f"{arm}_{name}"]
                low, high = np.quantile(values[:, chosen], (0.25, 0.75), axis=1)
                np.testing.assert_allclose(table["low"], low, rtol=1e-6)
                np.testing.assert_allclose(table["high"], high, rtol=1e-6)
        assert "the 20% of training examples nearest" in drawing.caption

    def test_arms_compare_in_one_panel_if_asked(self, draw, planted) -> None:
        drawing = draw("typicality", planted, panels="examples")
        assert titles(drawing) == ["most typical", "most atypical"]
        assert set(drawing.lines(0)) == {("baseline", ""), ("exit", "")}
        by_arm = draw("typicality", planted).lines(1)["most atypical", ""]
        np.testing.assert_array_equal(drawing.lines(1)["exit", ""].median, by_arm.median)

    def test_over_seeds_it_is_the_median_of_the_medians(self, draw, two_seeds) -> None:
        drawing = draw("typicality", two_seeds)
        assert drawing.lines(0)["most typical", ""].count == 2
        assert not drawing.canvas.tables
        assert "quartiles of the medians over runs" in drawing.caption


@pytest.mark.parametrize("figure", ["centroid_alignment", "centroid_correlation", "typicality"])
class TestMissing:
    def test_one_arm_is_drawn(self, draw, trunk_alone, figure) -> None:
        assert draw(figure, trunk_alone).canvas.figure.axes

    def test_without_distances_the_probe_is_asked_for(self, draw, tmp_path, figure) -> None:
        make_run(tmp_path / "run", steps=340)
        ensemble = plant(tmp_path / "run", turning, with_distance=False)
        with pytest.raises(TraceError, match=r"no probe recorded distance by example .*; add the probe centroid_dist"):
            draw(figure, ensemble)

    def test_without_alignments_the_probe_is_asked_for(self, draw, tmp_path, figure) -> None:
        make_run(tmp_path / "run", steps=340)
        ensemble = plant(tmp_path / "run", turning, arms=())
        with pytest.raises(TraceError, match=r"no probe recorded cos2 by example .*; add the probe per_example_align"):
            draw(figure, ensemble)
