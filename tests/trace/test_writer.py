"""The writer: what is flushed is safe and open to anyone meanwhile; what is truncated can be written again."""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from oracles.effort import assert_effort
from oracles.small_trace import LOSS, reading, record, small_writer

from studyrun.errors import ProbeError, RunFolderError, TraceError
from studyrun.trace import journal
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter


def steps_in(path):
    with h5py.File(path, locking=False) as file:
        return file["baseline/loss/step"][()].tolist()


def test_an_existing_file_is_not_overwritten(path, writer):
    with pytest.raises(RunFolderError, match=r"trace\.h5 exists already; a trace is never overwritten"):
        small_writer(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"nowhere/trace\.h5 cannot be made: No such file or directory"):
        small_writer(tmp_path / "nowhere" / "trace.h5")


def test_nothing_is_in_the_file_before_the_flush(path, writer):
    record(writer, range(3))
    with h5py.File(path, locking=False) as file:
        assert list(file) == []
        assert file.attrs["title"] == "A title"
    writer.flush()
    assert steps_in(path) == [0, 1, 2]


def test_another_process_reads_while_the_writer_has_it_open(path, writer, apart):
    record(writer, range(5))
    writer.flush()
    record(writer, range(5, 9))
    code = f"import h5py\nresult = h5py.File({str(path)!r}, 'r')['baseline/loss/by_group'][()].tolist()"
    assert apart(code) == [[float(s), float(-s)] for s in range(5)]
    writer.flush()
    assert len(apart(code)) == 9


def test_the_file_is_whole_after_the_writer_was_killed_between_flushes(path, apart):
    apart(f"""
import os
from pathlib import Path
import sys; sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})
from oracles.small_trace import small_writer, record
if os.fork() == 0:
    writer = small_writer(Path({str(path)!r}))
    record(writer, range(4)); writer.flush(); record(writer, range(4, 8))
    os.kill(os.getpid(), 9)
os.wait()
result = None""")
    assert steps_in(path) == [0, 1, 2, 3]
    with TraceWriter.resume(path) as resumed:
        record(resumed, range(4, 6))
    assert steps_in(path) == [0, 1, 2, 3, 4, 5]


def test_buffered_bytes_follow_what_waits(writer):
    assert writer.buffered_bytes == 0
    record(writer, range(10))
    assert writer.buffered_bytes >= 10 * (8 + 16 + 2)
    writer.flush()
    assert writer.buffered_bytes == 0


def test_the_last_attribute_wins(path, writer):
    writer.set_arm("baseline", state="running", seconds=1.0)
    writer.flush()
    writer.set_arm("baseline", state="failed")
    writer.set_arm("baseline", state="complete", end_reason="reached 5 steps")
    writer.set_probe("baseline", "loss", matvecs=7)
    writer.close()
    with h5py.File(path) as file:
        arm = file["baseline"].attrs
        assert (arm["state"], arm["seconds"], arm["end_reason"]) == ("complete", 1.0, "reached 5 steps")
        assert (file["baseline/loss"].attrs["matvecs"], file["baseline/loss"].attrs["label"]) == (7, "loss")


def test_text_that_hdf5_cannot_hold_is_mended(path, writer):
    writer.set_arm("baseline", end_reason="nul \0 and half a pair \ud800")
    writer.close()
    with h5py.File(path) as file:
        assert file["baseline"].attrs["end_reason"] == "nul  and half a pair ?"


def test_an_arm_that_never_started_has_no_probes(path, writer):
    writer.add_arm("late", {"parent": "baseline", "state": "not started", "end_reason": "its trigger never fired"})
    writer.close()
    with h5py.File(path) as file:
        assert (len(file["late"]), file["late"].attrs["state"]) == (0, "not started")


def test_what_is_added_twice_or_unknown_is_an_error(writer):
    with pytest.raises(TraceError, match="the arm 'baseline' is there already"):
        writer.add_arm("baseline", {})
    with pytest.raises(TraceError, match="the arm 'baseline' has a probe 'loss' already"):
        writer.add_probe("baseline", "loss", LOSS, {})
    with pytest.raises(TraceError, match=r"no arm 'exit' \(arms: baseline\)"):
        writer.set_arm("exit", state="x")
    with pytest.raises(TraceError, match=r"arm 'baseline' has no probe 'lost' \(probes: loss\)"):
        writer.append("baseline", "lost", 0, 0.0, {})
    with pytest.raises(ValueError, match="arm 'a/b' must start with a letter"):
        writer.add_arm("a/b", {})


def test_resume_knows_arms_probes_and_their_declarations(path, writer):
    record(writer, range(3))
    writer.close()
    with TraceWriter.resume(path) as resumed:
        assert resumed.arms == {"baseline": ("loss",)}
        with pytest.raises(TraceError, match="is there already"):
            resumed.add_arm("baseline", {})
        with pytest.raises(ProbeError, match=r"channel 'by_group': expected shape \(2,\) \(group\), got \(3,\)"):
            resumed.append("baseline", "loss", 3, 0.3, {**reading(3), "by_group": [1, 2, 3]})
        with pytest.raises(TraceError, match="step 2 is not after step 2"):
            record(resumed, [2])


@pytest.mark.parametrize("flushed", [True, False])
def test_truncate_then_append_gives_the_same_file(tmp_path, flushed):
    straight, detour = tmp_path / "straight.h5", tmp_path / "detour.h5"
    with small_writer(straight) as writer:
        record(writer, range(0, 30, 3))
    with small_writer(detour) as writer:
        record(writer, range(0, 18, 3))
        writer.flush()
        record(writer, [20, 25])
        if flushed:
            writer.flush()
        writer.truncate("baseline", 10)
        record(writer, range(12, 30, 3))
    with h5py.File(straight) as one, h5py.File(detour) as other:
        for name in ("step", "time", "train", "by_group", "right"):
            np.testing.assert_array_equal(one[f"baseline/loss/{name}"][()], other[f"baseline/loss/{name}"][()])


def test_truncate_after_resume_cuts_the_file_at_the_next_flush(path, writer):
    record(writer, range(10))
    writer.close()
    resumed = TraceWriter.resume(path)
    resumed.truncate("baseline", 4)
    assert steps_in(path) == list(range(10))
    resumed.flush()
    assert steps_in(path) == [0, 1, 2, 3]
    resumed.truncate("baseline", 0)
    record(resumed, [0])
    resumed.close()
    assert steps_in(path) == [0]


def test_resume_refuses_what_is_no_trace(tmp_path):
    with pytest.raises(RunFolderError, match=r"no\.h5 does not exist"):
        TraceWriter.resume(tmp_path / "no.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(RunFolderError, match=r"text\.h5 cannot be opened as a trace"):
        TraceWriter.resume(tmp_path / "text.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(RunFolderError, match="studyrun_format is none; this version reads 1 to 2"):
        TraceWriter.resume(tmp_path / "other.h5")


def test_rows_that_a_crash_left_half_written_do_not_count(path, writer):
    record(writer, range(4))
    writer.close()
    with h5py.File(path, "r+") as file:  # what a process that died between two channels leaves
        file["baseline/loss/train"].resize(6, axis=0)
    with TraceWriter.resume(path) as resumed:
        record(resumed, [4])
    with h5py.File(path) as file:
        assert [len(file["baseline/loss"][name]) for name in ("step", "train", "right")] == [5, 5, 5]


def wide_writer(path):
    writer = small_writer(path)
    writer.add_probe("baseline", "wide", [Channel("loss", "x", (Dimension.of_size("example", 2000),))], {})
    return writer


def fill(writer, random, first):
    """Append and flush until that fails; give back how many rows had been flushed."""
    for step in range(first, first + 1000):
        writer.append("baseline", "wide", step, 0.1 * step, {"loss": random.random(2000)})
        try:
            writer.flush()
        except RunFolderError as error:
            return step, str(error)
    raise AssertionError("the disk never filled up")


def rows_of(path):
    return f"import h5py\nfile = h5py.File({str(path)!r}, 'r')\nresult = file['baseline/wide/loss'][()].tolist()"


def test_a_full_disk_is_one_clear_error_and_the_rest_stays_readable(small_disk, apart):
    path, ballast = small_disk / "trace.h5", small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    writer = wide_writer(path)
    flushed, message = fill(writer, np.random.default_rng(0), 0)
    assert "the disk is full: no room for 0.1 MB more" in message
    assert f"free some space, then: studyrun resume {small_disk}" in message
    expected = np.random.default_rng(0).random((flushed + 1, 2000)).tolist()
    assert apart(rows_of(path)) == expected[:flushed]

    ballast.unlink()
    writer.close()
    assert apart(rows_of(path)) == expected


def refuse(number, after=0):
    """A system call that works so many times, and then fails for good."""
    calls, really = [], os.pwrite

    def call(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return really(*arguments)

    return call


@pytest.mark.parametrize("after", range(2))
def test_a_write_that_fails_at_any_point_costs_nothing_and_can_be_tried_again(path, writer, monkeypatch, apart, after):
    record(writer, range(3))
    writer.flush()
    record(writer, range(3, 3000))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse(errno.EIO, after))
        with pytest.raises(RunFolderError, match=r"cannot be written: Input/output error; what was written before is"):
            writer.flush()
    code = f"""
from studyrun import open_run
result = open_run({str(path.parent)!r})["baseline"]["loss"]["train"].values.tolist()"""
    expected = [reading(step)["train"] for step in range(3000)]
    assert apart(code) in (expected[:3], expected)  # the whole of it, once the journal was complete
    record(writer, [3000])
    assert writer.buffered_bytes > 0
    writer.flush()
    assert writer.buffered_bytes == 0
    assert len(apart(code)) == 3001
    assert not journal.journal_of(path).exists()


def test_no_room_for_a_new_trace_leaves_no_file(path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", refuse(errno.EDQUOT))
    with pytest.raises(RunFolderError, match=r"the disk is full: no room for 0\.1 MB more"):
        small_writer(path)
    assert list(path.parent.iterdir()) == []


def test_close_closes_also_where_the_flush_fails(path, writer, monkeypatch):
    writer.flush()
    record(writer, range(3))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuse(errno.ENOSPC))
        with pytest.raises(RunFolderError, match="the disk is full"):
            writer.close()
    writer.close()
    assert steps_in(path) == []


def test_many_small_flushes_do_not_swell_the_file(path, writer):
    for step in range(40):
        record(writer, [step])
        writer.flush()
    size = path.stat().st_size
    writer.close()
    assert size == path.stat().st_size < 120_000


def test_an_append_costs_less_than_the_barest_gradient(writer):
    """Ten weights and no model: no step of training is cheaper."""
    writer.add_probe("baseline", "scalar", [Channel("value", "a value")], {})
    weight, steps = torch.zeros(10, requires_grad=True), itertools.count()

    def append() -> None:
        for step in itertools.islice(steps, 1000):
            writer.append("baseline", "scalar", step, 0.1 * step, {"value": 1.5})

    def differentiate() -> None:
        for _ in range(1000):
            torch.autograd.grad((weight * weight).sum(), weight)

    assert_effort(append, 1, differentiate)


def test_a_probe_that_came_to_record_more_goes_on_as_the_trace_began(path, writer):
    record(writer, range(2))
    writer.close()
    more = (*LOSS, Channel("spread", "since another version"))
    with TraceWriter.resume(path) as resumed:
        (said,) = resumed.adopt({"loss": more})
        assert said == "probe 'loss' also records spread by now; this trace began without, and goes on so"
        resumed.append("baseline", "loss", 2, 0.2, {**reading(2), "spread": 1.0})
        resumed.add_arm("exit", {"parent": "baseline"})
        resumed.add_probe("exit", "loss", more, {})
        resumed.append("exit", "loss", 2, 0.2, {**reading(2), "spread": 1.0})
        with pytest.raises(ProbeError, match="recorded the channel 'other', which it did not declare"):
            resumed.append("baseline", "loss", 3, 0.3, {**reading(3), "other": 1.0})
    run = open_run(path.parent)
    assert run["baseline"]["loss"].step.tolist() == [0, 1, 2]
    assert list(run["baseline"]["loss"]) == list(run["exit"]["loss"]) == [channel.name for channel in LOSS]


@pytest.mark.parametrize("now", [LOSS[1:], (replace(LOSS[0], dtype="float32"), *LOSS[1:])])
def test_a_probe_that_records_something_else_cannot_go_on(path, writer, now):
    record(writer, range(2))
    writer.close()
    with (
        TraceWriter.resume(path) as resumed,
        pytest.raises(
            RunFolderError, match="the probe 'loss' of this version does not record train as this trace holds it"
        ),
    ):
        resumed.adopt({"loss": now})


def test_the_same_probes_go_on_without_a_word(path, writer):
    writer.close()
    with TraceWriter.resume(path) as resumed:
        assert resumed.adopt({"loss": LOSS}) == []
