"""Frozen, tied, unused and lazy parameters, buffers of any type: trained as plain PyTorch does it, or refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_same_channels
from torch.func import functional_call

from studyrun.engine.events import Silent
from studyrun.engine.prepare import prepare
from studyrun.engine.run import execute, resume
from studyrun.engine.trainer import Trainer
from studyrun.errors import ComponentError, StudyrunError
from studyrun.study import Study, load_study
from studyrun.trace.reader import open_run

POINTS = '''\
"""Points of two classes."""

import torch

from studyrun.plugin import Data, Dataset, Split


class Points(Dataset):
    """Twenty-four points in three dimensions."""

    def load(self, folder, subset):
        inputs = torch.randn(24, 3, generator=subset, dtype=torch.float64)
        return Data(Split(inputs, (inputs.sum(1) > 0).long()), None, ("under", "over"), 2)
'''

ORDINARY = '''\
"""Models as people write them."""

import torch
from torch import nn

from studyrun.plugin import Model


class Net(nn.Module):
    def __init__(self, kind, outputs, init):
        super().__init__()
        self.kind = kind
        self.first = nn.LazyLinear(4, dtype=torch.float64) if kind == "lazy" else nn.Linear(3, 4, dtype=torch.float64)
        self.second = nn.Linear(4, 4, bias=False, dtype=torch.float64)
        self.head = nn.Linear(4, outputs, dtype=torch.float64)
        if kind == "tied":
            self.third = nn.Linear(4, 4, bias=False, dtype=torch.float64)
            self.third.weight = self.second.weight
        if kind == "tied_by_view":
            self.third = nn.Linear(4, 4, bias=False)
            self.third.weight = nn.Parameter(self.second.weight.data.T)
        if kind == "expanded":
            self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64).expand(4))
        if kind == "complex_parameter":
            self.turn = nn.Parameter(torch.ones(4, dtype=torch.complex128))
        if kind == "unused":
            self.spare = nn.Linear(2, 2, dtype=torch.float64)
        if kind == "buffers":
            self.register_buffer("turn", torch.exp(1j * torch.arange(4, dtype=torch.float64)))
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))
            self.register_buffer("mask", torch.tensor([True, True, False, True]))
            self.register_buffer("wide", torch.full((1,), 0.5, dtype=torch.float64).expand(4))
            self.register_buffer("same", self.mask, persistent=False)
        with torch.no_grad():
            for parameter in self.parameters():
                if not isinstance(parameter, nn.UninitializedParameter) and kind != "expanded":
                    parameter.copy_(0.7 * torch.randn(parameter.shape, generator=init, dtype=torch.float64))
        if kind in ("frozen", "teacher", "thaws"):
            self.first.requires_grad_(False)
        if kind == "all_frozen":
            self.requires_grad_(False)
        self.calls = 0

    def forward(self, inputs):
        if self.kind == "made_late" and not hasattr(self, "late"):
            self.late = nn.Parameter(torch.ones(4, dtype=inputs.dtype))
        if self.kind == "teacher" and self.training:
            with torch.no_grad():
                self.first.weight.mul_(0.9999).add_(0.0001 * self.second.weight[:, :3])
        if self.kind == "thaws":
            self.calls += 1
            self.first.requires_grad_(self.calls > 9)
        if self.kind == "freezes":
            self.calls += 1
            self.first.requires_grad_(self.calls < 9)
        hidden = torch.tanh(self.first(inputs))
        if self.kind == "buffers":
            self.count += self.training
            hidden = (hidden * self.turn).imag * self.mask + self.wide
        hidden = torch.tanh(self.second(hidden))
        if hasattr(self, "third"):
            hidden = torch.tanh(self.third(hidden))
        outputs = self.head(hidden)
        returns = {"tuple": (outputs, hidden), "dict": {"logits": outputs}, "whole": outputs.argmax(1, keepdim=True)}
        return returns.get(self.kind, outputs[:, 0] if self.kind == "squeezed" else outputs)


class Ordinary(Model):
    """Two hidden layers, of one kind or another."""

    kind: str

    def build(self, example_shape, outputs, init):
        return Net(self.kind, outputs, init) if self.kind != "no_module" else (lambda inputs: inputs)
'''

TEXT = """\
title: ordinary models
model: {use: ordinary, kind: frozen}
dataset: points
loss: squared_error
optimizer: {use: gd, lr: 0.1, momentum: 0.5}
precision: float64
stop: {steps: 6}
probes: [loss, {use: sharpness, k: 3, every: 2, tolerance: 1.0e-8}, {use: gauss_newton, every: 3}, hessian_trace]
"""

Load = Callable[..., Study]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    for name, source in {"models/ordinary": ORDINARY, "datasets/points": POINTS}.items():
        path = tmp_path / "plugins" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "study.yaml").write_text(TEXT)

    def loaded(kind: str, *overrides: str) -> Study:
        return load_study(tmp_path / "study.yaml", overrides=[f"model.kind={kind}", *overrides])

    return loaded


WORKS = ("frozen", "tied", "unused", "lazy", "buffers", "teacher")


def plain(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss, written down once more."""
    wanted = torch.nn.functional.one_hot(targets, 2).to(inputs)
    return (model(inputs) - wanted).square().sum(1).mean()


@pytest.mark.parametrize("kind", WORKS)
def test_it_trains_as_a_plain_loop_does(load: Load, tmp_path: Path, kind: str) -> None:
    problem = prepare(load(kind), tmp_path).problem
    model, train = deepcopy(problem.model), problem.data.train
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        plain(model, train.inputs, train.targets).backward()
        optimizer.step()
    trainer = Trainer(problem)
    for _ in range(5):
        trainer.begin()
        trainer.evaluate()
        trainer.advance()
    expected = model.state_dict()
    for name, value in problem.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12, msg=f"{kind}: {name}")
    moved = [name for name, value in problem.model.state_dict().items() if value.is_complex()]
    assert moved == (["turn"] if kind == "buffers" else [])


@pytest.mark.parametrize("kind", ["frozen", "tied", "unused", "lazy", "buffers"])
def test_curvature_is_that_of_the_dense_hessian_over_what_is_trained(
    load: Load, carry_out, tmp_path: Path, kind: str
) -> None:
    study = load(kind, "stop.steps=0")
    run, problem = carry_out(study), prepare(study, tmp_path).problem
    model, train = problem.model, problem.data.train
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    start = [dict(model.named_parameters())[name].detach() for name in names]
    shapes = [part.shape for part in start]
    still = {name: value.clone() for name, value in model.state_dict().items() if name not in names}
    still = {name: value for name, value in still.items() if name not in ("third.weight",)}

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [
            piece.view(shape) for piece, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)
        ]
        state = {name: value.clone() for name, value in still.items()} | dict(zip(names, parts, strict=True))
        return plain(lambda inputs: functional_call(model, state, (inputs,)), train.inputs, train.targets)

    dense = torch.autograd.functional.hessian(loss, torch.cat([part.reshape(-1) for part in start]))
    values = torch.linalg.eigvalsh(dense).flip(0)[:3]
    baseline = run["baseline"]
    assert problem.parameters == len(dense)
    np.testing.assert_allclose(baseline["sharpness"]["eigenvalue"].values[0], values, rtol=1e-6)
    np.testing.assert_allclose(baseline["hessian_trace"]["trace"].values[0], dense.trace(), rtol=0.2)


@pytest.mark.parametrize("kind", ["frozen", "buffers", "teacher"])
def test_forks_and_resumed_runs_go_on_exactly(load: Load, carry_out, tmp_path: Path, kind: str) -> None:
    (tmp_path / "study.yaml").write_text(
        TEXT + "branches: {same: {at: {use: step, step: 3}}}\ncheckpoints: {every: 2}\n"
    )

    class Dies(Silent):
        def update(self, arm: str, step: int, fraction: float, note: str) -> None:
            if (arm, step) == ("baseline", 4):
                raise SystemExit

    whole = carry_out(load(kind))
    assert_same_channels(whole["baseline"], whole["same"], from_step=3)
    folder = tmp_path / "dead"
    folder.mkdir()
    with pytest.raises(SystemExit):
        execute(prepare(load(kind), tmp_path), folder, [], Dies())
    resume(prepare(load(kind), tmp_path), folder, Silent())
    for arm in ("baseline", "same"):
        assert_same_channels(whole[arm], open_run(folder)[arm])


def test_lazy_parameters_have_one_initialisation_whatever_the_precision(load: Load, tmp_path: Path) -> None:
    weights = [
        prepare(load("lazy", f"precision={precision}"), tmp_path).problem.model.first.weight.detach()
        for precision in ("float64", "float32", "float64")
    ]
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[0].float(), weights[1])


def test_a_parameter_of_no_use_is_told_and_stays(load: Load, tmp_path: Path) -> None:
    warnings = prepare(load("unused"), tmp_path).warnings
    assert warnings == (
        "model 'ordinary' with loss 'squared_error': 2 parameters, 'spare.weight' the first, take no part in the loss, "
        "and no gradient",
    )
    (tmp_path / "run").mkdir()
    execute(prepare(load("unused", "stop.steps=1"), tmp_path), tmp_path / "run", [], Silent())
    assert "'spare.weight' the first" in (tmp_path / "run" / "events.jsonl").read_text()
    for kind in set(WORKS) - {"unused"}:
        assert prepare(load(kind), tmp_path).warnings == (), kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "all_frozen",
            r"model 'ordinary': no parameter can be trained: all of its 5 parameters have requires_grad=False",
        ),
        (
            "tied_by_view",
            r"parameter 'second.weight' and parameter 'third.weight' are different tensors on the same mem",
        ),
        ("expanded", r"model 'ordinary': parameter 'scale' is an expanded tensor"),
        ("complex_parameter", r"model 'ordinary': parameter 'turn' is complex; its real and imaginary parts"),
        ("made_late", r"model 'ordinary' makes parameter 'late' in its first forward pass, too late to be trained"),
        ("tuple", r"model 'ordinary' returns a tuple; one tensor \(2, 2\) would be right"),
        ("dict", r"model 'ordinary' returns a dict; .* such as `outputs\['logits'\]`"),
        ("squeezed", r"model 'ordinary' returns outputs of shape \(2,\) for 2 examples; \(2, 2\) would be right"),
        ("whole", r"model 'ordinary' returns int64; real numbers would be right"),
        ("no_module", r"model 'ordinary': `build` returns a function; a torch module would be right"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(load: Load, tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(ComponentError, match=words):
        prepare(load(kind), tmp_path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("thaws", r"model 'ordinary' unfreezes parameter 'first.weight' as it trains, .* set requires_grad in `build`"),
        ("freezes", r"'ordinary' .*RuntimeError: .*requires?_grad"),
    ],
)
def test_a_model_that_changes_what_is_trained_is_stopped(load: Load, tmp_path: Path, kind: str, words: str) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(StudyrunError, match=words):
        execute(prepare(load(kind, "stop.steps=20", "probes=[]"), tmp_path), tmp_path / "run", [], Silent())
