"""Data sets and groups with a fault: each is found in the whole of the data, and told in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from studyrun.component import Data, Grouping, Split
from studyrun.engine.data_check import data_faults, data_warnings, tidied
from studyrun.engine.group_check import group_faults, tidied_groups

N = 10_000  # more than are looked at together
LABELS = torch.arange(N) % 3
INPUTS = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
SOUND = Data(Split(INPUTS, LABELS), Split(INPUTS[:50] + 1, LABELS[:50]), ("a", "b", "c"), 3)


def with_value(tensor: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[place] = value
    return changed


LARGE = with_value(INPUTS.double(), (7, 0), 1e40)


def train(inputs: object = INPUTS, targets: object = LABELS) -> Split:
    return Split(inputs, targets)  # type: ignore[arg-type]


def test_sound_data_have_no_fault() -> None:
    real = Data(Split(INPUTS.double(), INPUTS[:, :2]), None, (), 2, mean=(0.5,), deviation=(2.0,))
    tokens = Data(Split(LABELS[:, None].expand(N, 7), LABELS), None, ("a", "b", "c"), 3)
    assert [
        *data_faults(SOUND, torch.float32),
        *data_faults(real, torch.float32),
        *data_faults(tokens, torch.float32),
    ] == []
    assert [*data_warnings(SOUND), *data_warnings(real)] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": train(targets=LABELS + 1)}, "labels run from 1 to 3 (example 2 is the first outside); 0 to 2"),
        ({"train": train(targets=with_value(LABELS, (9_000,), -1))}, "run from -1 to 2 (example 9000 is the first"),
        ({"test": Split(INPUTS[:5] + 1, LABELS[:5] + 7)}, "test labels run from 7 to 9"),
        ({"outputs": 1, "classes": ("a", "b")}, "0 to 1 would be right, for there are 2 classes"),
        ({"classes": ()}, None),
        ({"outputs": 2}, "3 classes are named for 2 outputs; `outputs=3` would be right"),
        ({"outputs": 1}, "3 classes are named for a single output"),
        ({"outputs": 2.5}, "outputs is 2.5; how many numbers"),
        ({"outputs": np.int64(3)}, None),
        ({"outputs": True}, "outputs is True"),
        ({"classes": ("a", "b", "a")}, "the class 'a' is named 2 times"),
        ({"classes": ("a", "", "c")}, "class 1 has no name"),
        ({"classes": "abc"}, "classes is the text 'abc'; a tuple of names"),
        ({"train": train(inputs=INPUTS.numpy())}, "training inputs are a numpy array; `torch.from_numpy(...)`"),
        ({"train": train(targets=LABELS.tolist())}, "training targets are a list; a torch tensor would be right"),
        ({"train": train(inputs=INPUTS.half())}, "training inputs are float16; `.float()` would be right"),
        ({"train": train(inputs=INPUTS.bfloat16())}, "training inputs are bfloat16"),
        ({"train": train(inputs=INPUTS.to(torch.complex64))}, "training inputs are complex64; `torch.view_as_real`"),
        ({"train": train(inputs=INPUTS.to(torch.uint8))}, "training inputs are uint8; `.float() / 255` would be right"),
        ({"train": train(inputs=INPUTS > 0)}, "training inputs are bool; `.float()` would be right"),
        ({"train": train(targets=LABELS.int())}, "training targets are int32; `.long()`, which is int64"),
        ({"train": train(targets=LABELS.to(torch.uint8))}, "training targets are uint8; `.long()`, which is int64"),
        ({"train": train(targets=LABELS == 1)}, "training targets are bool; `.long()`, which is int64"),
        ({"train": train(targets=LABELS[:, None])}, "whole numbers of shape (10000, 1); (10000,) would be right"),
        ({"train": train(targets=LABELS[:-1])}, "10000 training inputs do not go with 9999 targets"),
        ({"train": train(inputs=with_value(INPUTS, (9_999, 3), np.nan))}, "inputs hold nan, first in example 9999"),
        ({"train": train(inputs=with_value(INPUTS, (5_000, 0), -np.inf))}, "inputs hold -inf, first in example 5000"),
        ({"train": train(inputs=LARGE), "test": None}, "1e+40, beyond the range of float32, first in example 7"),
        ({"train": train(inputs=INPUTS.clone().requires_grad_())}, "training inputs require a gradient; `.detach()`"),
        ({"train": train(inputs=INPUTS.to_sparse())}, "training inputs are a sparse tensor; a dense one"),
        ({"train": train(inputs=torch.empty(3, 4, device="meta"))}, "without values (device meta)"),
        ({"train": train(inputs=torch.tensor(1.0))}, "training inputs are a single number"),
        ({"train": train(inputs=INPUTS[:, :0])}, "(0,), which holds no number"),
        ({"train": train(INPUTS[:0], LABELS[:0])}, "the training split has no examples"),
        ({"test": Split(INPUTS[:5, :3] + 1, LABELS[:5])}, "have the shape (3,) each and training inputs (4,)"),
        ({"test": Split(INPUTS[:5].double() + 1, LABELS[:5])}, "test inputs are float64 and training inputs float32"),
        ({"test": Split(INPUTS[:5] + 1, INPUTS[:5, :1])}, "test targets are float32 and training targets int64"),
        ({"test": (INPUTS, LABELS)}, "the test split is a tuple; `Split(inputs, targets)` would be right"),
        ({"mean": (0.1, 0.2)}, "mean has 2 entries and deviation 0"),
        ({"mean": (0.1, 0.2), "deviation": (1.0, 1.0)}, "mean has 2 entries for 4 channels"),
        ({"mean": (0.1,), "deviation": (0.0,)}, "deviation holds a number that is not above 0"),
        ({"mean": (np.nan,), "deviation": (1.0,)}, "mean holds something else than finite numbers"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_what_would_be_right(changes: dict[str, object], words: str | None) -> None:
    faults = list(data_faults(replace(SOUND, **changes), torch.float32))
    assert faults == [] if words is None else any(words in fault for fault in faults), faults


def test_several_faults_are_told_together() -> None:
    wrong = Data(train(INPUTS.numpy(), LABELS.int()), Split(INPUTS, LABELS[:1]), ("a", "a"), 0)
    assert len(list(data_faults(wrong, torch.float32))) == 5
    assert list(data_faults((INPUTS, LABELS), torch.float32)) == [
        "`load` returns a tuple; `Data(train, test, classes, outputs)` would be right"
    ]


def test_a_value_that_float64_holds_is_a_fault_in_float32_alone() -> None:
    large = replace(SOUND, train=train(LARGE), test=None)
    assert list(data_faults(large, torch.float64)) == []


def test_numbers_and_names_of_other_libraries_become_plain() -> None:
    data = tidied(
        replace(SOUND, classes=np.array(["a", "b", "c"]), outputs=np.int64(3), test=SOUND.test.take(slice(0, 0)))
    )
    assert (data.classes, data.test) == (("a", "b", "c"), None)
    assert type(data.outputs) is int
    assert all(type(name) is str for name in data.classes)


def test_what_is_odd_is_a_warning() -> None:
    both = Split(torch.cat([INPUTS, INPUTS]), torch.cat([LABELS, LABELS]))
    apart = replace(SOUND, train=both.take(slice(0, N)), test=both.take(slice(N, 2 * N)))
    within = replace(SOUND, test=Split(INPUTS[N - 6 :], LABELS[N - 6 :]))
    every_other = replace(SOUND, train=both.take(slice(0, None, 2)), test=both.take(slice(1, None, 2)))
    empty = replace(SOUND, test=SOUND.test.take(slice(0, 0)))
    assert [*data_warnings(apart), *data_warnings(every_other)] == []
    assert list(data_warnings(within)) == [
        "6 test examples are training examples: they lie at the same place in memory"
    ]
    assert list(data_warnings(empty)) == ["the test split has no examples, and is taken as no test set"]
    assert "no accuracy is recorded" in next(iter(data_warnings(replace(SOUND, classes=()))))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a": LABELS == 0}, "group 'a' is a mask; the indices `mask.nonzero().flatten()` would be right"),
        ({"a": [1, 2]}, "group 'a' is a list; an int64 tensor of indices (n,) would be right"),
        ({"a": np.arange(3)}, "group 'a' is a ndarray; an int64 tensor"),
        ({"a": torch.arange(3, dtype=torch.int32)}, "group 'a' is int32 of shape (3,)"),
        ({"a": torch.arange(4).view(2, 2)}, "group 'a' is int64 of shape (2, 2)"),
        ({"a": torch.tensor([], dtype=torch.int64)}, "group 'a' is empty"),
        ({"a": torch.tensor([0, N])}, f"group 'a' holds the index {N}; 0 to {N - 1} would be right"),
        ({"a": torch.tensor([-1, 2])}, "group 'a' holds the index -1"),
        ({"a": torch.tensor([2, 1, 2])}, "group 'a' holds an index twice"),
        ({"": torch.tensor([2])}, "'' is no name of a group"),
        ({3: torch.tensor([2])}, "3 is no name of a group"),
        ({}, "there is no group"),
    ],
)
def test_each_fault_of_groups_is_told(members: dict[str, object], words: str) -> None:
    sound = {"sound": torch.tensor([5, 3])} if members else {}
    faults = list(group_faults(Grouping(SOUND, {**sound, **members}), SOUND, torch.float32))
    assert len(faults) == 1
    assert words in faults[0]


def test_the_data_centroids_and_facts_of_groups_are_looked_at_too() -> None:
    wrong = Grouping(replace(SOUND, train=train(targets=LABELS + 1)), {"a": torch.tensor([1])})
    assert "of the data it returns, training labels run from 1 to 3" in next(group_faults(wrong, SOUND, torch.float32))
    centroids = Grouping(SOUND, {"a": torch.tensor([1])}, torch.zeros(3, 5), {"fact": "text"})
    assert list(group_faults(centroids, SOUND, torch.float32)) == [
        "centroids are (3, 5); a tensor of shape ('classes', 4) would be right",
        "the fact 'fact' is a str; a number would be right",
    ]
    facts = tidied_groups(Grouping(SOUND, {"a": torch.tensor([1])}, None, {"x": np.float32(2), "y": torch.tensor(3)}))
    assert facts.facts == {"x": 2.0, "y": 3.0}
    assert all(type(fact) is float for fact in facts.facts.values())
