"""Models whose derivative is not what their loss says are told of before the run, and those whose is, are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from studyrun.engine.prepare import Prepared, prepare
from studyrun.errors import ComponentError
from studyrun.study import load_study

POINTS = '''\
"""Points on a wave, some of them at zero."""

import torch

from studyrun.plugin import Data, Dataset, Split


class Points(Dataset):
    """Thirty points in five dimensions; every third is zero, where a layer without bias stands on its kink."""

    def load(self, folder, subset):
        inputs = torch.randn(30, 5, generator=subset, dtype=torch.float64)
        inputs[::3] = 0
        return Data(Split(inputs, torch.sin(inputs.sum(1, keepdim=True))), None, (), 1)
'''

KINDS = '''\
"""Two layers, with something between them."""

import torch
from torch import nn
from torch.nn import functional

from studyrun.plugin import Model


class Steep(torch.autograd.Function):
    """sin, with a backward pass that is a fifth too large."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(context, slope):
        (x,) = context.saved_tensors
        return 1.2 * slope * x.cos()


class OnceRight(Steep):
    """sin, with a right first derivative and a wrong second one."""

    @staticmethod
    def backward(context, slope):
        (x,) = context.saved_tensors
        return slope * x.detach().cos()


class OnceOnly(Steep):
    """sin, with a first derivative alone."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, slope):
        (x,) = context.saved_tensors
        return slope * x.cos()


def multiplied(x):
    """The product of each example's numbers, by an operation that torch differentiates once."""
    return torch.segment_reduce(x.reshape(-1), "prod", lengths=torch.full((len(x),), x.shape[1]))[:, None]


BETWEEN = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "abs": torch.abs,
    "gelu": functional.gelu,
    "softplus": functional.softplus,
    "dropout": lambda x: functional.dropout(torch.tanh(x), 0.4),
    "max_pool": lambda x: functional.max_pool1d(x[:, None], 2)[:, 0],
    "layer_norm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "steep": Steep.apply,
    "once_right": OnceRight.apply,
    "once_only": OnceOnly.apply,
    "not_twice": lambda x: x + multiplied(x),
    "detached": lambda x: torch.tanh(x).detach(),
    "partly_detached": lambda x: torch.cat([torch.tanh(x[:, :1]).detach(), torch.tanh(x[:, 1:])], 1),
    "without_gradient": lambda x: torch.tanh(x) * (1 + x.data.square()),
    "straight_through": lambda x: x + ((x * 8).round() / 8 - x).detach(),
    "through_numpy": lambda x: torch.tanh(x) + torch.from_numpy(x.detach().cpu().numpy()).square(),
    "rounded": lambda x: (torch.tanh(x) * 64).round() / 64,
    "infinite_slope": lambda x: (x - x).abs().sqrt() + x,
}


class Net(nn.Module):
    def __init__(self, between, width, norm):
        super().__init__()
        self.inside, self.between = nn.Linear(5, width), BETWEEN[between]
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.outside = nn.Linear(width // 2 if between == "max_pool" else width, 1)

    def forward(self, inputs):
        return self.outside(self.between(self.norm(self.inside(inputs))))


class Kinds(Model):
    """Two layers with one of the functions between them."""

    between: str
    width: int = 12
    norm: bool = False
    zeros: bool = False

    def build(self, example_shape, outputs, init):
        model = Net(self.between, self.width, self.norm)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.randn(parameter.shape, generator=init) / parameter.shape[1] ** 0.5)
                else:
                    parameter.zero_()
            if self.norm:
                model.norm.weight.fill_(1.0)
            if self.zeros:
                model.outside.weight.zero_()
        return model
'''

TEXT = """\
title: derivatives
model: {use: kinds, between: tanh}
dataset: points
loss: squared_error
optimizer: {use: gd, lr: 0.1}
stop: {steps: 1}
"""
CURVATURE = "probes=[{use: sharpness, statistics: eval}]"
RIGHT = ("tanh", "relu", "abs", "gelu", "softplus", "dropout", "max_pool", "layer_norm")
Ready = Callable[..., Prepared]


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    for name, source in {"models/kinds": KINDS, "datasets/points": POINTS}.items():
        path = tmp_path / "plugins" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "study.yaml").write_text(TEXT)

    def prepared(between: str, *overrides: str) -> Prepared:
        study = load_study(tmp_path / "study.yaml", overrides=[f"model.between={between}", *overrides])
        return prepare(study, tmp_path)

    return prepared


@pytest.mark.parametrize("options", [(), ("model.width=300",), ("model.norm=true",), ("model.zeros=true",)], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_of_a_model_that_is_right_nothing_is_said(ready: Ready, precision: str, options: tuple[str, ...]) -> None:
    for between in RIGHT:
        assert ready(between, f"precision={precision}", CURVATURE, *options).warnings == (), between


WRONG = {
    "steep": "the gradient is not the derivative of the loss, as in parameter 'inside.",
    "partly_detached": "the gradient is not the derivative of the loss, as in parameter 'inside.",
    "without_gradient": "the gradient is not the derivative of the loss, as in parameter 'inside.",
    "straight_through": "the gradient is not the derivative of the loss, as in parameter 'inside.",
    "through_numpy": "the gradient is not the derivative of the loss, as in parameter 'inside.",
    "detached": "the loss depends on parameter 'inside.weight', and no gradient reaches it",
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("between", WRONG)
def test_a_gradient_that_is_not_the_losses_is_told_and_refused_where_curvature_is_asked_for(
    ready: Ready, between: str, precision: str
) -> None:
    (warning,) = ready(between, f"precision={precision}").warnings
    assert warning.startswith(f"model 'kinds' with loss 'squared_error': {WRONG[between]}")
    with pytest.raises(ComponentError) as caught:
        ready(between, f"precision={precision}", CURVATURE)
    assert WRONG[between] in str(caught.value)
    assert "Probe 'sharpness' would record the curvature of something else" in str(caught.value)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_wrong_second_derivative_matters_to_curvature_alone(ready: Ready, precision: str) -> None:
    assert ready("once_right", f"precision={precision}").warnings == ()
    for probe in ("sharpness", "hessian_trace"):
        with pytest.raises(ComponentError, match=rf"product of the Hessian .*wrong second derivative.*Probe '{probe}'"):
            ready("once_right", f"precision={precision}", f"probes=[{probe}]")


def test_a_second_derivative_that_does_not_exist_is_told_with_what_helps(ready: Ready) -> None:
    assert ready("once_only").warnings == ready("not_twice").warnings == ()
    with pytest.raises(ComponentError, match="product of the Hessian"):  # torch drops it without a word
        ready("once_only", CURVATURE)
    words = "model 'kinds' .* cannot be differentiated: .*not implemented.*; this operation has no such derivative"
    with pytest.raises(ComponentError, match=words):
        ready("not_twice", CURVATURE)


def test_a_gradient_of_zeros_or_of_no_numbers_is_told(ready: Ready) -> None:
    (still,) = ready("rounded").warnings
    assert "over 8 examples is exactly zero in parameter 'inside.weight', as behind sign(), round()" in still
    (infinite,) = ready("infinite_slope").warnings
    assert "the first gradient, over 8 examples, is not finite in parameter 'inside.weight'" in infinite
