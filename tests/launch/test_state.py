"""A folder's state, and whether somebody is filling it, against real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studyrun.errors import RunFolderError
from studyrun.launch.state import alive, check_free, read_status, state_of


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def put(folder: Path, **status: object) -> Path:
    full = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time(), "state": "running", **status}
    (folder / "status.json").write_text(json.dumps(full))
    return folder


def test_a_folder_that_a_living_process_fills_is_not_free(tmp_path: Path, other) -> None:
    folder = put(tmp_path, pid=other.pid)
    assert state_of(folder) == "running"
    with pytest.raises(RunFolderError, match=rf"filled by process {other.pid} on this host; .* \(kill {other.pid}\)"):
        check_free(folder)


def test_when_the_process_dies_the_folder_is_free_and_its_state_killed(tmp_path: Path, other) -> None:
    folder = put(tmp_path, pid=other.pid)
    other.kill()
    other.wait()
    check_free(folder)
    assert state_of(folder) == "killed"


def test_a_number_given_again_to_a_younger_process_is_not_the_one_that_ran(tmp_path: Path, other) -> None:
    status = read_status(put(tmp_path, pid=other.pid, started=time.time() - 3600))
    assert not alive(status)


def test_this_very_process_is_never_in_its_own_way(tmp_path: Path) -> None:
    check_free(put(tmp_path))


def test_another_hosts_process_cannot_be_looked_for(tmp_path: Path) -> None:
    folder = put(tmp_path, host="another-host", pid=1)
    check_free(folder)
    assert state_of(folder) == "running"


def test_a_finished_run_is_free_whoever_lives(tmp_path: Path, other) -> None:
    check_free(put(tmp_path, pid=other.pid, state="complete"))


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_status_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) == {}
    assert state_of(tmp_path) == "not started"
