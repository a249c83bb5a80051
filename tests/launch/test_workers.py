"""Members in several processes: the same bits, one that is killed, and a request to stop that reaches them all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import assert_same_channels
from oracles.effort import PATIENCE
from oracles.processes import Heard

from studyrun import open_run
from studyrun.engine import checkpoint
from studyrun.launch.start import launch, resume
from studyrun.launch.threads import threads_each
from studyrun.study import load_study

SEEDS = "sweep: {seed: [0, 1, 2]}\n"
NAMES = ["seed=0", "seed=1", "seed=2"]
SUICIDE = '''\
"""A probe that ends its process."""

import os
import signal

from counting import number
from studyrun.plugin import Channel, Probe


class Suicide(Probe):
    """Kills the process of seed 1 at step 3, as a machine short of memory does."""

    def channels(self, context):
        return [Channel("number", "number of the step")]

    def measure(self, snapshot, carry):
        if snapshot.step == 3 and snapshot.context.study.seed.init == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": number(snapshot)}, carry
'''


def test_two_workers_give_the_bits_of_one_and_a_killed_one_is_a_failed_member(write, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "probes").mkdir(parents=True)
    (tmp_path / "plugins" / "probes" / "suicide.py").write_text(SUICIDE)
    (tmp_path / "plugins" / "probes" / "counting.py").write_text(
        "def number(snapshot):\n    return float(snapshot.step)\n"
    )
    heard = Heard()
    outcome = launch(load_study(write("  - suicide\n" + SEEDS)), workers=2, progress=heard)
    assert [member.state for member in outcome.members] == ["complete", "failed", "complete"]
    assert "its process was killed" in outcome.members[1].error
    assert f"{outcome.folder}: 3 members, 2 at a time, 1 torch thread each" in heard.lines
    assert "seed=0: baseline complete: step 6 was reached" in heard.lines
    status = json.loads((outcome.folder / "status.json").read_text())
    assert (status["state"], status["workers"], status["threads"]) == ("failed", 2, torch.get_num_threads())

    in_turn = launch(load_study(write(SEEDS))).folder
    for name in ("seed=0", "seed=2"):
        two, one = open_run(outcome.folder / name), open_run(in_turn / name)
        assert two["baseline"]["loss"]["train"].values.tobytes() == one["baseline"]["loss"]["train"].values.tobytes()
        assert two.provenance["threads"] == one.provenance["threads"] == torch.get_num_threads()

    for kept in tmp_path.rglob("suicide.py"):  # the project's own, and what the run folder says it was made with
        kept.write_text(SUICIDE.replace("snapshot.step == 3", "False"))
    again = resume(outcome.folder, workers=1)
    assert again.state == "complete", again.members
    resumed = open_run(outcome.folder / "seed=1")["baseline"]["loss"]["train"].values
    assert resumed.tobytes() == open_run(in_turn / "seed=1")["baseline"]["loss"]["train"].values.tobytes()


def test_one_request_stops_them_all_with_checkpoints(write) -> None:
    study = load_study(write(SEEDS), overrides=["stop.steps=4000", "checkpoints.seconds=1000"])

    def press() -> None:
        """Ctrl-C once both are on their way."""
        folder = Path("outputs/run1")
        until = time.monotonic() + PATIENCE
        while not all((folder / name / "checkpoints" / "latest.pt").exists() for name in NAMES[:2]):
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    outcome = launch(study, workers=2)
    pressing.join()
    assert outcome.state == "interrupted"
    assert [member.state for member in outcome.members] == ["interrupted", "interrupted", "not started"]
    for name in NAMES[:2]:
        member = outcome.folder / name
        assert resume(member).state == "complete"
        whole = launch(load_study(member / "study.yaml")).folder
        assert_same_channels(open_run(whole)["baseline"], open_run(member)["baseline"])


def test_threads_are_shared_out_unless_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert threads_each(3) == 8
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [threads_each(workers) for workers in (1, 2, 3, 9)] == [8, 4, 2, 1]


def test_what_a_scheduler_sends_to_every_process_is_one_request(write) -> None:
    """The parent passes on what the workers were sent as well: still they finish their step, with a checkpoint."""
    study = write(SEEDS)
    command = [sys.executable, "-m", "studyrun", "run", str(study), "--out", "all", "--workers", "2"]
    command += ["--set", "stop.steps=1000000", "--set", "checkpoints.seconds=1000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    members = [Path("all") / name for name in NAMES[:2]]
    until = time.monotonic() + PATIENCE
    while not all((member / "checkpoints" / "latest.pt").exists() for member in members):
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    workers = [json.loads((member / "status.json").read_text())["pid"] for member in members]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        for pid in (*workers, running.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    assert running.communicate(timeout=PATIENCE)[1].endswith("next: studyrun resume all\n")
    assert running.returncode == 130
    for member in members:
        assert json.loads((member / "status.json").read_text())["state"] == "interrupted"
        rows = len(open_run(member)["baseline"]["loss"].step)
        assert rows == checkpoint.load(member / "checkpoints" / "latest.pt")["state"]["step"] > 0
