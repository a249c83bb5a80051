"""Moments told by the onset of the edge of stability, on runs whose t* and t** are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from oracles.synthetic_run import EVERY, Law, make_run
from pydantic import TypeAdapter, ValidationError

from studyrun.trace import edge
from studyrun.trace.ensemble import for_run
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

LAW = Law(0, 0.02)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge") / "run"
    make_run(folder, steps=340)
    return open_run(folder)


def rows(count=341, lr=0.02, start=0):
    return SimpleNamespace(step=start + np.arange(count), time=start * 0.02 + lr * np.arange(count))


def test_the_onset_of_the_trunk_is_where_a_branch_left_it_at_its_threshold(run) -> None:
    assert edge.onset(run, "baseline") == pytest.approx(LAW.fork_time())
    assert edge.onset(run, "exit") == run["exit"].crossing().time > LAW.fork_time()


def test_curvature_above_the_threshold_before_the_trigger_looked_is_no_onset(tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.set_arm("exit", fork_step=200, fork_time=4.0)
    run = open_run(tmp_path / "run")
    assert run["baseline"].crossing().time < 4.0
    assert edge.onset(run, "baseline") == 4.0


def test_a_fork_for_another_reason_is_no_onset(tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.set_arm("exit", trigger_threshold=20.0, fork_time=0.4)
    run = open_run(tmp_path / "run")
    assert edge.onset(run, "baseline") == run["baseline"].crossing().time != pytest.approx(0.4)


@pytest.mark.parametrize("quantity", ["", "gradient_norm", "preconditioned_sharpness"])
def test_a_fork_at_the_same_number_of_another_quantity_is_no_onset(tmp_path, quantity) -> None:
    make_run(tmp_path / "run", steps=340)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.set_arm("exit", trigger_quantity=quantity, fork_time=4.0)
    run = open_run(tmp_path / "run")
    assert run["exit"].attributes["trigger_threshold"] == run["baseline"].threshold
    assert not edge.forked_at_edge(run["exit"], run["baseline"])
    assert edge.onset(run, "baseline") == run["baseline"].crossing().time != 4.0


@pytest.mark.parametrize(("value", "at_edge"), [(None, True), (100.0, False)])
def test_a_run_that_does_not_say_what_was_watched_is_told_by_the_value_that_was_seen(tmp_path, value, at_edge) -> None:
    """Of runs of before: a trigger that saw the very number which the parent recorded has watched it."""
    make_run(tmp_path / "run", steps=340)
    run = open_run(tmp_path / "run")
    facts = run["exit"].attributes
    del facts["trigger_quantity"]
    facts["trigger_value"] = facts["trigger_value"] if value is None else value
    assert edge.forked_at_edge(run["exit"], run["baseline"]) is at_edge


def test_a_trunk_that_begins_above_its_threshold_has_its_onset_where_it_comes_back_to_it(tmp_path) -> None:
    make_run(tmp_path / "run", branches=False, steps=340)
    run = open_run(tmp_path / "run")
    before = edge.met(run, "baseline")
    channel = run["baseline"]["sharpness"]["eigenvalue"]
    channel.__dict__["values"] = channel.values.copy()
    channel.values[:3] = 500.0
    assert run["baseline"].crossing().step == 0
    assert edge.met(run, "baseline") == before
    channel.values[:] = 500.0
    assert edge.met(run, "baseline") is None


def test_of_a_branch_of_a_branch_the_threshold_is_that_of_the_branch_it_left(tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    run = open_run(tmp_path / "run")
    facts = {**run["exit"].attributes, "parent": "exit", "fork_step": 390, "fork_time": 4.2}
    at_own, at_trunks = ({**facts, "trigger_threshold": level} for level in (200.0, 100.0))
    assert (run["exit"].threshold, run["baseline"].threshold) == (200.0, 100.0)
    assert edge.forked_at_edge(replace(run["exit"], attributes=at_own), run["exit"])
    assert not edge.forked_at_edge(replace(run["exit"], attributes=at_trunks), run["exit"])


def test_a_run_that_never_meets_its_threshold_has_no_onset(tmp_path) -> None:
    make_run(tmp_path / "run", branches=False, steps=100)
    run = open_run(tmp_path / "run")
    assert edge.onset(run, "baseline") is None
    for when in ("midway", "onset", {"before": 0.1}, {"after": 0.0}):
        assert edge.place(run, "baseline", when, rows()) is None
        assert edge.row_at(run, "baseline", when, rows()) is None
    assert len(edge.rows_between(run, "baseline", "start", "onset", rows())) == 0
    assert edge.row_at(run, "baseline", "end", rows()) == 340


def test_moments_stand_where_they_are_said_to(run) -> None:
    met, last = LAW.fork_time(), 340 * 0.02
    expected = {
        "start": 0.0,
        "midway": met / 2,
        "onset": met,
        "end": last,
    }
    for when, at in expected.items():
        assert edge.place(run, "baseline", when, rows()).at == pytest.approx(at)
    assert edge.place(run, "baseline", {"before": 0.25}, rows()).at == pytest.approx(met / 4)
    assert edge.place(run, "baseline", {"after": 0.25}, rows()).at == pytest.approx(met + (last - met) / 4)
    assert edge.place(run, "baseline", {"whole": 0.25}, rows()).at == pytest.approx(last / 4)
    assert edge.row_at(run, "baseline", "onset", rows()) == LAW.fork_step()
    assert edge.row_at(run, "baseline", 123, rows()) == 123


def test_the_way_to_the_onset_begins_at_the_fork_of_a_branch(run) -> None:
    recorded = run["exit"]["sharpness"]
    met, first = run["exit"].crossing().time, LAW.fork_time()
    assert edge.place(run, "exit", "midway", recorded).at == pytest.approx((first + met) / 2)
    assert recorded.time[edge.row_at(run, "exit", "onset", recorded)] == met


def test_a_row_answers_for_half_a_spacing_and_no_further(run) -> None:
    recorded = run["baseline"]["sharpness"]
    last = int(recorded.step[-1])
    assert edge.row_at(run, "baseline", last + EVERY // 2, recorded) == len(recorded.step) - 1
    assert edge.row_at(run, "baseline", last + EVERY // 2 + 1, recorded) is None
    assert edge.row_at(run, "baseline", 14, recorded) == 1
    assert edge.row_at(run, "exit", 0, run["exit"]["sharpness"]) is None


def test_rows_between_two_moments_include_both(run) -> None:
    onset = LAW.fork_step()
    np.testing.assert_array_equal(edge.rows_between(run, "baseline", 5, 8, rows()), [5, 6, 7, 8])
    np.testing.assert_array_equal(edge.rows_between(run, "baseline", "onset", onset + 2, rows()), onset + np.arange(3))
    assert len(edge.rows_between(run, "baseline", "start", "end", rows())) == 341
    assert edge.rows_between(run, "baseline", {"after": 0.5}, "end", rows())[-1] == 340


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("midway", "midway to t*"),
        ("end", "the end"),
        (40, "step 40"),
        ({"before": 0.3}, "30% of the way to t*"),
        ({"after": 0.25}, "25% of the time after t*"),
    ],
)
def test_moments_in_words(when, words) -> None:
    assert edge.moment_words(when) == words
    assert edge.moment_words(when, "t**") == words.replace("t*", "t**")


@pytest.mark.parametrize("wrong", ["later", -1, 0.5, {"after": 1.5}, {}, {"after": 0.1, "before": 0.2}, {"since": 0.1}])
def test_what_is_no_moment_is_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(edge.When).validate_python(wrong)


def test_the_curvature_of_the_threshold_is_found_at_its_first_place(run) -> None:
    found = edge.edge_series(for_run(run), "exit", "time")
    recorded = run["exit"]["sharpness"]["eigenvalue"]
    np.testing.assert_array_equal(found.values[0], recorded.values[:, 0])
    np.testing.assert_array_equal(found.x, recorded.time)


def test_without_that_curvature_there_is_none(tmp_path) -> None:
    make_run(tmp_path / "run", steps=340)
    with TraceWriter.resume(tmp_path / "run" / "trace.h5") as writer:
        writer.set_arm("exit", threshold_quantity="preconditioned_sharpness")
    assert edge.edge_series(for_run(open_run(tmp_path / "run")), "exit", "time") is None
