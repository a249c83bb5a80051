"""Runs that are killed, and what must be left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studyrun.trace.reader import Arm, Run, open_run

PARTS = range(4)
"""Of the long tests, so that several processes share them: pytest -m slow tests/crash -n auto."""
EVERY = 15
COMMON = f"""\
title: a run that is killed
model: {{use: mlp, hidden: [12], activation: tanh, init: {{scheme: kaiming_normal, scale: 0.5}}}}
dataset: {{use: dice, classes: [three, six], size: 48, test_size: 16}}
groups: {{use: prototypes, per_class: 2, displacement: 3.0}}
loss: squared_error
stop: {{steps: 60}}
checkpoints: {{every: {EVERY}, seconds: 0.2, keep: 30}}
probes:
  - loss
  - {{use: sharpness, k: 2, every: 2}}
  - {{use: group_alignment, every: 3, as: alignment}}
  - {{use: gradient_norm, by_layer: true}}
  - {{use: parameters, every: {{log: 5}}}}
  - {{use: per_example_loss, at: [0, 3, 31]}}
  - group_data
branches:
  exit: {{at: {{use: step, step: 20}}, set: {{optimizer.lr: 0.004}}}}
  again: {{from: exit, at: {{use: step, step: 40}}, set: {{optimizer.lr: 0.01}}}}
  same: {{at: {{use: step, step: 33}}}}
"""
STUDIES = {
    "momentum": "optimizer: {use: gd, lr: 0.01, momentum: 0.9}\n",
    "mini-batches": "optimizer: {use: sgd, lr: 0.01, batch_size: 9}\n",
}


class Server:
    """Carries out commands in processes of their own, which it kills as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        script = Path(__file__).with_name("server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def carry_out(
        self,
        *arguments: str,
        signals: Sequence[tuple[int, float | str]] = (),
        operation: int | None = None,
        largest: int | None = None,
        clock: float = 0.0,
        status: float = 0.05,
    ) -> dict[str, Any]:
        """Carry out one command, with what it is to meet with: see server.py."""
        self._count += 1
        faults = {"signals": signals, "operation": operation, "largest": largest, "clock": clock, "status": status}
        request = {"arguments": arguments, **faults, "log": str(self.log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    @property
    def said(self) -> str:
        """What the last command said."""
        return self.log.read_text()

    @property
    def log(self) -> Path:
        """Where the last command said it: a file of its own, since a limit on files is one on this as well."""
        return self.folder / f"log-{self._count}"

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def assert_same_runs(expected: Path, found: Path) -> int:
    """Every channel of every arm bit for bit, and where each arm forked and how it ended; return how many were held."""
    one, other = open_run(expected), open_run(found)
    assert isinstance(one, Run)
    assert isinstance(other, Run)
    assert list(one.arms) == list(other.arms)
    assert one.status["state"] == other.status["state"] == "complete"
    return sum(_same_arms(arm, other[name]) for name, arm in one.arms.items())


def _same_arms(one: Arm, other: Arm) -> int:
    facts = [(arm.parent, arm.fork_step, arm.fork_time, arm.state, arm.end_reason) for arm in (one, other)]
    assert facts[0] == facts[1]
    assert list(one.probes) == list(other.probes)
    count = 0
    for label, probe in one.probes.items():
        assert np.array_equal(probe.step, other[label].step), label
        assert np.array_equal(probe.time, other[label].time), label
        assert list(probe) == list(other[label])
        for name in probe:
            assert probe[name].values.tobytes() == other[label][name].values.tobytes(), f"{label}/{name}"
            count += 1
    return count


def last_steps(folder: Path) -> dict[str, int]:
    """The last step that each arm has a row of, nothing where there is no trace yet."""
    if not (folder / "trace.h5").exists():
        return {}
    run = open_run(folder)
    assert isinstance(run, Run)
    steps = {
        name: [int(probe.step[-1]) for probe in arm.probes.values() if len(probe.step)]
        for name, arm in run.arms.items()
    }
    return {name: max(each) for name, each in steps.items() if each}
