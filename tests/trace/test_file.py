"""Reading beside a writer: what changed meanwhile is read again, a damaged file is named at once."""

from __future__ import annotations

import errno
import os

import h5py
import pytest
from oracles.small_trace import record

from studyrun import check_run
from studyrun.errors import TraceError
from studyrun.trace import file
from studyrun.trace.journal import Journal, _write_journal, journal_of
from studyrun.trace.pages import PAGE
from studyrun.trace.reader import open_run


def disturbed(path, times, then):
    """A read that finds, the first times, that a commit has passed meanwhile."""
    calls = []

    def what(opened):
        calls.append(opened)
        if len(calls) <= times:
            os.utime(path, ns=(len(calls), len(calls)))
            return then()
        return "whole"

    return what, calls


def half():
    return "half the old, half the new"


def broken():
    raise KeyError("half a commit")


@pytest.mark.parametrize("then", [half, broken])
def test_a_read_that_a_commit_disturbed_is_done_again(path, writer, then):
    record(writer, range(3))
    writer.flush()
    what, calls = disturbed(path, 3, then)
    assert file.read(path, what) == "whole"
    assert len(calls) == 4


def test_a_reader_slower_than_the_flushes_still_gets_an_answer(path, writer, monkeypatch):
    writer.flush()
    monkeypatch.setattr(file.time, "sleep", lambda seconds: None)
    what, _ = disturbed(path, 1000, half)
    assert file.read(path, what) == half()


def test_a_damaged_file_is_named_at_once(path, writer):
    writer.close()
    calls = []

    def what(opened):
        calls.append(opened)
        broken()

    with pytest.raises(TraceError, match=r"trace\.h5 cannot be read: 'half a commit'"):
        file.read(path, what)
    assert len(calls) == 1


def test_a_journal_is_read_over_the_file(path, writer):
    """What a process leaves that died while it wrote the journal's pages into the file."""
    record(writer, range(3))
    writer.close()
    whole = path.read_bytes()
    pages = {n: whole[n * PAGE : (n + 1) * PAGE].ljust(PAGE, b"\0") for n in (0, 1)}
    _write_journal(path, Journal(len(whole), pages))
    path.write_bytes(bytes(PAGE) + whole[PAGE:])
    with pytest.raises(OSError, match="signature"):
        h5py.File(path)
    assert file.read(path, lambda opened: opened["baseline/loss/step"][()].tolist()) == [0, 1, 2]
    assert journal_of(path).exists()  # a reader changes nothing


def test_attributes_come_as_plain_python(path, writer):
    writer.set_arm("baseline", threshold=1.5, steps=3, ok=True)
    writer.close()
    attributes = file.read(path, lambda opened: file.read_attributes(opened["baseline"]))
    assert [type(attributes[name]) for name in ("threshold", "steps", "ok", "state")] == [float, int, int, str]
    time_ = file.read(path, lambda opened: file.read_attributes(opened["baseline/loss/step"]))
    assert set(time_) == {"long_name", "units"}


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("locking", [True, False, None])
def test_a_trace_that_this_process_holds_open_is_read_all_the_same(path, writer, mode, locking):
    """HDF5 lets a process open a file in one way at a time, and calls another way an error: that is no damage."""
    record(writer, range(3))
    writer.close()
    with h5py.File(path, mode, locking=locking) as held:
        steps = held["baseline/loss/step"]
        run = open_run(path.parent)
        assert run["baseline"]["loss"].step.tolist() == [0, 1, 2]
        assert steps[()].tolist() == [0, 1, 2]  # theirs stays open


def test_a_trace_that_is_held_open_becomes_an_xarray_all_the_same(path, writer):
    pytest.importorskip("xarray")
    record(writer, range(3))
    writer.close()
    with h5py.File(path, "r"):
        tree = open_run(path.parent).to_xarray()
    assert tree["baseline/loss"]["step"].values.tolist() == [0, 1, 2]


def test_a_trace_that_is_held_open_for_writing_is_no_fault_to_a_check(path, writer):
    record(writer, range(3))
    writer.close()
    with h5py.File(path, "r+"):
        assert not [one for one in check_run(path.parent).faults if one.where == "trace.h5"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE, errno.ENOMEM])
def test_a_trace_that_cannot_be_opened_is_not_called_damaged(path, writer, monkeypatch, number):
    writer.close()

    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file.h5py, "File", refuse)
    monkeypatch.setattr(file.os, "open", refuse)
    with pytest.raises(TraceError) as caught:
        file.read(path, len)
    assert str(caught.value) == f"{path} cannot be opened: {os.strerror(number)}; nothing speaks for damage"


def test_a_trace_that_memory_does_not_suffice_for_is_not_called_damaged(path, writer):
    writer.close()

    def what(opened):
        raise MemoryError("Unable to allocate 8.00 TiB")

    with pytest.raises(TraceError, match=r"lacks the memory for it \(Unable to allocate 8.00 TiB\); nothing speaks"):
        file.read(path, what)
