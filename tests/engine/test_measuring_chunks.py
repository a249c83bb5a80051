"""One probe's shortage of memory is its own: no other reading changes in a bit, here, in a branch, or after a resume.

The model here tells in how large a batch an example came, by far more than rounding: a chunk of another size shows in
the values on any machine, whatever its kernels do with the rows of a product.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, assert_same_channels

from studyrun.engine import snapshot as snapshots
from studyrun.engine.events import Silent
from studyrun.engine.measuring_chunks import MeasuringChunks
from studyrun.engine.run import execute, prepare, resume
from studyrun.trace.reader import Run, open_run

TELLING = '''\
"""A network whose outputs grow with the number of examples that it is shown at once, and that may lack memory."""

import torch
from torch import nn

from studyrun.plugin import Model


class Net(nn.Module):
    room = None

    def __init__(self, features, outputs):
        super().__init__()
        self.first, self.last = nn.Linear(features, 4), nn.Linear(4, outputs)

    def forward(self, x):
        if Net.room is not None and len(x) > Net.room:
            raise torch.OutOfMemoryError("Tried to allocate 1.00 GiB")
        return self.last(torch.tanh(self.first(x.flatten(1)))) * (1 + len(x) / 100)


class Telling(Model):
    """Two layers, and the size of the batch."""

    def build(self, shape, outputs, generator):
        net = Net(shape.numel() if hasattr(shape, "numel") else int(torch.tensor(shape).prod()), outputs)
        for parameter in net.parameters():
            nn.init.normal_(parameter, 0, 0.3, generator=generator)
        return net
'''
GREEDY = '''\
"""A probe that runs short of memory: in its own work, or in what it asks the snapshot for."""

import torch

from studyrun.plugin import Channel, Probe


class Greedy(Probe):
    """Ask for everything that is shared, then for more room than there is."""

    room: int = 5000
    """So many examples fit in the probe's own work."""
    shared_room: int | None = None
    """So many fit through the model while the probe asks for what is shared."""

    def channels(self, context):
        return [Channel("size", "chunks", dtype="int64"), Channel("test", "test loss"), Channel("top", "sharpness")]

    def measure(self, snapshot, carry):
        net = type(snapshot.context.model)
        net.room = self.shared_room
        try:
            test, top = snapshot.losses("test").double().mean(), snapshot.eigenpairs(2, 1e-2).values[0]
            snapshot.gradient, snapshot.correct("train"), snapshot.group_gradients
        finally:
            net.room = None
        if snapshot.chunk_size > self.room:
            raise torch.OutOfMemoryError("Tried to allocate 1.00 GiB")
        snapshot.outputs(snapshot.context.data.train.inputs)
        return {"size": snapshot.chunk_size, "test": test, "top": top}, carry
'''
OTHERS = """\
  - parameters
  - {use: sharpness, k: 2, every: 3, tolerance: 1.0e-2}
  - {use: gauss_newton, at: [4]}
  - {use: group_alignment, every: 4}
  - {use: gradient_norm, every: 2}
  - {use: per_example_loss, every: 4}
  - {use: hessian_trace, at: [4], products: 4}
"""
GD, SGD = "{use: gd, lr: 0.01}", "{use: sgd, lr: 0.01, batch_size: 9}"


class Quiet(Silent):
    """Runs, keeps what it is warned of, and dies after a step of an arm where that is asked for."""

    def __init__(self, dies: tuple[str, int] | None = None) -> None:
        self.dies, self.warnings = dies, []

    def say(self, text: str, level: str = "info") -> None:
        self.warnings += [text] if level == "warning" else []

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.dies:
            raise SystemExit("killed")


Start = Callable[..., tuple[Run, list[str]]]


@pytest.fixture
def study(tiny, tmp_path: Path):
    for kind, name, text in (("models", "telling", TELLING), ("probes", "greedy", GREEDY)):
        (tmp_path / "plugins" / kind).mkdir(parents=True)
        (tmp_path / "plugins" / kind / f"{name}.py").write_text(text)

    def load(greedy: str, rest: str = "", optimizer: str = GD, *more: str):
        first = f"  - {{use: greedy, every: 4{greedy}}}\n"
        last = f"  - {{use: greedy, as: last, every: 4{greedy}}}\n"
        overrides = (
            "model=telling",
            "dataset.pixels=6",
            "precision=float64",
            "stop.steps=8",
            f"optimizer={optimizer}",
            *more,
        )
        return tiny(rest, *overrides, text=TINY.replace("  - loss\n", f"{first}  - loss\n{OTHERS}{last}"))

    return load


@pytest.fixture
def carried(data_folder, tmp_path: Path):
    def run(name: str, study, dies: tuple[str, int] | None = None) -> tuple[Run, list[str]]:
        folder, quiet = tmp_path / name, Quiet(dies)
        folder.mkdir()
        if dies is None:
            execute(prepare(study, data_folder), folder, [], quiet)
        else:
            with pytest.raises(SystemExit):
                execute(prepare(study, data_folder), folder, [], quiet)
        return open_run(folder), quiet.warnings

    return run


def assert_others_same(calm: Run, short: Run, besides: tuple[str, ...] = ()) -> None:
    """Every channel of every probe but the greedy ones, to the bit."""
    for label, probe in calm["baseline"].probes.items():
        for name, channel in probe.channels.items():
            if label not in ("greedy", "last", *besides):
                other = short["baseline"][label][name].values
                assert channel.values.tobytes() == other.tobytes(), f"{label}.{name} differs"


def tight(genuine, room: int):
    """The same pass where so many examples fit through the model."""

    def run(problem, *rest):
        net = type(problem.model)
        net.room = room
        try:
            return genuine(problem, *rest)
        finally:
            net.room = None

    return run


@pytest.mark.parametrize("optimizer", [GD, SGD])
def test_a_probe_short_of_memory_changes_no_other_reading(study, carried, optimizer: str) -> None:
    calm, warnings = carried("calm", study("", optimizer=optimizer))
    assert warnings == []
    short, warnings = carried("short", study(", room: 7", optimizer=optimizer))
    assert len(warnings) == 6, "48, 24 and 12 examples did not fit, for each of the two"
    assert short["baseline"]["greedy"]["size"].values.tolist() == [6] * 3
    assert_others_same(calm, short)
    for name in ("test", "top"):
        ours, theirs = (run["baseline"]["greedy"][name].values for run in (short, calm))
        np.testing.assert_array_equal(ours, theirs, err_msg="what is shared did fit")


@pytest.mark.parametrize("optimizer", [GD, SGD])
def test_what_is_shared_does_not_depend_on_what_the_asking_probe_keeps_in_memory(study, carried, optimizer) -> None:
    """It fits by itself, as it does for the others."""
    calm, _ = carried("calm", study("", optimizer=optimizer))
    short, warnings = carried("short", study(", shared_room: 7", optimizer=optimizer))
    assert warnings == []
    assert_same_channels(calm["baseline"], short["baseline"])


def test_what_does_not_fit_even_by_itself_is_cut_smaller_for_all_who_ask(study, carried, monkeypatch) -> None:
    calm, _ = carried("calm", study("", optimizer=SGD))
    monkeypatch.setattr(snapshots, "training_pass", tight(snapshots.training_pass, 7))
    short, warnings = carried("short", study("", optimizer=SGD))
    assert warnings[0] == (
        "probe 'greedy' ran out of memory at step 0 with chunks of 48 examples, asking for 1.00 GiB; "
        "it goes on with chunks of 24 in the full gradient, for all who ask; training keeps its own"
    )
    assert len(warnings) == 3
    ours, theirs = (run["baseline"]["gradient_norm"]["norm"].values for run in (short, calm))
    assert (ours < theirs).all(), "smaller batches give smaller outputs here"
    assert_others_same(calm, short, besides=("gradient_norm", "group_alignment"))


def test_chunks_once_made_smaller_stay_so_in_a_branch_and_in_a_resumed_run(
    study, carried, data_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory returns after step 3: what is measured from there on is measured as it had been."""
    rest = "branches:\n  same: {at: {use: step, step: 4}}\ncheckpoints: {every: 3}\n"
    made = study(", room: 7", rest)
    whole, _ = carried("whole", made)
    assert whole["same"]["greedy"]["size"].values.tolist() == [6] * 2
    assert_same_channels(whole["baseline"], whole["same"], from_step=4)
    carried("killed", made, dies=("baseline", 5))
    probe = type(made.probes[0].probe)
    genuine = probe.measure
    monkeypatch.setattr(probe, "measure", lambda self, *rest: genuine(self.model_copy(update={"room": 5000}), *rest))
    assert resume(prepare(made, data_folder), tmp_path / "killed", Silent()).state == "complete"
    resumed = open_run(tmp_path / "killed")
    for name, arm in whole.arms.items():
        assert_same_channels(arm, resumed[name])


def test_a_trigger_that_asks_for_the_loss_may_run_short_too(study, carried, monkeypatch) -> None:
    """Under mini-batches nobody else may have asked for it."""
    monkeypatch.setattr(snapshots, "forward_pass", tight(snapshots.forward_pass, 7))
    _, warnings = carried("short", study("", "", SGD, "stop.loss_below=1.0e-9", "probes=[parameters]"))
    assert warnings[0].startswith("a trigger ran out of memory at step 0 with chunks of 48 examples, asking for 1.00")
    assert warnings[2].endswith(
        "it goes on with chunks of 6 in the train loss, for all who ask; training keeps its own"
    )
    assert len(warnings) == 3


def test_sizes_are_kept_apart() -> None:
    chunks = MeasuringChunks(100)
    chunks.shrink("eigenpairs", 50)
    assert (chunks.of("eigenpairs"), chunks.of("probe 'one'"), chunks.size) == (50, 100, 100)
    with chunks.measuring("probe 'one'"):
        assert chunks.share("eigenpairs", lambda: chunks.size) == 50
        assert chunks.size == 100
    assert MeasuringChunks(40, chunks.smaller).of("eigenpairs") == 40, "a branch may ask for less"
    assert chunks.graph_bytes == 0 < MeasuringChunks(100).graph_bytes
