from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from studyrun.components.groups.indices import Indices
from studyrun.plugin import ComponentError, Data, Split

DATA = Data(Split(torch.zeros(6, 1), torch.zeros(6, 1)), None, (), 1)


def test_groups_are_as_listed_and_may_overlap() -> None:
    made = Indices(members={"left": (0, 1), "middle": (1, 5, 2)}).form(DATA, torch.Generator())
    assert {name: indices.tolist() for name, indices in made.members.items()} == {"left": [0, 1], "middle": [1, 5, 2]}
    assert all(indices.dtype == torch.int64 for indices in made.members.values())
    assert made.data is DATA


def test_an_index_beyond_the_training_set_is_refused() -> None:
    with pytest.raises(ComponentError, match="group 'late' lists 6, and the training set ends at 5"):
        Indices(members={"early": (0,), "late": (1, 6)}).form(DATA, torch.Generator())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "at least 1 item"),
        ({"none": ()}, "group 'none' is empty; list at least one index"),
        ({"twice": (1, 1)}, "group 'twice' lists an index twice"),
        ({"below": (-1,)}, "greater than or equal to 0"),
    ],
)
def test_faulty_lists_are_refused_before_any_data_load(members: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Indices(members=members)
