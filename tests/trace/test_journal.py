"""A process may die at any system call of a commit, or within one: what is read then is all old or all new."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from oracles.small_trace import record, small_writer

from studyrun.trace import journal
from studyrun.trace.journal import PAGE, commit, journal_of, read_journal, recover
from studyrun.trace.pages import PagedFile
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

OLD = bytes(range(1, 256)) * 100  # some pages and a part of one
CHANGES = {0: b"A" * PAGE, 2: b"B" * PAGE, len(OLD) // PAGE: b"C" * PAGE, len(OLD) // PAGE + 1: b"D" * PAGE}
SIZE = len(OLD) + PAGE
CALLS = ("pwrite", "fsync", "ftruncate")


def changed():
    new = bytearray(OLD.ljust(SIZE, b"\0"))
    for index, page in CHANGES.items():
        new[index * PAGE : (index + 1) * PAGE] = page
    return bytes(new[:SIZE])


class DiedError(BaseException):
    """The process is no more: nothing that it would have tidied up is done."""


def dying(monkeypatch, at):
    """Let the system call of this number, counted over all that change the disk, be done by half and be the last."""
    done = []

    def wrap(owner, name):
        really = getattr(owner, name)

        def call(*arguments, **options):
            done.append(name)
            if len(done) < at:
                return really(*arguments, **options)
            if len(done) == at and name == "pwrite":
                descriptor, data, place = arguments
                really(descriptor, bytes(data)[: len(data) // 2], place)
            raise DiedError

        monkeypatch.setattr(owner, name, call)

    for name in CALLS:
        wrap(os, name)
    for name in ("replace", "unlink", "open"):
        wrap(Path, name)
    return done


def all_calls(tmp_path):
    """How many system calls a commit makes."""
    path = tmp_path / "count"
    path.write_bytes(OLD)
    with pytest.MonkeyPatch.context() as patch:
        done = dying(patch, 10**6)
        run(path)
    return len(done)


def run(path):
    descriptor = os.open(path, os.O_RDWR)
    try:
        commit(path, descriptor, CHANGES, SIZE)
    finally:
        os.close(descriptor)


def test_a_commit_changes_the_file_and_leaves_no_journal(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    run(path)
    assert path.read_bytes() == changed()
    assert list(tmp_path.iterdir()) == [path]


def test_dying_at_any_call_leaves_all_old_or_all_new(tmp_path):
    outcomes = []
    for at in range(1, all_calls(tmp_path) + 1):
        path = tmp_path / f"died{at}"
        path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, at)
            with pytest.raises(DiedError):
                run(path)
        before = read_whole(path)
        recover(path)
        after = path.read_bytes()
        assert not journal_of(path).exists()
        assert before == after[: len(before)]
        assert after[: len(OLD)] == OLD or after == changed()
        outcomes.append(after == changed())
    assert outcomes == sorted(outcomes)  # old up to some call, new from there on
    assert {False, True} == set(outcomes)


def read_whole(path):
    """The file as a reader sees it, journal and all."""
    with PagedFile(path, os.open(path, os.O_RDONLY), read_journal(path)) as pages:
        return pages.read(10 * SIZE)[: pages.seek(0, os.SEEK_END)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("after", range(3))
def test_a_call_that_fails_can_be_tried_again(tmp_path, monkeypatch, number, name, after):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    calls, really = [], getattr(os, name)

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return really(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(os, name, fail)
        with suppress(OSError):  # some calls are not made so often
            run(path)
    assert read_whole(path)[: len(OLD)] in (OLD, changed()[: len(OLD)])
    run(path)
    assert path.read_bytes() == changed()
    assert not journal_of(path).exists()


def test_a_second_failure_takes_nothing_from_the_journal_of_the_first(tmp_path, monkeypatch):
    """The first commit has appended and written its journal, and fails after that; the second fails to append more."""
    path, more = tmp_path / "file", {**CHANGES, 40: b"E" * PAGE}
    path.write_bytes(OLD)
    descriptor, really = os.open(path, os.O_RDWR), os.pwrite

    def refuse(where):
        def call(file, data, place):
            if where(place):
                raise OSError(errno.EIO, "Input/output error")
            return really(file, data, place)

        return call

    monkeypatch.setattr(os, "pwrite", refuse(lambda place: place < len(OLD) - PAGE))
    with pytest.raises(OSError, match="Input/output error"):
        commit(path, descriptor, CHANGES, SIZE)
    assert read_whole(path) == changed()
    monkeypatch.setattr(os, "pwrite", refuse(lambda place: place == 40 * PAGE))
    with pytest.raises(OSError, match="Input/output error"):
        commit(path, descriptor, more, 41 * PAGE)
    os.close(descriptor)
    assert read_whole(path) == changed()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:50], lambda b: b"", lambda b: b[:-9] + b"x" + b[-8:]]
)
def test_an_incomplete_journal_is_no_journal(tmp_path, damage):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    inside = {index: page for index, page in CHANGES.items() if index * PAGE < len(OLD)}
    journal._write_journal(path, journal.Journal(SIZE, inside))
    assert read_journal(path).pages == inside
    journal_of(path).write_bytes(damage(journal_of(path).read_bytes()))
    assert read_journal(path) is None
    recover(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (OLD, [path])


def test_a_trace_survives_dying_at_any_call_of_a_flush(tmp_path):
    """The same with HDF5 on top: the trace of a flush that died holds the rows of the flush before, or of both."""
    found = set()
    for at in range(1, 10):
        folder = tmp_path / str(at)
        folder.mkdir()
        writer = small(folder)
        with pytest.MonkeyPatch.context() as patch:
            dying(patch, at)
            with pytest.raises(DiedError):
                writer.flush()
        rows = open_run(folder)["baseline"]["loss"].step.tolist()
        assert rows in ([0, 1, 2], list(range(2000)))
        found.add(len(rows))
        with TraceWriter.resume(folder / "trace.h5") as resumed:
            record(resumed, [5000])
        loss = open_run(folder)["baseline"]["loss"]
        assert loss.step.tolist() == [*rows, 5000]
        np.testing.assert_allclose(loss["train"].values, 1 / (1 + loss.step))
    assert found == {3, 2000}


def small(folder):
    writer = small_writer(folder / "trace.h5")
    record(writer, range(3))
    writer.flush()
    record(writer, range(3, 2000))
    return writer
