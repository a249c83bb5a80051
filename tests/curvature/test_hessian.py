"""Products with the Hessian against the dense Hessian of torch.func, in float64 and float32, in chunks and not."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from oracles.dense import dense_hessian
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from studyrun.curvature import HessianOperator

# float64 products differ from the dense matrix by rounding alone: sums of 23 examples and 90 terms, unit roundoff 1e-16
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def random_block(rows, columns, dtype=torch.float64, seed=1):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("chunk_size", [None, 1, 4, 23, 100])
def test_products_equal_the_dense_hessian_whatever_the_chunks(problem, chunk_size):
    dense = dense_hessian(*problem.arguments)
    operator = HessianOperator(*problem.arguments, chunk_size)
    block = random_block(operator.size, 3)
    torch.testing.assert_close(operator.matmat(block), dense @ block, **EXACT)
    torch.testing.assert_close(operator.matvec(block[:, 0]), dense @ block[:, 0], **EXACT)


@pytest.mark.parametrize("graph_bytes", [0, 20_000, 2**30])
def test_products_do_not_depend_on_how_many_graphs_are_kept(smooth, graph_bytes):
    dense = dense_hessian(*smooth.arguments)
    operator = HessianOperator(*smooth.arguments, 4, graph_bytes=graph_bytes)
    block = random_block(operator.size, 2)
    for _ in range(2):  # the first builds the graphs, the second may find them
        torch.testing.assert_close(operator.matmat(block), dense @ block, **EXACT)


def test_float32_products_lie_within_its_roundoff(problem):
    dense = dense_hessian(*problem.arguments)
    single = problem.single()
    operator = HessianOperator(*single.arguments)
    vector = random_block(operator.size, 1)[:, 0]
    error = operator.matvec(vector.float()).double() - dense @ vector
    # some hundred roundings in a row on every path through net and backward pass, each of 6e-8 of the largest term
    assert error.norm() < 100 * 6e-8 * torch.linalg.matrix_norm(dense, 2) * vector.norm()


def test_the_operator_is_linear_and_symmetric(problem):
    operator = HessianOperator(*problem.arguments, 7)
    x, y = random_block(operator.size, 2).T
    combined = operator.matvec(2 * x - 3 * y)
    torch.testing.assert_close(combined, 2 * operator.matvec(x) - 3 * operator.matvec(y), **EXACT)
    torch.testing.assert_close(y @ operator.matvec(x), x @ operator.matvec(y), **EXACT)


def test_every_column_is_counted_as_one_product(smooth):
    operator = HessianOperator(*smooth.arguments)
    operator.matvec(torch.ones(operator.size, dtype=torch.float64))
    operator.matmat(torch.ones(operator.size, 4, dtype=torch.float64))
    assert operator.products == 5


def test_a_loss_linear_in_its_parameters_has_a_zero_hessian():
    weight = torch.ones(3, dtype=torch.float64)
    inputs = torch.randn(5, 3, dtype=torch.float64)
    operator = HessianOperator(lambda parts, x, _: x @ parts[0], [weight], inputs, torch.zeros(5))
    assert torch.equal(operator.matvec(torch.ones(3, dtype=torch.float64)), torch.zeros(3, dtype=torch.float64))


def test_a_parameter_that_the_loss_does_not_use_has_zero_curvature(smooth):
    unused = torch.ones(2, dtype=torch.float64)
    operator = HessianOperator(
        lambda parts, x, y: smooth.per_example(parts[:-1], x, y),
        [*smooth.parameters, unused],
        smooth.inputs,
        smooth.targets,
    )
    image = operator.matvec(torch.ones(operator.size, dtype=torch.float64))
    assert torch.equal(image[-2:], torch.zeros(2, dtype=torch.float64))
    assert image[:-2].norm() > 0


def test_attention_is_differentiated_twice():
    """The fused kernels have no second derivative; the operator has to choose the math backend by itself."""
    weight = 0.3 * random_block(4, 12)

    def per_example(parts, inputs, targets):
        query, key, value = (inputs @ parts[0]).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
        return (mixed.sum((1, 2)) - targets).square()

    inputs, targets = random_block(7 * 5, 4).view(7, 5, 4), torch.ones(7, dtype=torch.float64)
    operator = HessianOperator(per_example, [weight], inputs, targets)
    vector = random_block(48, 1)[:, 0]
    with sdpa_kernel(SDPBackend.MATH):
        dense = dense_hessian(per_example, [weight], inputs, targets)
    torch.testing.assert_close(operator.matvec(vector), dense @ vector, **EXACT)


def test_the_callers_parameters_gain_no_mark(smooth):
    parameters = [part.clone().requires_grad_() for part in smooth.parameters]
    before = [part.detach().clone() for part in parameters]
    operator = HessianOperator(smooth.per_example, parameters, smooth.inputs, smooth.targets)
    image = operator.matvec(torch.ones(operator.size, dtype=torch.float64))
    HessianOperator(*smooth.arguments).matvec(torch.ones(operator.size, dtype=torch.float64))
    assert not image.requires_grad
    assert not any(part.requires_grad for part in smooth.parameters)
    assert all(part.grad is None and part._version == 0 for part in parameters)
    assert all(torch.equal(part, old) for part, old in zip(parameters, before, strict=True))


def test_a_random_loss_is_refused():
    def per_example(parts, inputs, targets):
        return functional.dropout(inputs @ parts[0], training=True)

    state = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="different values for the same input, so it has no Hessian"):
        HessianOperator(per_example, [torch.ones(3)], torch.ones(40, 3), torch.zeros(40))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_right_is_refused(smooth):
    per_example, parameters, inputs, targets = smooth.arguments
    with pytest.raises(ValueError, match="the mean loss of no examples has no Hessian"):
        HessianOperator(per_example, parameters, inputs[:0], targets[:0])
    with pytest.raises(ValueError, match="23 inputs do not go with 22 targets"):
        HessianOperator(per_example, parameters, inputs, targets[1:])
    with pytest.raises(ValueError, match="chunk_size must be at least 1, not 0"):
        HessianOperator(per_example, parameters, inputs, targets, 0)
    with pytest.raises(ValueError, match=r"a per-example loss must have shape \(23,\), not \(\)"):
        HessianOperator(lambda *args: per_example(*args).mean(), parameters, inputs, targets)
    operator = HessianOperator(*smooth.arguments)
    with pytest.raises(ValueError, match=r"an operator of size 99 cannot be applied to shape \(3,\)"):
        operator.matvec(torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"an operator in torch.float64 cannot be applied to torch.float32"):
        operator.matvec(torch.ones(99))


class Traced(torch.autograd.Function):
    """The identity, whose node in the graph holds an object that tells when the node is freed."""

    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    @staticmethod
    def forward(ctx, tensor):
        ctx.witness = Witness()
        Traced.alive.add(ctx.witness)
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Witness:
    pass


def traced(problem, chunk_size, **options):
    Traced.alive.clear()

    def per_example(parts, inputs, targets):
        return Traced.apply(problem.per_example(parts, inputs, targets)).exp()

    return HessianOperator(
        per_example,
        problem.parameters,
        problem.inputs,
        problem.targets,
        chunk_size,
        check_deterministic=False,
        **options,
    )


@pytest.mark.parametrize(("chunk_size", "graphs"), [(None, 1), (4, 6)])
def test_release_frees_the_graphs_without_the_garbage_collector(smooth, chunk_size, graphs):
    operator = traced(smooth, chunk_size)
    gc.disable()
    try:
        operator.matvec(torch.ones(operator.size, dtype=torch.float64))
        assert len(Traced.alive) == graphs
        operator.release()
        assert len(Traced.alive) == 0
    finally:
        gc.enable()


def test_graphs_are_kept_only_if_all_of_them_fit_and_the_data_weigh_nothing(smooth):
    def kept(graph_bytes, problem):
        operator = traced(problem, 4, graph_bytes=graph_bytes)
        operator.matvec(torch.ones(operator.size, dtype=torch.float64))
        return len(Traced.alive)

    counts = [kept(2**power, smooth) for power in range(8, 24)]
    assert set(counts) == {0, 6}
    enough = 2 ** (8 + counts.index(6))
    padded = torch.cat([smooth.inputs, smooth.inputs.new_zeros(100_000, *smooth.inputs.shape[1:])])
    part = replace(smooth, inputs=padded[: len(smooth.inputs)])  # the same numbers in a storage of megabytes
    assert kept(enough, part) == 6


def test_without_a_budget_no_graph_outlives_its_product(smooth):
    operator = traced(smooth, 4, graph_bytes=0)
    operator.matvec(torch.ones(operator.size, dtype=torch.float64))
    assert len(Traced.alive) == 0
