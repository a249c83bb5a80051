"""A folder's state, against real processes."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from studyrun.launch.state import alive, read_status, state_of
from studyrun.trace.process import identity


def put(folder: Path, **status: object) -> Path:
    (folder / "status.json").write_text(json.dumps({**identity(), "state": "running", **status}))
    return folder


def test_while_the_process_lives_the_run_goes_on(tmp_path: Path, sleeper) -> None:
    assert state_of(put(tmp_path, **sleeper.identity)) == "running"


def test_when_the_process_dies_the_folders_state_is_killed(tmp_path: Path, sleeper) -> None:
    folder = put(tmp_path, **sleeper.identity)
    sleeper.end()
    assert state_of(folder) == "killed"


@pytest.mark.parametrize("other", [{"born": 1}, {"boot": "an earlier one"}])
def test_a_number_given_again_is_not_the_process_that_ran(tmp_path: Path, sleeper, other: dict[str, object]) -> None:
    assert not alive(read_status(put(tmp_path, **{**sleeper.identity, **other})))


def test_a_status_of_a_version_that_wrote_neither_boot_nor_birth_goes_by_the_number(tmp_path: Path, sleeper) -> None:
    status = {"pid": sleeper.identity["pid"], "host": socket.gethostname(), "started": 0.0, "state": "running"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert state_of(tmp_path) == "running"


def test_another_hosts_process_cannot_be_looked_for(tmp_path: Path) -> None:
    assert state_of(put(tmp_path, host="another-host", pid=os.getppid())) == "running"


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_status_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) == {}
    assert state_of(tmp_path) == "not started"
