from __future__ import annotations

from itertools import chain

import pytest
import torch

from studyrun.components.groups.random import Random
from studyrun.plugin import ComponentError, Data, Split

DATA = Data(Split(torch.zeros(40, 2), torch.zeros(40, dtype=torch.int64)), None, ("one", "two"), 2)


def drawn(seed: int = 0, **options: int) -> dict[str, list[int]]:
    made = Random(**options).form(DATA, torch.Generator().manual_seed(seed))
    assert made.data is DATA
    return {name: indices.tolist() for name, indices in made.members.items()}


def test_groups_have_their_size_and_share_no_example() -> None:
    groups = drawn(count=4, size=10)
    assert list(groups) == ["random_1", "random_2", "random_3", "random_4"]
    assert sorted(chain.from_iterable(groups.values())) == list(range(40))
    assert all(indices == sorted(indices) and len(indices) == 10 for indices in groups.values())


def test_one_group_is_called_random_and_follows_the_seed() -> None:
    assert list(drawn()) == ["random"]
    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)


def test_every_example_is_as_likely() -> None:
    counts = torch.zeros(40)
    for seed in range(400):
        counts[drawn(seed, size=10)["random"]] += 1
    # Binomial(400, ¼): mean 100, deviation 8.7; five deviations either way.
    assert 57 < counts.min() <= counts.max() < 143


def test_more_than_the_training_set_holds_is_refused() -> None:
    with pytest.raises(ComponentError, match="3 × 14 = 42 examples are asked for, and the training set has 40; lower"):
        drawn(count=3, size=14)
