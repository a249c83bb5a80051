"""Distances of the training examples to the centroid of their class, against numpy on the study's own data."""

from __future__ import annotations

import numpy as np
import pytest

from studyrun.errors import ProbeError

PROBE = "  - centroid_distance\n  - group_data\n"


def truth(kept, centroids):
    """Each example's distance, one at a time, in float64."""
    inputs, labels = (
        part.double().numpy() for part in (kept.problem.data.train.inputs, kept.problem.data.train.targets)
    )
    return [np.linalg.norm(x.ravel() - centroids[int(y)].ravel()) for x, y in zip(inputs, labels, strict=True)]


@pytest.mark.parametrize("more", [(), ("precision=float32",), ("chunk_size=7",)])
def test_distances_are_to_the_centroids_that_the_groups_were_made_from(keep, more) -> None:
    kept = keep(PROBE, "stop.steps=2", *more)
    found = kept.run["baseline"]["centroid_distance"]["distance"]
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.step, [0])
    expected = truth(kept, kept.problem.grouping.centroids.double().numpy())
    # stored in single precision: 6e-8 of the number; in a float32 study the centroids are rounded as well
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-6)


def test_without_groups_they_are_to_the_class_means_of_the_training_set(keep) -> None:
    kept = keep("  - centroid_distance\n", "groups=null", "dataset.classes=[one, two, five]", "stop.steps=1")
    train = kept.problem.data.train
    inputs, labels = train.inputs.numpy(), train.targets.numpy()
    means = np.stack([inputs[labels == label].mean(axis=0) for label in range(3)])
    found = kept.run["baseline"]["centroid_distance"]["distance"].values[0]
    np.testing.assert_allclose(found, truth(kept, means), rtol=1e-6)
    assert len(np.unique(found)) > len(found) // 2


def test_members_of_groups_have_the_distances_that_group_data_records(keep) -> None:
    kept = keep(PROBE, "stop.steps=1")
    everyone = kept.run["baseline"]["centroid_distance"]["distance"].values[0]
    groups = kept.run["baseline"]["group_data"]["distance"].values[0]
    for row, members in zip(groups, kept.problem.grouping.members.values(), strict=True):
        np.testing.assert_array_equal(everyone[members.numpy()], row[: len(members)].astype("float32"))
    inlier, flipped = groups[0], groups[3]
    assert inlier.max() < flipped.min(), "a flipped label is held against the class it names"


def test_a_data_set_without_classes_is_refused(tiny, carry_out) -> None:
    regression = ("groups=null", "dataset={use: chebyshev, points: 20, degree: 4}")
    with pytest.raises(ProbeError, match=r"this data set has no classes; take a data set with classes or leave this"):
        carry_out(tiny("  - centroid_distance\n", *regression))
