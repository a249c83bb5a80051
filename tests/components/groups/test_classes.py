from __future__ import annotations

import pytest
import torch

from studyrun.components.groups.classes import Classes
from studyrun.plugin import ComponentError, Data, Split

DATA = Data(Split(torch.zeros(6, 2), torch.tensor([2, 0, 1, 1, 2, 2])), None, ("cat", "dog", "owl"), 3)


def test_every_class_is_a_group_with_its_name() -> None:
    made = Classes().form(DATA, torch.Generator())
    assert {name: indices.tolist() for name, indices in made.members.items()} == {
        "cat": [1],
        "dog": [2, 3],
        "owl": [0, 4, 5],
    }
    assert made.data is DATA


def test_a_choice_of_classes_in_its_own_order() -> None:
    made = Classes(only=("owl", "cat")).form(DATA, torch.Generator())
    assert list(made.members) == ["owl", "cat"]
    assert made.members["owl"].tolist() == [0, 4, 5]


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ComponentError, match="no class 'fox'; the classes are cat, dog, owl"):
        Classes(only=("fox",)).form(DATA, torch.Generator())


def test_a_class_without_examples_is_refused() -> None:
    lonely = Data(Split(torch.zeros(2, 2), torch.tensor([0, 0])), None, ("cat", "dog"), 2)
    with pytest.raises(ComponentError, match="class 'dog' has no training examples"):
        Classes().form(lonely, torch.Generator())


def test_regression_data_are_refused() -> None:
    regression = Data(Split(torch.zeros(2, 1), torch.zeros(2, 1)), None, (), 1)
    with pytest.raises(ComponentError, match="has no classes; use `indices` or `random`"):
        Classes().form(regression, torch.Generator())
