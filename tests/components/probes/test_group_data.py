"""Where the members lie along and across the line through the centroids, against planted points and distances."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studyrun.component import Data, Grouping, Split
from studyrun.components.probes.group_data import GroupData


def measured(inputs, labels, members, centroids, **options):
    data = Data(Split(inputs, torch.tensor(labels)), None, ("a", "b"), 2)
    grouping = Grouping(data, members, centroids)
    context = SimpleNamespace(data=data, grouping=grouping, groups=tuple(members))
    probe = GroupData(**options)
    reading, _ = probe.measure(SimpleNamespace(context=context), None)
    assert {channel.name for channel in probe.channels(context)} == set(reading)
    return reading


def test_planted_points_stand_where_they_were_planted() -> None:
    """Points m + a u + b w with orthonormal u, w in any orientation have the coordinates (a, |b|)."""
    torch.manual_seed(0)
    u, w = torch.linalg.qr(torch.randn(12, 2, dtype=torch.float64)).Q.T
    midpoint, length = torch.randn(12, dtype=torch.float64), 5.0
    planted = torch.tensor([[-2.5, 0.0], [2.5, 3.0], [10.0, -4.0]], dtype=torch.float64)
    inputs = (midpoint + planted[:, :1] * u + planted[:, 1:] * w).view(-1, 3, 4)
    centroids = torch.stack([midpoint - length / 2 * u, midpoint + length / 2 * u]).view(-1, 3, 4)
    members = {"one": torch.tensor([0, 2]), "other": torch.tensor([1])}
    reading = measured(inputs, [0, 1, 1], members, centroids)
    nan = np.nan
    np.testing.assert_allclose(reading["along"], [[-2.5, 10.0], [2.5, nan]], rtol=1e-12)
    np.testing.assert_allclose(reading["across"], [[0.0, 4.0], [3.0, nan]], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(reading["centroid_along"], [-2.5, 2.5], rtol=1e-12)
    np.testing.assert_array_equal(reading["member_class"], [[0, 1], [1, -1]])


@pytest.mark.parametrize("direction", ["coherent", "random"])
def test_prototypes_are_displaced_along_the_line_or_across_it_and_pythagoras_holds(tiny, carry_out, direction) -> None:
    a = 3.0
    run = carry_out(tiny("  - group_data\n", f"groups.direction={direction}", "precision=float64", "stop.steps=1"))
    probe = run["baseline"]["group_data"]
    along, across, label = (probe[name].values[0] for name in ("along", "across", "member_class"))
    ends = probe["centroid_along"].values[0]
    np.testing.assert_allclose((along - ends[label]) ** 2 + across**2, probe["distance"].values[0] ** 2, rtol=1e-10)
    group = probe["along"].labels["group"].index("input_outlier")
    outward = np.abs(along[group])
    if direction == "coherent":
        # Displaced by a‖v‖ from near the own centroid, at ‖v‖/2: of the length ‖v‖ (a + ½) but for the source's spread.
        assert (outward > (a + 0.5) * 2 * ends[1] - 2 * ends[1]).all()
        assert (np.sign(along[group]) == np.sign(ends[label[group]])).all()
    else:
        assert (outward < 2 * ends[1]).all()
        assert (across[group] >= a * 2 * ends[1] - across[0].max() - 2 * ends[1]).all()


def test_without_two_centroids_there_is_no_line(tiny, carry_out) -> None:
    run = carry_out(tiny("  - group_data\n", "groups=classes", "dataset.classes=[one, two, five]", "stop.steps=1"))
    assert not {"along", "across", "centroid_along", "member_class"} & set(run["baseline"]["group_data"])
