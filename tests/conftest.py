"""What tests of several layers share: small studies, carried out in a temporary folder, and traces compared whole."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from studyrun.engine.events import Silent
from studyrun.engine.run import RunResult, execute, prepare
from studyrun.engine.signals import StopRequest
from studyrun.study import Study, load_study
from studyrun.trace.reader import Arm, Run, open_run

# As many threads here as in every process that a test starts: their bits are compared.
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))
# No test fails for luck, nor for being slow: the same examples every time, and no deadline in seconds. Others, drawn
# anew, are tried by hand: pytest --hypothesis-profile=search
settings.register_profile("search", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

TINY = """\
title: a tiny study
model: {use: mlp, hidden: [6], activation: tanh, init: {scheme: kaiming_normal, scale: 0.5}}
dataset: {use: dice, classes: [three, six], size: 48, test_size: 16}
groups: {use: prototypes, per_class: 2, displacement: 3.0}
loss: squared_error
optimizer: {use: gd, lr: 0.01}
stop: {steps: 12}
probes:
  - loss
"""

ALL_PROBES = """\
  - {use: sharpness, k: 2, every: 2}
  - {use: group_alignment, every: 3, as: alignment}
  - {use: gradient_norm, by_layer: true}
  - {use: parameters, every: {log: 5}}
  - {use: per_example_loss, at: [0, 3, 7]}
  - group_data
"""


@pytest.fixture(autouse=True)
def _nobody_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where one test follows another within the time that an interruption takes."""
    monkeypatch.setattr(StopRequest, "_interrupted", float("-inf"))


@pytest.fixture(autouse=True)
def _whatever_ran_before() -> None:
    """What a test draws from the global generators does not depend on the tests before it."""
    torch.manual_seed(0), np.random.seed(0), random.seed(0)


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run in the background, which shells start with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated data are cached beside the tests, never in the user's own cache."""
    monkeypatch.setenv("STUDYRUN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data, or one that does not exist."""
    return Path(os.environ.get("STUDYRUN_DATA", "/nonexistent"))


LoadTiny = Callable[..., Study]
CarryOut = Callable[..., Run]


@pytest.fixture
def tiny(tmp_path: Path) -> LoadTiny:
    """Load a small study: `TINY`, then `extra` YAML appended, then `--set` overrides."""

    def load(extra: str = "", *overrides: str, text: str = TINY) -> Study:
        path = tmp_path / "tiny.yaml"
        path.write_text(text + extra)
        return load_study(path, overrides=overrides)

    return load


@pytest.fixture
def carry_out(tmp_path: Path, data_folder: Path) -> CarryOut:
    """Run a study in a fresh folder and open what it left."""
    count = iter(range(1000))

    def run(study: Study) -> Run:
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        result: RunResult = execute(prepare(study, data_folder), folder, ["studyrun", "run"], Silent())
        assert result.folder == folder
        opened = open_run(folder)
        assert isinstance(opened, Run)
        return opened

    return run


def assert_same_channels(first: Arm, second: Arm, *, from_step: int = 0) -> None:
    """Every channel of two arms is equal bit for bit, rows from `from_step` on, NaNs included."""
    assert set(first.probes) == set(second.probes)
    for label, probe in first.probes.items():
        other = second.probes[label]
        rows, others = probe.step >= from_step, other.step >= from_step
        np.testing.assert_array_equal(probe.step[rows], other.step[others], err_msg=f"{label} step")
        np.testing.assert_array_equal(probe.time[rows], other.time[others], err_msg=f"{label} time")
        assert set(probe.channels) == set(other.channels)
        for name, channel in probe.channels.items():
            a, b = channel.values[rows], other.channels[name].values[others]
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes(), f"{label}.{name} differs"
