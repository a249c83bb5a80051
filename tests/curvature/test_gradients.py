"""Gradients in chunks against torch.func.grad of the whole mean."""

from __future__ import annotations

import pytest
import torch

from studyrun.curvature import flatten, gradient, group_gradients, losses, unflatten

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def whole_gradient(problem, indices):
    def mean_loss(parameters):
        return problem.per_example(parameters, problem.inputs[indices], problem.targets[indices]).mean()

    return flatten(torch.func.grad(mean_loss)(problem.parameters))


@pytest.mark.parametrize("chunk_size", [None, 1, 5, 23])
def test_the_gradient_and_its_losses_do_not_depend_on_chunks(problem, chunk_size):
    everything = slice(None)
    found, each = gradient(*problem.arguments, chunk_size)
    torch.testing.assert_close(found, whole_gradient(problem, everything), **EXACT)
    truth = problem.per_example(problem.parameters, problem.inputs, problem.targets)
    torch.testing.assert_close(each, truth, **EXACT)
    torch.testing.assert_close(losses(*problem.arguments, chunk_size), truth, **EXACT)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_groups_gradient_is_that_of_its_own_mean(problem, chunk_size):
    members = [torch.tensor([0, 3, 4]), torch.tensor([22]), torch.tensor([5, 3])]
    found = group_gradients(*problem.arguments, members, chunk_size)
    truth = torch.stack([whole_gradient(problem, group) for group in members])
    torch.testing.assert_close(found, truth, **EXACT)


def test_the_callers_parameters_gain_no_grad(smooth):
    parameters = [part.clone().requires_grad_() for part in smooth.parameters]
    found, each = gradient(smooth.per_example, parameters, smooth.inputs, smooth.targets)
    assert not found.requires_grad
    assert not each.requires_grad
    assert all(part.grad is None for part in parameters)


def test_empty_groups_and_wrong_shapes_are_refused(smooth):
    per_example, parameters, inputs, targets = smooth.arguments
    with pytest.raises(ValueError, match="the mean loss of no examples has no gradient"):
        group_gradients(*smooth.arguments, [torch.tensor([], dtype=torch.int64)])
    with pytest.raises(ValueError, match=r"a per-example loss must have shape \(23,\), not \(\)"):
        gradient(lambda *args: per_example(*args).sum(), parameters, inputs, targets)


def test_flatten_and_unflatten_are_inverse():
    parts = [torch.randn(2, 3), torch.randn(()), torch.randn(4), torch.randn(0, 2)]
    vector = flatten(parts)
    assert vector.shape == (11,)
    assert all(torch.equal(a, b) for a, b in zip(unflatten(vector, parts), parts, strict=True))
    with pytest.raises(ValueError, match="a vector of 10 entries does not fit parameters of 11"):
        unflatten(vector[1:], parts)


def test_shapes_are_checked_in_tests():
    """Without the import hook (pyproject: --jaxtyping-packages) no annotation in this package would be held to."""
    with pytest.raises(Exception, match="vector"):
        unflatten(torch.ones(2, 2), [torch.ones(4)])
