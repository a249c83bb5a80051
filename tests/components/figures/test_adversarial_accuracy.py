"""Accuracy under attack, from traces in which it is known: what is drawn, from when on, and what it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles.synthetic_run import make_run, make_sweep

from studyrun.errors import NothingToDrawError, TraceError
from studyrun.trace.channel import Channel
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import Run, open_run
from studyrun.trace.writer import TraceWriter

ATTACK = "accuracy on test examples under attack within ‖δ‖∞ ≤ 0.03137 of the raw image"
CHANNELS = [Channel("accuracy", ATTACK), Channel("clean_accuracy", "accuracy on the same test examples, clean")]


def attacked(arm: str, time: np.ndarray | float) -> np.ndarray | float:
    return (0.1 if arm == "baseline" else 0.2) + time / 100


def record(
    folder: Path, *, label: str = "adversarial_accuracy", before: float = np.inf, add: float = 0.0, every: int = 20
) -> Run:
    """Some rows of each arm up to a time: 0.1 or 0.2 + τ/100 under attack, half more when clean."""
    last = open_run(folder)
    with TraceWriter.resume(folder / "trace.h5") as writer:
        for arm in last.arms:
            recorded = last[arm]["loss"]
            writer.add_probe(arm, label, CHANNELS, {"component": "adversarial_accuracy"})
            for step, time in list(zip(recorded.step, recorded.time, strict=True))[::every]:
                if time < before:
                    value = attacked(arm, time) + add
                    reading = {"accuracy": value, "clean_accuracy": value + 0.5}
                    writer.append(arm, label, int(step), float(time), reading)
    return open_run(folder)


@pytest.fixture
def ensemble(tmp_path: Path) -> Ensemble:
    make_run(tmp_path / "run", steps=400)
    return for_run(record(tmp_path / "run"))


def test_each_arm_has_a_line_under_attack_and_a_pale_one_clean(draw, ensemble) -> None:
    drawing = draw("adversarial_accuracy", ensemble)
    lines = drawing.lines()
    for arm in ("baseline", "exit"):
        time = ensemble.run[arm]["adversarial_accuracy"].time
        np.testing.assert_array_equal(lines[arm, ""].x, time)
        np.testing.assert_allclose(lines[arm, ""].median, attacked(arm, time))
        np.testing.assert_allclose(lines[f"{arm}, clean", ""].median, attacked(arm, time) + 0.5)
    artists = {line.label: line.artist for line in drawing.canvas.lines}
    assert artists["exit"].get_color() != artists["exit, clean"].get_color()
    assert artists["exit"].get_linestyle() == artists["exit, clean"].get_linestyle()
    assert set(drawing.legend) == {"baseline", "exit", "baseline, clean", "exit, clean"}


def test_forks_and_crossings_are_marked_and_the_caption_says_what_attacked(draw, ensemble) -> None:
    drawing = draw("adversarial_accuracy", ensemble)
    assert {"t*", "t**"} <= drawing.texts
    assert drawing.caption.startswith(f"A{ATTACK[1:]}, by arm; pale: without the attack. t*: baseline reaches")
    assert drawing.canvas.figure.axes[0].get_ylabel() == "accuracy"


def test_since_the_edge_only_what_comes_after_the_branch_met_its_own_threshold(draw, ensemble) -> None:
    drawing = draw("adversarial_accuracy", ensemble, since="edge")
    crossing = ensemble.run["exit"].crossing()
    for arm in ("baseline", "exit"):
        probe = ensemble.run[arm]["adversarial_accuracy"]
        after = probe.time >= crossing.time
        assert 0 < after.sum() < len(after)
        np.testing.assert_array_equal(drawing.lines()[arm, ""].x, probe.time[after])
        np.testing.assert_allclose(drawing.lines()[arm, ""].median, attacked(arm, probe.time[after]))
    assert "t**" in drawing.texts
    assert "t*" not in drawing.texts
    words = f"From t** on: exit reaches its own threshold, at effective time {crossing.time:.4g}."
    assert drawing.caption.endswith(words)


def test_of_several_runs_the_median_is_drawn_and_begins_at_the_median_crossing(draw, tmp_path) -> None:
    make_sweep(tmp_path / "sweep", (0, 3, 6), steps=400)
    for seed, add in ((0, 0.0), (3, 0.01), (6, 0.05)):
        record(tmp_path / "sweep" / f"seed-{seed}", add=add, every=5)
    (ensemble,) = open_run(tmp_path / "sweep").ensembles()
    drawing = draw("adversarial_accuracy", ensemble, since="edge")
    times = sorted(run["exit"].crossing().time for run in ensemble.runs)
    line = drawing.lines()["baseline", ""]
    assert times[0] + 0.1 < times[1] <= line.x[0] <= times[1] + 0.1
    np.testing.assert_allclose(line.median, attacked("baseline", line.x) + 0.01, atol=1e-9)
    np.testing.assert_allclose(line.high, attacked("baseline", line.x) + 0.03, atol=1e-9)
    assert drawing.caption.endswith(f"at effective time {times[1]:.4g}, the median of 3 runs.")


def test_a_lone_arm_is_drawn_but_has_no_second_edge(draw, tmp_path) -> None:
    make_run(tmp_path / "lone", branches=False, steps=200)
    lone = for_run(record(tmp_path / "lone"))
    assert set(draw("adversarial_accuracy", lone).lines()) == {("baseline", ""), ("baseline, clean", "")}
    with pytest.raises(
        NothingToDrawError, match=r"no branch met its own threshold, so there is no t\*\*; `since: star"
    ):
        draw("adversarial_accuracy", lone, since="edge")


def test_rows_that_end_before_the_edge_are_told(draw, tmp_path) -> None:
    make_run(tmp_path / "run", steps=400)
    early = for_run(record(tmp_path / "run", before=4.0))
    with pytest.raises(NothingToDrawError, match=r"'adversarial_accuracy' was not due after t\*\*; schedule it more"):
        draw("adversarial_accuracy", early, since="edge")


def test_the_branch_asked_for_has_to_have_met_its_threshold(draw, ensemble) -> None:
    assert draw("adversarial_accuracy", ensemble, since="edge", branch="exit").lines()
    with pytest.raises(NothingToDrawError, match=r"'late' is no branch that met its own threshold \(exit did\)"):
        draw("adversarial_accuracy", ensemble, since="edge", branch="late")


def test_the_probe_asked_for_is_drawn_and_without_one_there_is_nothing(draw, ensemble, folder) -> None:
    record(ensemble.run.path, label="few", add=0.1)
    both = for_run(open_run(ensemble.run.path))
    line = draw("adversarial_accuracy", both, probe="few").lines()["baseline", ""]
    np.testing.assert_allclose(line.median, attacked("baseline", line.x) + 0.1)
    with pytest.raises(TraceError, match="no probe recorded accuracy and clean_accuracy"):
        draw("adversarial_accuracy", for_run(open_run(folder)))
