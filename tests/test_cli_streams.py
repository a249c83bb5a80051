"""Streams that are closed, that nobody reads, that are full or short of letters: a run ends as it would have ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from oracles.effort import PATIENCE
from oracles.plain_study import PLAIN

from studyrun.cli import call

STUDYRUN = [sys.executable, "-m", "studyrun"]
ALL = """\
import sys
from studyrun.cli import main
for command in ("ls", "ls --json", "show study.yaml", "run study.yaml", "report outputs/run1", "check outputs/run1"):
    sys.argv = ["studyrun", *command.split()]
    try:
        main()
    except SystemExit as error:
        sys.stderr.write(f"{command}: {error.code}\\n")
"""

LOOK = '''\
"""A probe that looks where the standard streams lead."""

import os
from pathlib import Path

from studyrun.plugin import Channel, Probe


class Look(Probe):
    """Writes down what lies on the numbers of stdin, stdout and stderr."""

    def channels(self, context):
        return [Channel("number", "number of the step")]

    def measure(self, snapshot, carry):
        Path("seen").write_text(" ".join(os.readlink(f"/proc/self/fd/{number}") for number in range(3)))
        return {"number": float(snapshot.step)}, carry
'''


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDYRUN_OUTPUTS", raising=False)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("study.yaml").write_text(PLAIN.replace("a plain study", "Schärfe – σ₁"))


@pytest.fixture
def gone() -> Any:
    """The end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def state() -> str:
    return str(json.loads(Path("outputs/run1/status.json").read_text())["state"])


def test_a_run_that_nobody_reads_ends_as_any_other(gone: int) -> None:
    done = subprocess.run([*STUDYRUN, "run", "study.yaml"], stdout=gone, stderr=gone, check=False, timeout=PATIENCE)
    assert (done.returncode, state()) == (0, "complete")


def test_what_a_command_finds_is_its_exit_code_whoever_reads(gone: int) -> None:
    Path("outputs/run1").mkdir(parents=True)
    Path("outputs/run1/status.json").write_text("{")
    Path("outputs/run1/study.yaml").write_text("title: one\n")
    done = subprocess.run([*STUDYRUN, "check", "outputs/run1"], stdout=gone, stderr=gone, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    done = subprocess.run([*STUDYRUN, "ls"], stdout=gone, stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_stopped_with_nobody_left_to_tell_it_is_interrupted(gone: int) -> None:
    command = [*STUDYRUN, "run", "study.yaml", "--set", "stop.steps=1000000"]
    running = subprocess.Popen(command, stdout=gone, stderr=gone)
    until = time.monotonic() + PATIENCE
    while not Path("outputs/run1/checkpoints/latest.pt").exists():
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE) == 130
    assert state() == "interrupted"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_number_of_a_closed_stream_is_given_to_no_file_of_the_run(closed: str, tmp_path: Path) -> None:
    Path("plugins/probes").mkdir(parents=True)
    Path("plugins/probes/look.py").write_text(LOOK)
    Path("study.yaml").write_text(PLAIN + "  - look\n")
    command = ["bash", "-c", f'"$@" {closed}', "bash", *STUDYRUN, "run", "study.yaml"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, state()) == (0, "complete")
    assert "error" not in done.stderr
    links = Path("seen").read_text().split()
    assert len(links) == 3
    assert not [link for link in links if str(tmp_path) in link]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_result_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*STUDYRUN, "ls", "--json"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=PATIENCE
        )
    assert (done.returncode, done.stderr) == (1, b"error: stdout: No space left on device\n")


def test_where_there_is_ascii_alone_other_letters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run", "study.yaml"]) == 0
    capsys.readouterr()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", ALL]
    done = subprocess.run(command, capture_output=True, env=environment, check=False, timeout=PATIENCE)
    err = done.stderr.decode("ascii")
    assert err.count(": 0\n") == 6, err
    out = done.stdout.decode("ascii")
    assert "Sch\\xe4rfe \\u2013 \\u03c3\\u2081" in out
    listed = json.loads(out[out.index("[\n") : out.index("\n]") + 2])
    assert listed[0]["title"] == "Schärfe – σ₁"
