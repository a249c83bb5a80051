"""Reading beside a writer: what changed meanwhile is read again, a damaged file is named at once."""

from __future__ import annotations

import os

import h5py
import pytest
from oracles.small_trace import record

from studyrun.errors import TraceError
from studyrun.trace import file
from studyrun.trace.journal import Journal, _write_journal, journal_of
from studyrun.trace.pages import PAGE


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
