"""Every operator on a small instance of every model in the project: both losses, train and eval statistics, chunks.

The truth is float64 by other routes: central differences of gradients for the Hessian and for R, explicit Jacobians
for G and the Fisher matrix, and curvlinops as a second library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from oracles.jacobians import difference_columns, jacobian, softmax_curvature, square_curvature
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from studyrun.components.losses.cross_entropy import CrossEntropy
from studyrun.components.losses.squared_error import SquaredError
from studyrun.curvature.composite import DifferenceOperator
from studyrun.curvature.flat import chunks, flatten, unflatten
from studyrun.curvature.gauss_newton import FisherOperator, GaussNewtonOperator
from studyrun.curvature.hessian import HessianOperator
from studyrun.registry import Registry

EXAMPLES, CHUNK = 8, 4
SMALL = 80  # up to so many parameters a matrix is compared entry by entry, beyond by its products with some vectors
LOSSES = {"cross_entropy": CrossEntropy(), "squared_error": SquaredError()}
CURVATURE = {"cross_entropy": softmax_curvature, "squared_error": square_curvature}

# Differences are good to about 1e-8 of a gradient in each entry. Reverse mode is good to rounding, 1e-16 times the
# amplification through some twenty layers.
DIFFERENCE, EXACT = 1e-6, 1e-11


@dataclass(frozen=True)
class Instance:
    """A model so small that columns of its Hessian can be had one by one."""

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (1, 6, 6)
    outputs: int = 3
    losses: tuple[str, ...] = tuple(LOSSES)
    statistics: tuple[str, ...] = ("train",)
    """With `eval` for models that compute something else, or by other kernels, in evaluation mode."""


INSTANCES = {
    "mlp": Instance("mlp", {"hidden": [4, 3], "activation": "tanh"}, (2, 3)),
    "mlp, relu": Instance("mlp", {"hidden": [5]}, (2, 3)),
    "two_layer_linear": Instance("two_layer_linear", {"signal": 3}, (7,), 1, ("squared_error",)),
    "cnn": Instance("cnn", {"channels": [[2, 3], [3]], "kernel": 2, "hidden": [4]}, (2, 8, 8)),
    "cnn, smooth": Instance(
        "cnn", {"channels": [[2], [3]], "kernel": 2, "hidden": [4], "activation": "elu", "pool": "average"}, (1, 7, 7)
    ),
    "resnet18, batch": Instance("resnet18", {"width": 2}, (1, 16, 16), statistics=("train", "eval")),
    "resnet18, group": Instance("resnet18", {"width": 2, "norm": "group"}, (1, 16, 16), losses=("squared_error",)),
    "resnet18, none": Instance("resnet18", {"width": 2, "norm": "none"}, (1, 16, 16), losses=("cross_entropy",)),
    "resnet_cifar, batch": Instance(
        "resnet_cifar", {"depth": 8, "width": 2, "norm": "batch"}, (1, 8, 8), statistics=("train", "eval")
    ),
    "resnet_cifar, none": Instance("resnet_cifar", {"depth": 8, "width": 2}, (1, 8, 8)),
    "vit": Instance(
        "vit", {"patch": 2, "layers": 2, "heads": 2, "width": 4, "mlp": 5}, (1, 4, 4), statistics=("train", "eval")
    ),
}
CASES = [
    (name, loss, statistics)
    for name, instance in INSTANCES.items()
    for loss in instance.losses
    for statistics in instance.statistics
]
every_case = pytest.mark.parametrize(("name", "loss", "statistics"), CASES)


class Case:
    """An instance at a point where nothing is zero by construction, under a loss and one kind of statistics."""

    def __init__(self, name: str, loss: str, statistics: str) -> None:
        instance, self.loss, self.curvature = INSTANCES[name], LOSSES[loss], CURVATURE[loss]
        generator = torch.Generator().manual_seed(0)
        component = Registry().load("models", instance.model).model_validate(instance.options)
        self.module: nn.Module = component.build(instance.shape, instance.outputs, generator)
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            for buffer in self.module.buffers():
                if buffer.is_floating_point():
                    buffer.add_(0.5 * torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
        self.module.train(statistics == "train")
        self.mixes = statistics == "train" and any(isinstance(one, nn.BatchNorm2d) for one in self.module.modules())
        self.names = [name for name, _ in self.module.named_parameters()]
        self.parameters = [parameter.detach() for parameter in self.module.parameters()]
        self.inputs = torch.randn(EXAMPLES, *instance.shape, generator=generator, dtype=torch.float64)
        self.targets = torch.randint(instance.outputs, (EXAMPLES,), generator=generator)
        if instance.outputs == 1:
            self.targets = torch.randn(EXAMPLES, 1, generator=generator, dtype=torch.float64)
        self.point = flatten(self.parameters)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        state: dict[str, Tensor] = dict(zip(self.names, parameters, strict=True))
        dtype = parameters[0].dtype
        for name, buffer in self.module.named_buffers():
            state[name] = buffer.to(dtype, copy=True) if buffer.is_floating_point() else buffer.clone()
        return functional_call(self.module, state, (inputs,))

    def per_example(self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss.per_example(self.forward(parameters, inputs), targets)

    def operators(self, chunk_size: int | None = CHUNK, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        targets = self.targets.to(dtype) if self.targets.is_floating_point() else self.targets
        rest = ([part.to(dtype) for part in self.parameters], self.inputs.to(dtype), targets, chunk_size)
        return {
            "hessian": HessianOperator(self.per_example, *rest),
            "gauss_newton": GaussNewtonOperator(self.forward, self.loss.per_example, *rest),
            "fisher": FisherOperator(self.per_example, *rest),
        }

    def pieces(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.inputs[chunk], self.targets[chunk]) for chunk in chunks(EXAMPLES, CHUNK)]

    def directions(self) -> Tensor:
        """The columns of the identity, or a few random unit vectors, to each of which every entry matters."""
        size = len(self.point)
        if size <= SMALL:
            return torch.eye(size, dtype=torch.float64)
        drawn = torch.randn(size, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        return drawn / drawn.norm(dim=0)

    def assert_near(self, found: Tensor, truth: Tensor, tolerance: float) -> None:
        """Compare the rows of every tensor on their own, lest a small one hide behind the others."""
        whole = float(truth.norm())
        sizes = [part.numel() for part in self.parameters]
        for name, ours, theirs in zip(self.names, found.split(sizes), truth.split(sizes), strict=True):
            error, scale = float((ours - theirs).norm()), float(theirs.norm())
            assert error <= tolerance * (scale + 0.01 * whole), (
                f"{name}: off by {error:.3g} of {scale:.3g}, {whole:.3g}"
            )

    def jacobian(self, inputs: Tensor) -> Tensor:
        return jacobian(lambda flat: self.forward(unflatten(flat, self.parameters), inputs), self.point)

    def gradient(self, flat: Tensor) -> Tensor:
        own = flat.requires_grad_()
        parts = unflatten(own, self.parameters)
        loss = sum(self.per_example(parts, x, y).sum() for x, y in self.pieces()) / EXAMPLES
        return torch.autograd.grad(loss, own, materialize_grads=True)[0]

    def gradient_of_outputs(self, flat: Tensor, slopes: list[Tensor]) -> Tensor:
        """The gradient of Σ_i c_i·f_i(θ) / n with the c_i held fixed: its derivative is R."""
        own = flat.requires_grad_()
        parts = unflatten(own, self.parameters)
        pairs = zip(self.pieces(), slopes, strict=True)
        total = sum((self.forward(parts, x) * slope).sum() for (x, _), slope in pairs) / EXAMPLES
        return torch.autograd.grad(total, own, materialize_grads=True)[0]

    def slope(self, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = self.forward(self.parameters, inputs).detach().requires_grad_()
        return torch.autograd.grad(self.loss.per_example(outputs, targets).sum(), outputs)[0]


@cache
def case(name: str, loss: str, statistics: str) -> Case:
    return Case(name, loss, statistics)


def random_block(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_every_model_of_the_project_is_listed_here() -> None:
    missing = {listing.name for listing in Registry().names("models")} - {one.model for one in INSTANCES.values()}
    assert not missing, f"give a small instance of {', '.join(sorted(missing))} in INSTANCES"


@every_case
def test_the_hessian_is_the_derivative_of_the_gradient(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    directions = one.directions()
    truth = difference_columns(one.gradient, one.point, directions)
    one.assert_near(one.operators()["hessian"].matmat(directions), truth, DIFFERENCE)


@every_case
def test_gauss_newton_and_fisher_are_products_of_explicit_jacobians(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    directions, operators = one.directions(), one.operators()
    gauss_newton, fisher = 0, 0
    for inputs, targets in one.pieces():
        outputs = one.forward(one.parameters, inputs)
        rows = one.jacobian(inputs).view(*outputs.shape, -1)
        gauss_newton += torch.einsum("nop,noq,nqb->pb", rows, one.curvature(outputs), rows @ directions)
        gradients = torch.einsum("nop,no->np", rows, one.slope(inputs, targets))
        fisher += gradients.T @ (gradients @ directions)
    one.assert_near(operators["gauss_newton"].matmat(directions), gauss_newton / EXAMPLES, EXACT)
    one.assert_near(operators["fisher"].matmat(directions), fisher / EXAMPLES, EXACT)


@every_case
def test_the_rest_is_the_curvature_of_the_network_itself(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    directions, operators = one.directions(), one.operators()
    rest = DifferenceOperator(operators["hessian"], operators["gauss_newton"])
    slopes = [one.slope(*piece) for piece in one.pieces()]
    truth = difference_columns(lambda flat: one.gradient_of_outputs(flat, slopes), one.point, directions)
    one.assert_near(rest.matmat(directions), truth, DIFFERENCE)


@every_case
def test_operators_are_linear_and_symmetric(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    x, y = random_block(len(one.point), 2).T
    for operator in one.operators().values():
        image, other = operator.matvec(x), operator.matvec(y)
        one.assert_near(operator.matvec(2 * x - 3 * y), 2 * image - 3 * other, EXACT)
        assert abs(float(y @ image - x @ other)) <= EXACT * float(image.norm() * y.norm())


@every_case
def test_chunks_change_nothing_unless_examples_mix(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    block = random_block(len(one.point), 2)
    for kind, operator in one.operators(None).items():
        whole = operator.matmat(block)
        if one.mixes:  # a chunk is the batch
            assert (one.operators(CHUNK)[kind].matmat(block) - whole).norm() > 1e-3 * whole.norm()
            continue
        for size in (1, 3, CHUNK):
            one.assert_near(one.operators(size)[kind].matmat(block), whole, EXACT)


@every_case
def test_float32_lies_within_its_roundoff_of_float64(name, loss, statistics) -> None:
    one = case(name, loss, statistics)
    block = random_block(len(one.point), 2)
    single = one.operators(dtype=torch.float32)
    for kind, operator in one.operators().items():
        # some thousand roundings in a row, forth and back, each of 6e-8; a norm that divides by small numbers adds most
        one.assert_near(single[kind].matmat(block.float()).double(), operator.matmat(block), 1000 * 6e-8)


LIBRARY = {"hessian": "HessianLinearOperator", "gauss_newton": "GGNLinearOperator", "fisher": "EFLinearOperator"}


def library_covers(name: str, statistics: str, kind: str) -> bool:
    """Whether curvlinops 3.0.1 is right there: it differentiates forward, and through the model as it stands."""
    moving = name.endswith(", batch") and statistics == "train"  # it moves the running statistics, and sees a change
    fused = name == "vit" and statistics == "eval"  # attention that has no forward derivative
    # The backward pass of group norm has no forward derivative, and that of layer norm a wrong one.
    normed = kind == "hessian" and name in ("vit", "resnet18, group")
    return not (moving or fused or normed)


@pytest.mark.parametrize(
    ("name", "loss", "statistics", "kind"),
    [
        (name, loss, statistics, kind)
        for name, loss, statistics in CASES
        for kind in LIBRARY
        if library_covers(name, statistics, kind)
    ],
)
def test_curvlinops_agrees(name, loss, statistics, kind) -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="comes with the extra `test`")
    one = case(name, loss, statistics)
    theirs, targets, outputs = nn.CrossEntropyLoss(), one.targets, 1
    if loss == "squared_error":
        theirs, outputs = nn.MSELoss(), INSTANCES[name].outputs  # a mean over outputs too
        targets = one.targets if outputs == 1 else nn.functional.one_hot(one.targets, outputs).double()
    data = [(one.inputs[chunk], targets[chunk]) for chunk in chunks(EXAMPLES, CHUNK)]
    vector = random_block(len(one.point), 1)[:, 0]
    with sdpa_kernel(SDPBackend.MATH):
        library = getattr(curvlinops, LIBRARY[kind])(one.module, theirs, list(one.module.parameters()), data)
        expected = outputs * (library @ vector).detach()
    one.assert_near(one.operators()[kind].matvec(vector), expected, EXACT)
