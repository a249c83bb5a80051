from __future__ import annotations

from math import log
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from studyrun.components.datasets.opposing_signals import OpposingSignals
from studyrun.components.models.two_layer_linear import TwoLayerLinear
from studyrun.plugin import ComponentError


def build(inputs: int = 7, seed: int = 0, **options: object) -> nn.Module:
    return TwoLayerLinear(**options).build((inputs,), 1, torch.Generator().manual_seed(seed))


def test_the_function_is_c_times_both_products() -> None:
    module = build(signal=3, init="normal")
    with torch.no_grad():
        module.c.mul_(-1.7)
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [
        -1.7 * (sum(module.b[j] * row[j] for j in range(3)) + sum(module.b_o[j] * row[3 + j] for j in range(4)))
        for row in x
    ]
    torch.testing.assert_close(module(x), torch.stack(expected)[:, None])


def test_parameters_are_the_papers_and_in_its_order() -> None:
    shapes = {name: tuple(value.shape) for name, value in build(signal=3).named_parameters()}
    assert list(shapes.items()) == [("b", (3,)), ("b_o", (4,)), ("c", ())]
    assert all(value.dtype == torch.float64 for value in build(signal=3).parameters())


def test_expected_initialisation_has_the_papers_orders_of_magnitude() -> None:
    d1, d2, norm = 12, 24, 5.0
    module = build(d1 + d2, signal=d1)
    beta = norm * torch.eye(d1, dtype=torch.float64)[0]
    assert module.b.square().sum().item() == pytest.approx(d1 / (d1 + d2))
    assert module.b_o.square().sum().item() == pytest.approx(d2 / (d1 + d2))
    assert (module.b @ beta).item() == pytest.approx(norm / (d1 + d2) ** 0.5)
    assert module.c.item() == 1


def test_normal_initialisation_has_that_variance_and_follows_the_generator() -> None:
    first, same, other = (build(20_000, seed, signal=4_000, init="normal") for seed in (0, 0, 1))
    assert first.b_o.square().sum().item() == pytest.approx(0.8, rel=0.05)
    assert first.b.square().sum().item() == pytest.approx(0.2, rel=0.1)
    assert torch.equal(first.b, same.b)
    assert not torch.equal(first.b, other.b)


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build(signal=3, init="normal")
    assert torch.equal(torch.get_rng_state(), before)


def test_more_than_one_output_is_refused() -> None:
    with pytest.raises(ComponentError, match="has one output, and this data set needs 2"):
        TwoLayerLinear().build((30,), 2, torch.Generator())


def test_no_room_for_the_opposing_signal_is_refused() -> None:
    with pytest.raises(ComponentError, match=r"signal is 7, and an input has 7 entries in all; .* give at most 6"):
        build(7, signal=7)


def small_step_run(steps: int, lr: float, every: int) -> tuple[Tensor, Tensor, Tensor]:
    """Effective times, sharpness by the dense Hessian, and the smallest curvature along b_o, of gradient descent."""
    data = OpposingSignals().load(Path("nowhere"), torch.Generator().manual_seed(0)).train
    module = build(30, signal=10)
    names = [name for name, _ in module.named_parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = dict(zip(names, (flat[:10], flat[10:30], flat[30]), strict=True))
        outputs = torch.func.functional_call(module, parts, (data.inputs,))
        return (outputs - data.targets).square().mean() / 2

    flat = torch.cat([value.detach().flatten() for value in module.parameters()])
    records = []
    for step in range(steps + 1):
        if step % every == 0:
            hessian = torch.func.hessian(loss)(flat)
            smallest = torch.linalg.eigvalsh(hessian[10:30, 10:30])[0]
            records.append((torch.tensor(step * lr), torch.linalg.eigvalsh(hessian)[-1], smallest))
        flat = flat - lr * torch.func.grad(loss)(flat)
    return tuple(torch.stack(column) for column in zip(*records, strict=True))


def test_theorems_3_1_and_3_2_hold_on_the_default_data() -> None:
    alpha, beta = 100.0, 5.0
    time, sharpness, along_b_o = small_step_run(steps=1300, lr=1e-3, every=10)
    assert alpha < sharpness[0] < 3 * alpha
    turn = int(sharpness.argmin())
    assert time[turn] <= log(beta / 2) / (2 * beta)  # t1 of Theorem 3.1
    assert (sharpness[: turn + 1].diff() < 0).all()
    assert sharpness[turn] < alpha / 2
    assert (sharpness[turn:].diff() > 0).all()
    assert sharpness[-1] >= 5 / 8 * beta * alpha
    assert along_b_o[-1] >= 5 / 8 * beta * alpha  # for each dimension of b_o
