"""ResNets for CIFAR against the formula in numpy, the counts of both papers, and what they start as."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from studyrun.components.models.resnet_cifar import ResnetCifar
from studyrun.errors import ComponentError
from studyrun.initialisation import LayerInit

HE = {"norm": "batch", "zero_residual": False, "last_deviation": None}


def build(shape: tuple[int, ...] = (3, 8, 8), outputs: int = 2, seed: int = 0, **options: object) -> nn.Module:
    return ResnetCifar(**options).build(shape, outputs, torch.Generator().manual_seed(seed))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet_14_without_normalisation_has_the_papers_number_of_parameters() -> None:
    module = build()
    assert parameters(module) == 171_058
    assert [name for name, _ in module.named_parameters() if name.endswith("bias")] == ["last.bias"]
    assert all(parameter.dtype == torch.float64 for parameter in module.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_with_batch_normalisation_depths_have_the_numbers_of_table_6(depth: int, millions: float) -> None:
    module = build(outputs=10, depth=depth, **HE)
    assert parameters(module) / 1e6 == pytest.approx(millions, abs=0.05 if depth == 110 else 0.005)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def convolved(images: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", windows, weight)


class Formula:
    """The network computed anew from its state, in numpy."""

    def __init__(self, module: nn.Module, training: bool) -> None:
        self.state = {name: value.numpy().copy() for name, value in module.state_dict().items()}
        self.training = training

    def norm(self, values: np.ndarray, name: str) -> np.ndarray:
        if f"{name}.weight" not in self.state:
            return values
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            mean, variance = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3))
        scale = self.state[f"{name}.weight"] / np.sqrt(variance + 1e-5)
        shift = self.state[f"{name}.bias"] - mean * scale
        return values * scale[:, None, None] + shift[:, None, None]

    def block(self, values: np.ndarray, place: int, stride: int) -> np.ndarray:
        name = f"blocks.{place}"
        inner = convolved(values, self.state[f"{name}.conv1.weight"], stride)
        inner = np.maximum(self.norm(inner, f"{name}.norm1"), 0)
        inner = self.norm(convolved(inner, self.state[f"{name}.conv2.weight"], 1), f"{name}.norm2")
        total = inner.copy()
        total[:, : values.shape[1]] += values[:, :, ::stride, ::stride]
        return np.maximum(total, 0)

    def outputs(self, images: np.ndarray, blocks: int) -> np.ndarray:
        values = np.maximum(self.norm(convolved(images, self.state["stem.weight"], 1), "norm"), 0)
        for place in range(3 * blocks):
            values = self.block(values, place, stride=2 if place in (blocks, 2 * blocks) else 1)
        return values.mean(axis=(2, 3)) @ self.state["last.weight"].T + self.state["last.bias"]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("depth", [8, 14])
def test_outputs_are_the_formula(depth: int, norm: str, training: bool) -> None:
    module = build((2, 7, 9), 3, depth=depth, width=3, norm=norm).train(training)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in filter(torch.is_floating_point, module.state_dict().values()):
            draw = torch.rand if value.ndim == 1 else torch.randn  # variances have to be positive
            value.copy_(draw(value.shape, generator=generator, dtype=torch.float64) + 0.5 * (value.ndim == 1))
    inputs = torch.randn(5, 2, 7, 9, dtype=torch.float64, generator=generator)
    expected = Formula(module, training).outputs(inputs.numpy(), (depth - 2) // 6)
    np.testing.assert_allclose(module(inputs).detach(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_block_starts_as_its_shortcut(norm: str) -> None:
    module, generator = build(norm=norm), torch.Generator().manual_seed(3)
    for place, block in enumerate(module.blocks):
        channels = 16 << place // 2
        inside = channels // 2 if place in (2, 4) else channels
        inputs = torch.rand(2, inside, 5, 6, dtype=torch.float64, generator=generator)
        outputs = block(inputs).detach()
        if inside == channels:
            assert torch.equal(outputs, inputs)
        else:
            assert torch.equal(outputs[:, :inside], inputs[:, :, ::2, ::2])
            assert outputs[:, inside:].eq(0).all()
            assert outputs.shape[1] == channels
    open_one = build(norm=norm, zero_residual=False).blocks[0]
    assert not torch.equal(open_one(inputs[:, :16]), inputs[:, :16])


def test_weights_have_the_deviations_asked_for() -> None:
    module = build(outputs=200, init=LayerInit(scale=0.2))
    # 36,864 draws: the deviation of the estimate is below 0.4 %; the last layer has 12,800
    assert float(module.blocks[5].conv1.weight.detach().std()) == pytest.approx(0.2 * sqrt(2 / 576), rel=0.02)
    assert float(module.last.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
    assert module.last.bias.eq(0).all()
    as_others = build(outputs=200, init=LayerInit(scale=0.2, bias="default"), last_deviation=None).last
    assert float(as_others.weight.detach().std()) == pytest.approx(0.2 * sqrt(2 / 64), rel=0.03)
    assert 0 < as_others.bias.abs().max() <= 1 / 8


def test_the_generator_alone_decides() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, same, other = (build(norm="batch", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    for layer, another in zip(first.modules(), other.modules(), strict=True):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not torch.equal(layer.weight, another.weight)


def test_networks_of_one_seed_share_their_convolutions_whatever_else_they_start_with() -> None:
    plain, open_one, he = build(), build(zero_residual=False), build(**HE)
    for one, other, third in zip(plain.blocks, open_one.blocks, he.blocks, strict=True):
        assert torch.equal(one.conv1.weight, other.conv1.weight)
        assert torch.equal(other.conv2.weight, third.conv2.weight)


def test_without_normalisation_examples_do_not_mix() -> None:
    inputs = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    module = build(zero_residual=False)
    torch.testing.assert_close(module(inputs)[:2], module(inputs[:2]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("depth", "words"), [(15, "14 or 20 for example, not 15"), (18, "14 or 20 for example, not 18")]
)
def test_a_depth_of_no_whole_blocks_is_refused(depth: int, words: str) -> None:
    with pytest.raises(ValidationError, match=rf"a depth is 6n \+ 2 layers, {words}"):
        ResnetCifar(depth=depth)


def test_examples_that_are_no_images_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"model resnet_cifar: needs images \(channels, height, width\)"):
        build((48,))
