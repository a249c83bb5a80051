"""One process at a time fills a folder: real processes hold, die with and let go of real locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from oracles.processes import Heard

from studyrun.errors import RunFolderError
from studyrun.launch import lock
from studyrun.launch.lock import LOCK, holder_of, holding
from studyrun.trace.process import identity

HOLD = """\
import sys, time
from pathlib import Path
from studyrun.launch.lock import holding
with holding(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HANDOVER", 0.2)
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    monkeypatch.setattr(lock, "BEAT", 0.05)


def foreign(folder: Path) -> Path:
    """A lock that a process of another host left, which no operating system here knows of."""
    (folder / LOCK).write_text(json.dumps({**identity(), "host": "another-host", "pid": 77}))
    return folder / LOCK


def test_a_folder_that_is_held_is_refused_with_the_holders_number(tmp_path: Path, holder) -> None:
    message = rf"is being filled by process {holder.pid} on this host; .*\(kill {holder.pid}\)"
    with pytest.raises(RunFolderError, match=message), holding(tmp_path):
        pass
    assert holder_of(tmp_path)["pid"] == holder.pid


def test_a_killed_holder_holds_no_longer(tmp_path: Path, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert holder_of(tmp_path)["pid"] == holder.pid
    with holding(tmp_path):
        assert holder_of(tmp_path) == identity()
    assert not (tmp_path / LOCK).exists()


def test_a_holder_that_is_about_to_let_go_is_waited_for(
    tmp_path: Path, holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HANDOVER", 30.0)
    Thread(target=holder.kill).start()
    with holding(tmp_path):
        pass


def test_it_is_held_against_this_process_too(tmp_path: Path) -> None:
    with holding(tmp_path), pytest.raises(RunFolderError, match=rf"filled by process {os.getpid()}"), holding(tmp_path):
        pass


def test_another_hosts_lock_that_nobody_touches_is_taken_over_and_that_is_said(tmp_path: Path) -> None:
    path, heard = foreign(tmp_path), Heard()
    with holding(tmp_path, heard):
        assert holder_of(tmp_path) == identity()
    assert heard.lines == [
        f"{path} is held by process 77 on another-host; looking for 0 s whether it is still there",
        f"process 77 on another-host has not touched {path} for 0 s: it is gone; its lock is taken over",
    ]


def test_another_hosts_lock_that_is_touched_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    path, done = foreign(tmp_path), Event()
    descriptor = os.open(path, os.O_RDWR)
    other = Thread(target=lock._beat, args=(descriptor, done))
    other.start()
    try:
        with pytest.raises(RunFolderError, match="filled by process 77 on another-host"), holding(tmp_path):
            pass
    finally:
        done.set()
        other.join()
        os.close(descriptor)
    assert json.loads(path.read_text())["pid"] == 77


@pytest.mark.parametrize("living", [True, False])
def test_without_locks_in_the_file_system_the_number_decides(
    tmp_path: Path, sleeper, monkeypatch: pytest.MonkeyPatch, living: bool
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    (tmp_path / LOCK).write_text(json.dumps(sleeper.identity))
    if living:
        with pytest.raises(RunFolderError, match="is being filled"), holding(tmp_path):
            pass
        return
    sleeper.end()
    with holding(tmp_path):
        assert holder_of(tmp_path) == identity()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"x" * 10_000])
def test_a_lock_that_says_nothing_readable_is_free_when_nobody_holds_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK).write_bytes(content)
    with holding(tmp_path):
        assert holder_of(tmp_path) == identity()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / LOCK).symlink_to(outside)
    with pytest.raises(RunFolderError, match=r"cannot write .*run.lock"), holding(tmp_path):
        pass
    assert outside.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"), holding(tmp_path / "missing"):
        pass
