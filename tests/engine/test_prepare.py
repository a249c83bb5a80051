"""The check before a run: all faults at once, in every arm, by name, with nothing written and nothing moved."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from studyrun.engine.events import Silent
from studyrun.engine.prepare import prepare
from studyrun.engine.run import execute
from studyrun.errors import ComponentError, ProbeError, StudyrunError, UnfitStudyError
from studyrun.launch.start import launch
from studyrun.study import Study, load_study

PLAIN = """\
title: a plain study
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 3, points: 12}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 6}
probes: [loss]
"""

PLUGINS = {
    "datasets/made": '''\
"""Data of any kind."""

import torch

from studyrun.plugin import Data, Dataset, Split


class Made(Dataset):
    """Nine points on a line."""

    first: int = 0
    bad_value: bool = False
    flat_targets: bool = False
    classes: tuple[str, ...] = ("a", "b")
    outputs: int = 2
    examples: int = 9

    def load(self, folder, subset):
        inputs = torch.linspace(-1, 1, self.examples)[:, None].repeat(1, 3)
        if self.bad_value:
            inputs[-1, 0] = torch.nan
        if self.flat_targets:
            return Data(Split(inputs, inputs[:, 0]), None, (), 1)
        return Data(Split(inputs, torch.arange(self.examples) % 2 + self.first), None, self.classes, self.outputs)
''',
    "losses/broadcasting": '''\
"""A loss that forgets a dimension."""

from studyrun.plugin import Loss


class Broadcasting(Loss):
    """The squared difference, which (n, 1) and (n,) broadcast to (n, n)."""

    def per_example(self, outputs, targets):
        return (outputs - targets).square().mean(1)
''',
    "models/faulty": '''\
"""A model that fails at one place or another."""

import torch
from torch import nn

from studyrun.plugin import Model


class Block(nn.Module):
    def __init__(self, width, wrong):
        super().__init__()
        self.narrow, self.wide = nn.Linear(3, width), nn.Linear(width + wrong, 2)
        self.steps, self.fails_after = 0, 0

    def forward(self, inputs):
        self.steps += torch.is_grad_enabled() and self.training
        if self.fails_after and self.steps > self.fails_after:
            raise RuntimeError("line one of many\\n" + "\\n".join(f"dispatch key {i}" for i in range(100)))
        return self.wide(torch.tanh(self.narrow(inputs)))


class Faulty(Model):
    """Two layers inside a block."""

    wrong: int = 0
    fails_after: int = 0
    cannot_be_built: bool = False
    norm: bool = False

    def build(self, example_shape, outputs, init):
        if self.cannot_be_built:
            return nn.Linear(*torch.zeros(3).shape, "text")
        block = Block(4, self.wrong)
        block.fails_after = self.fails_after
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=init))
        return nn.Sequential(nn.BatchNorm1d(3) if self.norm else nn.Identity(), block)
''',
    "groups/some": '''\
"""Groups of any kind."""

import torch

from studyrun.plugin import Grouping, Groups


class Some(Groups):
    """One group."""

    members: tuple[int, ...] = (0, 1)

    def form(self, data, subset):
        return Grouping(data, {"some": torch.tensor(self.members)})
''',
}
Load = Callable[..., Study]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)
    for name, source in PLUGINS.items():
        path = tmp_path / "plugins" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    def loaded(*overrides: str, more: str = "") -> Study:
        (tmp_path / "study.yaml").write_text(PLAIN + more)
        return load_study(tmp_path / "study.yaml", overrides=overrides)

    return loaded


def refused(study: Study, tmp_path: Path) -> str:
    """What a run is refused for, once it is sure that it leaves nothing behind."""
    with pytest.raises(StudyrunError) as caught:
        launch(study)
    assert caught.value.exit_code in (1, 3)
    assert not (tmp_path / "outputs").exists()
    return str(caught.value)


def test_all_faults_are_told_at_once_each_by_its_component(load: Load, tmp_path: Path) -> None:
    study = load(
        "dataset=made", "dataset.first=1", "dataset.bad_value=true", "model={use: faulty, cannot_be_built: true}",
        "groups={use: some, members: [3, 3]}",
    )  # fmt: skip
    with pytest.raises(UnfitStudyError) as caught:
        prepare(study, tmp_path)
    *lines, last = str(caught.value).splitlines()
    assert last.startswith("  model 'faulty': TypeError: ")
    assert lines == [
        "3 faults; nothing was run",
        "  data set 'made': training inputs hold nan, first in example 8; finite numbers would be right",
        "  data set 'made': training labels run from 1 to 2 (example 1 is the first outside); 0 to 1 would be right, "
        "for there are 2 classes",
    ]
    sound = load("dataset=made", "model={use: faulty, cannot_be_built: true}", "groups={use: some, members: [3, 3]}")
    message = refused(sound, tmp_path)
    assert "groups 'some': group 'some' holds an index twice" in message
    assert "model 'faulty': TypeError: " in message
    assert isinstance(caught.value, ComponentError)
    assert isinstance(caught.value, ProbeError)


def test_probes_triggers_and_optimizers_are_told_together_too(load: Load, tmp_path: Path) -> None:
    study = load(
        "optimizer={use: torch_optimizer, name: Muon, lr: 0.1}",
        "probes=[loss, group_alignment, {use: sharpness, k: 100}]",
    )
    message = refused(study, tmp_path)
    assert message.startswith("3 faults; nothing was run\n")
    assert "probe 'group_alignment': this probe follows groups of examples" in message
    assert "probe 'sharpness': sharpness cannot give k = 100" in message
    assert "optimizer 'torch_optimizer' does not take the parameters of model 'mlp'" in message


SECOND = """\
branches:
  changed:
    at: {use: step, step: 2}
    set: {optimizer: {use: torch_optimizer, name: Adagrad, lr: 0.1}}
"""


def test_a_trigger_that_lacks_its_quantity_in_the_second_arm_is_found_before_the_first_trains(
    load: Load, tmp_path: Path
) -> None:
    when = "stop={steps: 6, when: edge_of_stability}"
    message = refused(load("probes=[loss, sharpness]", when, more=SECOND), tmp_path)
    assert message.startswith("arm 'changed': stop.when: trigger edge_of_stability: no threshold is known")
    frozen = "probes=[loss, sharpness, {use: iterate_projection, freeze: edge_of_stability}]"
    message = refused(load(frozen, more=SECOND), tmp_path)
    assert message.startswith("arm 'changed': probe 'iterate_projection': freeze: trigger edge_of_stability: no thresh")


def test_a_trigger_that_has_fired_by_the_fork_is_not_asked_again(load: Load, tmp_path: Path) -> None:
    frozen = "probes=[loss, sharpness, {use: iterate_projection, freeze: edge_of_stability}]"
    assert prepare(load(frozen, more=SECOND.replace("{use: step, step: 2}", "edge_of_stability")), tmp_path)


def test_each_arm_records_what_its_own_loss_and_optimizer_give(load: Load, tmp_path: Path) -> None:
    more = "branches: {wrong: {at: {use: step, step: 2}, set: {loss: cross_entropy}}}\n"
    message = refused(load(more=more), tmp_path)
    assert "model 'mlp' and loss 'cross_entropy' do not fit the data set 'chebyshev'" in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ("dataset={use: made, flat_targets: true}", "loss=broadcasting"),
            r"loss 'broadcasting' gives an example another loss .* Outputs are \(8, 1\) and targets \(8,\)",
        ),
        (
            ("dataset={use: made, flat_targets: true}",),
            r"'mlp' and loss 'squared_error' do not fit the data set 'made' .*outputs \(2, 1\) and targets \(2,\)",
        ),
        (
            ("dataset=made", "model={use: faulty, wrong: 1}"),
            r"mat1 and mat2 shapes cannot be multiplied \(2x4 and 5x2\) \(in layer '1.wide' \(Linear\) of model "
            r"'faulty', faulty.py:19\); the input of a layer has another number of features",
        ),
        (
            (
                "dataset={use: made, examples: 10}",
                "model={use: faulty, norm: true}",
                "optimizer={use: sgd, lr: 0.1, batch_size: 3}",
            ),
            r"'sgd': batch_size 3 leaves a last batch of one of the 10 training examples \(batch_size 4 would not\), "
            r"which model 'faulty' does not take: .*Expected more than 1 value per channel.*layer '0' \(BatchNorm1d\)",
        ),
        (
            ("dataset=made", "model={use: faulty, norm: true}", "chunk_size=1"),
            r"optimizer 'gd': chunk_size 1 makes chunks of a single one of the 9 training examples, which model 'fau",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_place_and_remedy(
    load: Load, tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    message = refused(load(*overrides), tmp_path)
    assert re.search(words, message), message


@pytest.mark.parametrize("size", [4, 5, 9, 128])
def test_batches_that_leave_no_single_example_are_taken(load: Load, tmp_path: Path, size: int) -> None:
    optimizer = f"optimizer={{use: sgd, lr: 0.1, batch_size: {size}}}"
    model = f"model={{use: faulty, norm: {str(9 % size != 1).lower()}}}"
    warnings = prepare(load("dataset=made", model, optimizer), tmp_path).warnings
    wanted = "optimizer 'sgd': batch_size 128 is more than the 9 training examples: each step takes them all"
    assert warnings == ((wanted,) if size == 128 else ())


def test_a_training_step_that_fails_says_where_and_keeps_the_whole_text(load: Load, tmp_path: Path) -> None:
    study = load("dataset=made", "model={use: faulty, fails_after: 40}", "stop.steps=200")
    (tmp_path / "run").mkdir()
    with pytest.raises(StudyrunError) as caught:
        execute(prepare(study, tmp_path), tmp_path / "run", [], Silent())
    message = str(caught.value)
    assert message.startswith("the training step at step ")
    assert message.endswith("RuntimeError: line one of many (in layer '1' (Block) of model 'faulty', faulty.py:18)")
    events = (tmp_path / "run" / "events.jsonl").read_text()
    assert "dispatch key 99" in events
    assert "dispatch key" not in message


def test_nothing_moves_while_it_is_looked_at(load: Load, tmp_path: Path) -> None:
    study = load("dataset=made", "model={use: faulty, norm: true}", "probes=[loss, sharpness]")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = prepare(study, tmp_path).problem, prepare(study, tmp_path).problem
    assert torch.equal(before, torch.get_rng_state())
    assert first.model[1].steps == 0
    assert int(first.model[0].num_batches_tracked) == 0
    assert first.model[0].running_mean.eq(0).all()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
