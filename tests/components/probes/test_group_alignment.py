"""cos² of gradients that rounding makes, against the same linear regression in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from studyrun import curvature
from studyrun.components.probes.group_alignment import GroupAlignment

GROUPS = {"first": torch.arange(20), "second": torch.arange(20, 60)}


def losses(parameters, inputs, targets):
    return (inputs @ parameters[0] - targets).square()


def snapshot_of(weights, inputs, targets):
    """A snapshot of y = Xw with this loss: what the probe asks of one."""
    gradients = curvature.group_gradients(losses, [weights], inputs, targets, list(GROUPS.values()))
    hessian = curvature.HessianOperator(losses, [weights], inputs, targets)
    context = SimpleNamespace(
        parameters=len(weights),
        dtype=weights.dtype,
        grouping=SimpleNamespace(members=GROUPS),
        data=SimpleNamespace(train=SimpleNamespace(inputs=inputs, targets=targets)),
    )
    return SimpleNamespace(
        context=context,
        parameters={"w": weights},
        group_gradients=gradients,
        per_example=losses,
        chunk_size=60,
        generator=lambda _: torch.Generator().manual_seed(1),
        eigenpairs=lambda k, tolerance: curvature.top_eigenpairs(
            hessian, k, tolerance=tolerance, generator=torch.Generator().manual_seed(0)
        ),
    )


@pytest.mark.parametrize("seed", range(6))
def test_cos2_that_is_rounding_is_not_recorded_and_any_other_is(seed):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(60, 30, generator=random) + 3
    exact, offset = torch.randn(30, generator=random), torch.randn(30, generator=random)
    targets = (inputs.double() @ exact.double()).float()
    recorded = {}
    for power in range(-8, 1):
        weights = exact + 10.0**power * offset
        single = GroupAlignment().measure(snapshot_of(weights, inputs, targets), None)[0]
        double = GroupAlignment().measure(snapshot_of(weights.double(), inputs.double(), targets.double()), None)[0]
        off = (single["cos2"] - double["cos2"]).abs()
        assert not bool((off > 0.1).any()), (power, single["cos2"], double["cos2"])
        assert bool(double["cos2"].isfinite().all())
        assert single["angle"] < 0.01
        recorded[power] = single["cos2"].isfinite()
    assert all(bool(recorded[power].all()) for power in range(-4, 1))
    assert not bool(recorded[-8].any())
