"""Freezes small runs as the studyrun on the path makes them: `python tests/frozen/freeze.py`.

A run that forks at step 4 and is stopped at step 7 of 12, and a sweep of two runs that end, so that every later version
can read, report and resume them. Names of machines, paths and dates are taken out. Beside each archive lies what the
run held when it was frozen: the values it had recorded, and those of the same study when nothing stopped it.
One run is kept for each format that was ever written; `test_frozen.py` says when another is due.
"""

from __future__ import annotations

import json
import os
import signal
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from studyrun.engine import checkpoint
from studyrun.engine.events import Silent
from studyrun.engine.signals import StopRequest
from studyrun.launch.one import run_one
from studyrun.launch.sweep import run_sweep
from studyrun.study import load_study
from studyrun.trace import layout
from studyrun.trace.folder import SWEEP_FORMAT
from studyrun.trace.reader import Run, open_run

HERE = Path(__file__).resolve().parent
STUDY = """\
title: A frozen run
seed: 3
device: cpu
precision: float64
model: {use: mlp, hidden: [4], init: {scheme: kaiming_normal, scale: 0.5}}
dataset: {use: dice, classes: [three, six], size: 24, test_size: 12, pixels: 8}
groups: classes
loss: squared_error
optimizer: {use: gd, lr: 0.05, momentum: 0.5}
stop: {steps: 12}
probes:
  - loss
  - {use: sharpness, k: 1, every: 3}
branches:
  slower:
    at: {use: step, step: 4}
    set: {optimizer.lr: 0.02}
figures: [loss]
claims:
  - {use: sign, as: slower_is_behind, channel: train, arm: slower, sign: positive, window: [0.3, 0.5]}
checkpoints: {every: 3}
"""
STOPPED_AT = 7


class StopAt(Silent):
    """Sends this process a SIGINT, as Ctrl-C does, at a step of the trunk."""

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        """Look at the step."""
        if (arm, step) == ("baseline", STOPPED_AT):
            os.kill(os.getpid(), signal.SIGINT)


def freeze() -> None:
    """Write the archives, each with its values beside it."""
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        command = ["studyrun", "run", "frozen.yaml"]
        Path("frozen.yaml").write_text(STUDY, encoding="utf-8")
        study = load_study(Path("frozen.yaml"))
        run_one(study, Path("whole"), command, Silent(), StopRequest())
        run_one(study, Path("run"), command, StopAt(), StopRequest())
        expected = {"stopped": values_of(Path("run")), "whole": values_of(Path("whole"))}
        neutralise(Path("run"))
        pack(Path("run"), f"trace{layout.FORMAT}_checkpoint{checkpoint.FORMAT}", expected)
        study = load_study(Path("frozen.yaml"), overrides=["sweep={seed: [1, 2]}", "stop.steps=3"])
        run_sweep(study, Path("sweep"), command, Silent(), StopRequest(), workers=1, fail_fast=False)
        members = ("seed=1", "seed=2")
        for name in members:
            neutralise(Path("sweep", name))
        neutralise(Path("sweep"))
        pack(Path("sweep"), f"sweep{SWEEP_FORMAT}", {name: values_of(Path("sweep", name)) for name in members})


def pack(folder: Path, name: str, expected: dict[str, Any]) -> None:
    """Write the archive of a folder, without owners and dates, and the values beside it; one that is there stays."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    if (HERE / f"{name}.tar.xz").exists():
        return
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as archive:
        archive.add(folder, name, filter=plain)
    (HERE / f"{name}.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


def values_of(folder: Path) -> dict[str, list[Any]]:
    """Every array of a run by its path in the trace; what a solver spent is left out, which is no result."""
    run = open_run(folder)
    assert isinstance(run, Run)
    found = {}
    for name, arm in run.arms.items():
        for label, probe in arm.probes.items():
            found[f"{name}/{label}/step"] = probe.step.tolist()
            found[f"{name}/{label}/time"] = probe.time.tolist()
            kept = [one for one in probe if one not in ("residual", "matvecs", "error", "doubt")]
            found |= {f"{name}/{label}/{one}": probe[one].values.tolist() for one in kept}
    return found


def neutralise(folder: Path) -> None:
    """Take out of a run's or a sweep's folder what belongs to the machine and the day."""
    neutral = {"pid": 1, "host": "elsewhere", "started": 0.0, "seconds": 1.0, "boot": None, "born": None}
    status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    status |= {key: value for key, value in neutral.items() if key in status}
    _write(folder / "status.json", status)
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps({**line, "time": 0.0}) + "\n" for line in lines)
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
    if not (folder / "provenance.json").is_file():
        return
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    facts |= {"platform": "elsewhere", "git": None, "studyrun_git": None, "device": "cpu (elsewhere)"}
    _write(folder / "provenance.json", facts)
    with suppress(ImportError):
        from studyrun.trace.manifest import write_manifest

        write_manifest(folder, status["state"], status["started"])


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    freeze()
