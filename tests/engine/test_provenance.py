"""What a resumed run says of everything that its bits depend on and that is not as it was."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from studyrun.engine.prepare import Prepared, prepare
from studyrun.engine.problem import state_digest, trained_on
from studyrun.engine.provenance import differences, provenance


@pytest.fixture
def prepared(tiny, data_folder: Path) -> Prepared:
    return prepare(tiny(), data_folder)


def test_a_run_that_goes_on_where_it_began_has_nothing_to_say(prepared: Prepared) -> None:
    assert differences(prepared.problem, provenance(prepared.problem, [])) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("packages", "torch"), r"the run began with torch other and goes on with .*: from here on it may differ in"),
        (("packages", "numpy"), r"the run began with numpy other"),
        (("studyrun",), r"the run began with studyrun other"),
        (("device",), r"the run began with the device other and goes on with cpu"),
    ],
)
def test_whatever_is_not_as_it_was_is_said(prepared: Prepared, path: tuple[str, ...], words: str) -> None:
    facts: dict[str, Any] = copy.deepcopy(provenance(prepared.problem, []))
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "other"
    (said,) = differences(prepared.problem, facts)
    assert re.match(words, said)


@pytest.mark.parametrize("facts", [{}, {"packages": {}}, {"device": None}])
def test_what_an_older_version_did_not_write_is_no_difference(prepared: Prepared, facts: dict[str, Any]) -> None:
    assert differences(prepared.problem, facts) == []


def test_the_initial_parameters_are_on_record_to_the_bit(tiny, data_folder: Path) -> None:
    """Two runs of one seed begin alike; another seed, and one bit of one parameter or buffer, are told apart."""

    def recorded(prepared: Prepared) -> str:
        return str(provenance(prepared.problem, [])["initial"]["sha256"])

    one = prepare(tiny("", "seed=1"), data_folder)
    first = recorded(one)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert (
        recorded(prepare(tiny("", "seed=1"), data_folder))
        == first
        != recorded(prepare(tiny("", "seed=2"), data_folder))
    )
    last = list(one.problem.named_tensors.values())[-1].data
    before = last.flatten()[0].item()
    last.view(-1)[0] = torch.nextafter(last.view(-1)[0], torch.tensor(9.0, dtype=last.dtype))
    assert recorded(one) != first
    last.view(-1)[0] = before
    assert recorded(one) == first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.int64, torch.bool])
def test_a_digest_of_any_type_tells_values_names_and_shapes_apart(dtype: torch.dtype) -> None:
    def digest(name: str, values: list[int], *shape: int) -> str:
        module = torch.nn.Module()
        module.register_buffer(name, torch.tensor(values).to(dtype).reshape(shape))
        return state_digest(module)

    found = [digest("a", [0, 1], 2), digest("a", [1, 1], 2), digest("b", [0, 1], 2), digest("a", [0, 1], 1, 2)]
    assert len({*found, digest("a", [1])}) == 5


def test_test_examples_that_are_training_examples_are_counted(prepared: Prepared) -> None:
    data = prepared.problem.data
    assert provenance(prepared.problem, [])["test_in_train"] == 0
    train, test = data.train, data.test
    leaking = replace(data, test=replace(test, inputs=torch.cat([train.inputs[[3, 3, 5]], test.inputs[3:]])))
    assert trained_on(leaking) == 3
    assert trained_on(replace(data, test=None)) == 0


def test_other_kernels_and_another_number_of_threads_are_told(tiny, data_folder, monkeypatch) -> None:
    problem = prepare(tiny(), data_folder).problem
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    facts = provenance(problem, [])
    assert differences(problem, facts) == []
    own = torch.backends.cpu.get_cpu_capability()
    monkeypatch.delenv("MKL_CBWR")
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert [text.split(":")[0] for text in differences(problem, facts)] == [
        f"the run began with a thread count of {threads} and goes on with {threads + 1}",
        f"the run began with kernels for {own}, MKL_CBWR=COMPATIBLE and goes on with {own}",
    ]
    assert differences(problem, {key: facts[key] for key in facts if key not in ("threads", "kernels")}) == []
