"""Reading beside a writer: a flush under way is waited for, a damaged file is not."""

from __future__ import annotations

import os
import time

import pytest
from oracles.small_trace import record

from studyrun.errors import TraceError
from studyrun.trace import file


def failing(times):
    calls = []

    def what(opened):
        calls.append(opened)
        if len(calls) <= times:
            raise KeyError("half a flush")
        return "read"

    return what, calls


def test_a_read_that_meets_a_flush_is_tried_again(path, writer):
    record(writer, range(3))
    writer.flush()
    what, calls = failing(3)
    assert file.read(path, what) == "read"
    assert len(calls) == 4


def test_a_file_that_nobody_writes_is_not_waited_for(path, writer):
    writer.close()
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    what, calls = failing(3)
    with pytest.raises(TraceError, match="cannot be read: 'half a flush'"):
        file.read(path, what)
    assert len(calls) == 1


def test_attributes_come_as_plain_python(path, writer):
    writer.set_arm("baseline", threshold=1.5, steps=3, ok=True)
    writer.close()
    attributes = file.read(path, lambda opened: file.read_attributes(opened["baseline"]))
    assert [type(attributes[name]) for name in ("threshold", "steps", "ok", "state")] == [float, int, int, str]
    time_ = file.read(path, lambda opened: file.read_attributes(opened["baseline/loss/step"]))
    assert set(time_) == {"long_name", "units"}
