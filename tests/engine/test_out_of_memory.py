"""Memory that runs out in a probe costs time, not the run; in training it is explained; nothing measured is changed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from weakref import ref

import numpy as np
import pytest
import torch
from conftest import TINY, assert_same_channels
from oracles.effort import PATIENCE

from studyrun.cli import call
from studyrun.curvature import HessianOperator
from studyrun.curvature.memory import memory_asked, ran_out_of_memory
from studyrun.engine import trainer as trainers
from studyrun.engine.events import Silent
from studyrun.engine.guard import MarkGuard
from studyrun.engine.problem import Problem
from studyrun.engine.run import execute, prepare, resume
from studyrun.errors import ProbeError, StudyrunError
from studyrun.trace.reader import Run, open_run

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139 GiB")
CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes.")
NUMPY = MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,) and data type float64")
PROBES = """\
  - {use: parameters, every: 1}
  - {use: sharpness, k: 2, every: 2, tolerance: 1.0e-7}
  - {use: gauss_newton, every: 2, tolerance: 1.0e-7}
  - {use: group_alignment, every: 2, tolerance: 1.0e-7}
  - {use: per_example_curvature, every: 2, tolerance: 1.0e-7}
  - {use: sharpness_coupling, every: 2, tolerance: 1.0e-7}
  - {use: spectral_density, at: [2, 4], depth: 8, random_vectors: 2, range: [-1.0, 30.0]}
  - {use: displaced_loss, at: [3]}
"""
FLOAT64 = ("precision=float64", "model.hidden=[4]", "dataset.pixels=6", "stop.steps=8")


class Loud(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def say(self, text: str, level: str = "info") -> None:
        self.warnings += [text] if level == "warning" else []


class Memory:
    """Room for so many examples at a time in what probes pass through the model; None: for any number."""

    def __init__(self, error: Exception) -> None:
        self.error, self.room = error, None

    def hold(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, examples: int) -> None:
        genuine = getattr(owner, name)

        def tight(this: Problem, *arguments, **options):
            if self.room is not None and len(arguments[examples]) > self.room:
                raise self.error
            return genuine(this, *arguments, **options)

        monkeypatch.setattr(owner, name, tight)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Memory]:
    def scarce(error: Exception) -> Memory:
        made = Memory(error)
        made.hold(monkeypatch, Problem, "forward", 1)
        return made

    return scarce


@pytest.fixture
def carried(tiny, data_folder, tmp_path: Path):
    def run(name: str, text: str, *overrides: str, fails: type[Exception] | None = None) -> tuple[Run, list[str]]:
        folder, loud = tmp_path / name, Loud()
        folder.mkdir()
        prepared = prepare(tiny(text, *overrides), data_folder)
        if fails is None:
            execute(prepared, folder, [], loud)
        else:
            with pytest.raises(fails):
                execute(prepared, folder, [], loud)
        return open_run(folder), loud.warnings

    return run


def assert_close(first: Run, second: Run) -> None:
    """Values agree as two solves of the same tolerance do; what training alone decides, to the bit."""
    for label, probe in first["baseline"].probes.items():
        other = second["baseline"].probes[label]
        np.testing.assert_array_equal(probe.step, other.step)
        for name, channel in probe.channels.items():
            if label in ("loss", "parameters"):
                np.testing.assert_array_equal(channel.values, other[name].values)
            elif channel.values.dtype.kind == "f" and name not in ("residual", "error", "doubt", "angle"):
                np.testing.assert_allclose(channel.values, other[name].values, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("error", "probes"),
    [(CUDA, PROBES), (CPU, "  - {use: sharpness, at: [0]}\n"), (NUMPY, "  - {use: sharpness, at: [0]}\n")],
    ids=["cuda", "cpu", "numpy"],
)
def test_a_probe_short_of_memory_measures_the_same_in_smaller_chunks(carried, memory, error, probes: str) -> None:
    whole, calm = carried("whole", probes, *FLOAT64)
    assert calm == []
    memory(error).room = 15
    pieces, warnings = carried("pieces", probes, *FLOAT64)
    assert_close(whole, pieces)
    amount = {CUDA: "2.00 GiB", CPU: "3 GiB", NUMPY: "7.45 GiB"}[error]
    head, tail = (
        "ran out of memory at step 0 with chunks of",
        "in the eigenpairs, for all who ask; training keeps its own",
    )
    assert warnings[:2] == [
        f"probe 'sharpness' {head} 48 examples, asking for {amount}; it goes on with chunks of 24 {tail}",
        f"probe 'sharpness' {head} 24 examples, asking for {amount}; it goes on with chunks of 12 {tail}",
    ]
    others = {text.split("'")[1] for text in warnings[2:]}
    assert "sharpness" not in others
    assert len(warnings) == 2 + 2 * len(others), "each for itself"
    assert all(
        text.endswith("; it goes on with chunks of 12; everything else keeps its own") for text in warnings[3::2]
    )


def test_a_second_attempt_draws_the_same_numbers_and_starts_from_the_same_carry(carried, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "probes").mkdir(parents=True)
    (tmp_path / "plugins" / "probes" / "greedy.py").write_text('''\
"""A probe that needs more room than there is in every second measurement."""

import random

import numpy
import torch

from studyrun.plugin import Channel, Probe


class Greedy(Probe):
    """Draw from every generator, run short, and count."""

    room: int

    def channels(self, context):
        return [Channel("drawn", "numbers"), Channel("count", "measurements", dtype="int64")]

    def start(self, context):
        return {"count": 0}

    def measure(self, snapshot, carry):
        drawn = torch.rand(()) + numpy.random.rand() + random.random()
        drawn = drawn + torch.rand((), generator=snapshot.generator("greedy"))
        after = {"count": carry["count"] + 1}
        if snapshot.chunk_size > self.room:
            raise torch.OutOfMemoryError("Tried to allocate 1.00 GiB")
        return {"drawn": drawn, "count": after["count"]}, after
''')
    calm, _ = carried("calm", "  - {use: greedy, room: 5000}\n")
    short, warnings = carried("short", "  - {use: greedy, room: 7}\n")
    assert len(warnings) == 3
    assert_same_channels(calm["baseline"], short["baseline"])


def test_graphs_of_small_chunks_are_not_kept_together(carried, monkeypatch) -> None:
    """There is room for the graphs of fifteen examples, whatever chunks they come in."""
    genuine, alive = HessianOperator._build, []

    def tight(self, inputs, targets):
        alive[:] = [(graph, count) for graph, count in alive if graph() is not None]
        if sum(count for _, count in alive) + len(inputs) > 15:
            raise CUDA
        graph = genuine(self, inputs, targets)
        alive.append((ref(graph[0]), len(inputs)))
        return graph

    probe = "  - {use: hessian_trace, every: 2, products: 8}\n"
    whole, _ = carried("whole", probe, *FLOAT64)
    monkeypatch.setattr(HessianOperator, "_build", tight)
    pieces, warnings = carried("pieces", probe, *FLOAT64)
    assert len(warnings) == 2
    assert_close(whole, pieces)


def test_short_of_memory_for_a_single_example_the_run_fails_and_can_be_resumed(
    carried, monkeypatch, tiny, data_folder, tmp_path: Path
) -> None:
    text = "  - parameters\n  - {use: sharpness, k: 2, every: 2}\ncheckpoints: {every: 3}\n"
    whole, _ = carried("whole", text, *FLOAT64)
    scarce = Memory(CUDA)
    scarce.hold(monkeypatch, HessianOperator, "_image", 0)

    class Filling(Loud):
        def update(self, arm: str, step: int, fraction: float, note: str) -> None:
            scarce.room = 0 if step >= 7 else None

    folder, prepared = tmp_path / "full", prepare(tiny(text, *FLOAT64), data_folder)
    folder.mkdir()
    words = (
        r"probe 'sharpness' ran out of memory at step 8 with chunks of 1 example, asking for 2.00 GiB. "
        r"`studyrun resume` goes on from the last checkpoint where there is more memory; .*fewer eigenvalues"
    )
    with pytest.raises(ProbeError, match=words):
        execute(prepared, folder, [], Filling())
    left = open_run(folder)
    assert left.status["state"] == left["baseline"].state == "failed"
    assert "with chunks of 1 example," in left["baseline"].end_reason
    assert left["baseline"]["parameters"].step.tolist() == list(range(9))
    assert left["baseline"]["sharpness"].step.tolist() == [0, 2, 4, 6]
    scarce.room = None
    assert resume(prepare(tiny(text, *FLOAT64), data_folder), folder, Silent()).state == "complete"
    assert_same_channels(open_run(folder)["baseline"], whole["baseline"])


NORMED = '''\
"""A small network with batch normalisation."""

from torch import nn

from studyrun.plugin import Model


class Normed(Model):
    """Linear, batch normalisation, linear."""

    def build(self, shape, outputs, generator):
        layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))
        for parameter in layers.parameters():
            nn.init.normal_(parameter, 0, 0.1, generator=generator)
        return layers
'''


@pytest.fixture
def normed(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "plugins" / "models").mkdir(parents=True)
    (tmp_path / "plugins" / "models" / "normed.py").write_text(NORMED)
    return "model=normed", "dataset.pixels=6", "precision=float64", "stop.steps=8"


def test_under_batch_normalisation_smaller_chunks_would_be_another_loss(carried, memory, normed, tmp_path) -> None:
    probe, scarce = "  - {use: sharpness, every: 2}\n", memory(CUDA)
    scarce.room = 15
    run, warnings = carried("short", probe, *normed, fails=ProbeError)
    assert len(warnings) == 1
    assert warnings[0].endswith("with chunks of 48 examples, asking for 2.00 GiB; it is tried once more")
    assert "smaller chunks would measure something else" in run["baseline"].end_reason
    assert "a smaller `chunk_size` would do" in run["baseline"].end_reason


def test_a_step_whose_graph_does_not_fit_is_taken_without_and_to_the_same_bits(carried, monkeypatch, normed) -> None:
    """Buffers moved and numbers drawn by the attempt are taken back."""
    probe = "  - {use: sharpness, every: 1}\n  - parameters\n"
    whole, _ = carried("whole", probe, *normed)
    genuine, calls = trainers.differentiable_pass, []

    def tight(problem, split, forward=None):
        calls.append(forward)
        found = genuine(problem, split, forward)
        if len(calls) == 4:
            torch.rand(5)
            raise CUDA
        return found

    monkeypatch.setattr(trainers, "differentiable_pass", tight)
    short, warnings = carried("short", probe, *normed)
    assert len(calls) == 4, "it is not tried again"
    assert warnings == []
    assert_close(whole, short)


@pytest.mark.parametrize("owner", ["differentiable_pass", "training_pass"])
def test_the_first_comparison_may_lack_memory_but_training_may_not(carried, monkeypatch, owner: str) -> None:
    def tight(*_: object) -> None:
        raise CPU

    monkeypatch.setattr(trainers, owner, tight)
    monkeypatch.setattr("studyrun.engine.prepare.rehearse", lambda *_: None)  # it passes a few examples alone
    probe, fails = "  - {use: sharpness, every: 1}\n", StudyrunError if owner == "training_pass" else None
    run, _ = carried("run", probe, "chunk_size=20", *FLOAT64, fails=fails)
    assert run["baseline"].state == ("complete" if fails is None else "failed")


@pytest.mark.parametrize(
    ("optimizer", "size"), [("{use: gd, lr: 0.01}", 20), ("{use: sgd, lr: 0.01, batch_size: 7}", 7)]
)
def test_a_training_step_that_lacks_memory_names_the_option(
    tiny, data_folder, tmp_path, monkeypatch, optimizer: str, size: int
) -> None:
    genuine, steps = trainers.training_pass, []

    def tight(*arguments):
        steps.append(0)
        if len(steps) == 4:
            raise CPU
        return genuine(*arguments)

    prepared = prepare(tiny("", "chunk_size=20", f"optimizer={optimizer}"), data_folder)
    monkeypatch.setattr(trainers, "training_pass", tight)
    words = rf"the training step ran out of memory at step 3 with chunks of {size} examples, asking for 3 GiB. "
    with pytest.raises(StudyrunError, match=words + rf".* a new run with a `chunk_size` below {size} would do"):
        execute(prepared, tmp_path, [], Silent())
    left = open_run(tmp_path)["baseline"]
    assert left["loss"].step.tolist() == [0, 1, 2]
    assert left.state == "failed"
    assert len(steps) == 4, "another chunk size would train to other bits"


def test_an_error_of_another_kind_is_not_taken_for_a_shortage() -> None:
    assert ran_out_of_memory(RuntimeError("could not create a primitive")), "so oneDNN says it"
    assert not ran_out_of_memory(RuntimeError("shape mismatch"))
    assert not ran_out_of_memory(ValueError("out of memory"))
    asked = [memory_asked(str(error)) for error in (CUDA, CPU, NUMPY)]
    assert asked == ["asking for 2.00 GiB", "asking for 3 GiB", "asking for 7.45 GiB"]
    assert memory_asked("std::bad_alloc\nat 0x1") == "with the words 'std::bad_alloc'"
    assert memory_asked(str(MemoryError())) == "asking for an amount that nobody said"


def test_a_shortage_before_training_is_one_message_and_nobodys_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data of 355 PiB, more than a process can address: the allocation really fails, wherever this runs."""
    study = tmp_path / "vast.yaml"
    study.write_text(
        "title: vast\nmodel: two_layer_linear\ndataset: {use: opposing_signals, size: 10_000_000_000_000_000}\n"
        "loss: squared_error\noptimizer: {use: gd, lr: 0.01}\nstop: {steps: 2}\nprobes: [loss]\n"
    )
    assert call(["run", str(study), "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: data set 'opposing_signals': memory ran out, asking for 3.73e\+08 GiB: .* with more of it\n", said
    )
    assert not (tmp_path / "run").exists()


def test_a_guard_without_room_for_copies_still_sees_what_is_written_in_place(tiny, data_folder) -> None:
    class Full(torch.Tensor):
        def clone(self, **_: object) -> torch.Tensor:
            raise CUDA

    weight = torch.ones(3).as_subclass(Full)
    guard = MarkGuard(prepare(tiny(""), data_folder).problem)
    guard.tensors = {"weight": weight}
    with pytest.raises(ProbeError, match="probe 'rogue' wrote to weight"), guard.around("probe 'rogue'", 0):
        weight.mul_(2)
    with guard.around("probe 'calm'", 0):
        pass


REAL = """\
import resource, sys
from pathlib import Path

from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare
from studyrun.study import load_study

folder, room, probe, overrides = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
(folder / "study.yaml").write_text(Path(sys.argv[1] + ".yaml").read_text() + probe)


def size(line):
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(row.split()[1] for row in status if row.startswith(line)))


class Tight(Silent):
    limit = None

    def update(self, arm, step, fraction, note):
        if step == 1 and room:
            self.limit = size("VmPeak") + room * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (self.limit, self.limit))

    def say(self, text, level="info"):
        if level == "warning":
            print(text)


execute(prepare(load_study(folder / "study.yaml", overrides=overrides), Path("/nonexistent")), folder, [], Tight())
"""
# A layer's outputs weigh 36 MB: glibc asks the system for each of them, and gives each back.
WIDE = TINY.replace("size: 48", "size: 3000").replace("hidden: [6]", "hidden: [3000]").replace("tanh", "gelu")
TRACE = "  - {use: hessian_trace, products: 4, at: [2, 3]}\n"
SHORT = ("stop.steps=4", "dataset.pixels=6")


@pytest.mark.skipif(sys.platform != "linux", reason="an address space is limited as Linux has it")
def test_an_allocation_that_really_fails_is_survived(tiny, carry_out, tmp_path: Path) -> None:
    """The address space is limited to what training took: what torch then raises is the real thing."""
    whole = carry_out(tiny(TRACE, *SHORT, text=WIDE))
    folder = tmp_path / "tight"
    folder.mkdir()
    Path(f"{folder}.yaml").write_text(WIDE)
    command = [sys.executable, "-c", REAL, str(folder), "40", TRACE, *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    tight, warnings = open_run(folder), done.stdout.splitlines()
    assert warnings, "the limit was too wide to be felt"
    assert all("probe 'hessian_trace' ran out of memory at step 2 with chunks of" in line for line in warnings)
    losses, traces = (
        [one["baseline"][probe][name].values for one in (whole, tight)]
        for probe, name in (("loss", "train"), ("hessian_trace", "trace"))
    )
    assert losses[0].tobytes() == losses[1].tobytes()
    np.testing.assert_allclose(*traces, rtol=1e-4)
