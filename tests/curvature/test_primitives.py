"""Which functions PyTorch cannot be trusted with beyond two reverse passes, and that primitives stand for these."""

from __future__ import annotations

import contextlib

import pytest
import torch
from oracles import layers
from torch import nn
from torch.func import jvp
from torch.nn import functional

from studyrun.curvature import HessianOperator
from studyrun.curvature.flat import unflatten
from studyrun.curvature.primitives import opened, primitives

CLOSE = {"rtol": 1e-6, "atol": 1e-7}
# wrong or refused by PyTorch 2.15 on a CPU; where this list shortens, primitives can
WRONG_UNAIDED = {
    "layer-norm",
    "layer-norm-2d",
    "layer-norm-plain",
    "transformer-layer",
    "batch-norm1d-train",
    "batch-norm2d-train",
    "instance-norm",
    "attention",
    "attention-batch-first",
    "attention-weights-batch-first",  # through a fused kernel for inference
    "attention-cross",
    "attention-masked",
    "products",
    "weight-norm",
    "weight-norm-conv",
}


def nested(problem):
    """vᵀH_i v by forward mode over forward mode."""
    tangents = tuple(unflatten(problem.direction(), problem.parameters))

    def losses(*parameters):
        return problem.per_example(parameters, problem.inputs, problem.targets)

    return jvp(lambda *point: jvp(losses, point, tangents)[1], tuple(problem.parameters), tangents)[1]


@pytest.mark.parametrize("name", layers.LAYERS)
def test_nested_forward_mode_is_right_under_primitives(name):
    problem = layers.make(name)
    truth = layers.curvatures(problem, problem.direction())
    with primitives():
        torch.testing.assert_close(nested(problem), truth, **CLOSE)
    assert is_right_unaided(problem, truth) == (name not in WRONG_UNAIDED)


def is_right_unaided(problem, truth):
    try:
        return torch.allclose(nested(problem), truth, **CLOSE)
    except (NotImplementedError, RuntimeError):
        return False


@pytest.mark.parametrize("name", layers.LAYERS)
def test_products_with_the_hessian_are_right_and_symmetric(name):
    """PyTorch's own second derivative of weight normalisation is neither."""
    problem = layers.make(name)
    operator, (v, w) = HessianOperator(*problem.arguments), (problem.direction(), problem.direction(2))
    image = operator.matvec(v)
    torch.testing.assert_close(v @ image, layers.curvatures(problem, v).mean(), **CLOSE)
    torch.testing.assert_close(w @ image, v @ operator.matvec(w), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", layers.LAYERS)
def test_values_are_those_of_the_fused_functions(name):
    problem = layers.make(name)
    with primitives():
        found = problem.per_example(*problem.arguments[1:])
    torch.testing.assert_close(found, problem.per_example(*problem.arguments[1:]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("momentum", [0.1, 0.7])
@pytest.mark.parametrize("function", [functional.batch_norm, functional.instance_norm])
def test_running_statistics_move_as_under_the_fused_function(function, momentum):
    inputs, on = (
        torch.randn(4, 3, 5, 5),
        {functional.batch_norm: "training", functional.instance_norm: "use_input_stats"},
    )
    moved = []
    for way in ("fused", "primitive", "primitive under jvp"):
        mean, variance = torch.zeros(3), torch.ones(3)

        def normalise(values, mean=mean, variance=variance):
            return function(values, mean, variance, momentum=momentum, **{on[function]: True})

        with contextlib.nullcontext() if way == "fused" else primitives():
            jvp(normalise, (inputs,), (inputs,)) if "jvp" in way else normalise(inputs)
        moved.append(torch.stack([mean, variance]))
    torch.testing.assert_close(moved[1], moved[0])  # sums over a hundred numbers, in whatever order a kernel takes them
    torch.testing.assert_close(moved[2], moved[0])
    assert (moved[0] - torch.tensor([[0.0], [1.0]])).abs().min() > 0


def test_batch_statistics_of_a_single_value_are_refused_as_ever():
    with primitives(), pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        nn.BatchNorm1d(3)(torch.ones(1, 3))


@pytest.mark.parametrize("function", [torch.layer_norm, functional.layer_norm])
def test_functions_are_caught_under_either_name(function):
    inputs = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, step = torch.ones((), dtype=torch.float64), 1e-3

    def values(scale):
        return function(inputs * scale + inputs**2, (4,))

    with primitives():
        found = jvp(lambda s: jvp(values, (s,), (one,))[1], (one,), (one,))[1]
    truth = (values(one + step) - 2 * values(one) + values(one - step)) / step**2
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-4)


def test_an_opened_function_computes_the_same():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    values = torch.randn(2, 3, 4)
    arguments = (values.transpose(0, 1),) * 3 + (4, 2, attention.in_proj_weight, attention.in_proj_bias, None, None)
    arguments += (False, 0.0, attention.out_proj.weight, attention.out_proj.bias)
    inner = opened(functional.multi_head_attention_forward)
    for found, truth in zip(inner(*arguments), functional.multi_head_attention_forward(*arguments), strict=True):
        assert torch.equal(found, truth)
