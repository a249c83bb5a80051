"""The command line as a process: how it starts, how it is stopped, and what its pipes hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import assert_same_channels
from oracles.effort import PATIENCE

from studyrun import open_run
from studyrun.cli import call

STUDY = """\
title: long enough to be stopped
model: {use: mlp, hidden: [8]}
dataset: {use: dice, size: 40, test_size: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.01}
stop: {steps: 600}
probes: [loss, {use: sharpness, every: 10}]
branches: {exit: {at: {use: step, step: 30}, set: {optimizer.lr: 0.005}}}
"""
HEAVY = ("torch", "torchvision", "scipy", "matplotlib", "h5py", "loky", "rich")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "probes", "--json"], ["ls"], ["run", "--help"]])
def test_what_should_be_quick_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        f"import os, sys; os.chdir({str(tmp_path)!r}); from studyrun.cli import call; code = call({arguments!r}); "
        f"sys.stderr.write(' '.join([str(code), *(name for name in {HEAVY!r} if name in sys.modules)]))"
    )
    assert python("-c", code).stderr.split("\n")[-1] == "0"


def test_python_m_studyrun_is_the_same_command() -> None:
    done = python("-m", "studyrun", "list", "nothing")
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no kind of component named 'nothing'")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m studyrun schema | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_ctrl_c_then_resume_gives_the_trace_of_a_run_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("STUDYRUN_OUTPUTS", raising=False)
    monkeypatch.setattr("studyrun.launch.lock.HANDOVER", 0.1)
    Path("study.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "studyrun", "run", "study.yaml", "--out", "stopped"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE
    while not Path("stopped/checkpoints/fork-exit.pt").exists():  # so that it is stopped after its fork
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    running.send_signal(signal.SIGSTOP)  # or it may come to its end meanwhile
    assert call(["resume", "stopped"]) == 1
    assert f"stopped is being filled by process {running.pid} on this host" in capsys.readouterr().err
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGCONT)
    out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (130, "stopped\n")
    assert err.endswith("stopped: interrupted\nnext: studyrun resume stopped\n")
    assert all(character.isprintable() or character == "\n" for character in err)
    assert json.loads(Path("stopped/status.json").read_text())["state"] == "interrupted"

    assert call(["resume", "stopped"]) == 0
    assert call(["run", "study.yaml", "--out", "whole"]) == 0
    capsys.readouterr()
    stopped, whole = open_run("stopped"), open_run("whole")
    assert list(stopped.arms) == list(whole.arms) == ["baseline", "exit"]
    for name, arm in whole.arms.items():
        assert_same_channels(arm, stopped[name])
        assert stopped[name].fork_step == arm.fork_step


def test_a_terminal_gets_a_bar_and_a_pipe_none(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.split("branches")[0].replace("600", "200"))
    leader, follower = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "studyrun", "run", "study.yaml"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=follower, stdin=follower, text=True
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert running.communicate()[0] == "outputs/run1\n"
    assert running.returncode == 0
    assert b"\x1b[" in shown
    assert b"baseline" in shown
    assert b"baseline complete: step 200 was reached" in shown


def test_a_request_before_a_run_begins_ends_it_whatever_it_comes_into(tmp_path: Path) -> None:
    """Libraries written in other languages, which are being imported then, may abort where something is raised."""
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    code = f"""
import os, signal, sys
from studyrun import cli
from studyrun.launch import one
def swallowed(*_):
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        try:
            os.kill(os.getpid(), number)
        except BaseException:
            os.abort()
one.prepare = swallowed
sys.argv = ["studyrun", "run", {str(study)!r}, "--out", {str(tmp_path / "run")!r}]
cli.main()
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "error: interrupted before the run began; nothing was written\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("later", ["failure.report_failure", "cli.end_streams"])
def test_several_requests_outside_a_run_are_one(tmp_path: Path, later: str) -> None:
    """A scheduler sends what it has to send to every process at once, and some of it twice, however late."""
    code = f"""
import os, signal, sys
from studyrun import cli
from studyrun.commands import failure, report
def pressed():
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
def then(told):
    pressed()
    return later(told)
report.build_report, later = lambda *_: pressed(), {later}
{later} = then
sys.argv = ["studyrun", "report", {str(tmp_path)!r}]
cli.main()
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"error: interrupted; {tmp_path}/report is as it was before, and the run is not touched\n"
