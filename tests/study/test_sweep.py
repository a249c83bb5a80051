from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studyrun.study import Study, study_from_member
from studyrun.study.sweep import expand
from studyrun.study.tree import Block, Faults, Origin, planted

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]


def names_of(load: Load, sweep: str) -> list[str]:
    return [member.name for member in load(f"sweep: {sweep}\n").members]


def test_a_grid_is_the_product_of_its_lists(load: Load) -> None:
    study = load("sweep: {seed: [0, 1], optimizer.lr: [0.1, 1e-2, 1e-05]}\n")
    assert [member.overrides for member in study.members] == [
        {"seed": seed, "optimizer.lr": lr} for seed in (0, 1) for lr in (0.1, 0.01, 1e-05)
    ]


def test_zipped_lists_go_side_by_side_within_the_grid(load: Load) -> None:
    study = load("sweep: {seed: [0, 1], zip: {optimizer.lr: [0.1, 0.2], stop.steps: [20, 10]}}\n")
    assert [tuple(member.overrides.values()) for member in study.members] == [
        (0, 0.1, 20),
        (0, 0.2, 10),
        (1, 0.1, 20),
        (1, 0.2, 10),
    ]


def test_members_are_named_by_what_differs(load: Load) -> None:
    assert names_of(load, "{seed: [0, 1], optimizer.lr: [1e-2]}") == ["seed=0", "seed=1"]
    assert names_of(load, "{seed: [0, 1], optimizer.lr: [1e-2, .1]}")[1] == "seed=0_lr=0.1"
    assert names_of(load, "{seed: [3]}") == ["seed=3"]
    assert names_of(load, "{optimizer: [drift, {use: descent, lr: 2}]}") == [
        "optimizer=drift",
        "optimizer=descent-lr-2",
    ]
    assert names_of(load, "{model.hidden: [[4, 4], [8]]}") == ["hidden=4-4", "hidden=8"]
    assert names_of(load, "{groups: [null, halves]}") == ["groups=null", "groups=halves"]
    assert names_of(load, "{optimizer.nesterov: [false], dataset.note: [a b, ../c, a-b, '']}") == [
        *("note=a-b_0", "note=..-c", "note=a-b_1", "note=empty"),
    ]


def test_paths_that_end_alike_are_named_in_full(load: Load) -> None:
    study = load("groups: halves\nsweep: {dataset.size: [4, 8], groups.size: [1, 2]}\n")
    assert study.members[0].name == "dataset.size=4_groups.size=1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["a", "b.c", "d.e.c"]),
        st.lists(st.text() | st.integers() | st.floats(), min_size=1, max_size=4, unique_by=repr),
        min_size=1,
    )
)
def test_names_are_unique_and_safe_for_any_file_system(sweep: dict[str, list[object]]) -> None:
    tree = planted({"sweep": sweep}, Origin("f", 1, 1))
    assert isinstance(tree, Block)
    faults = Faults()
    names = [member.name for member, _ in expand(tree, faults)]
    assert not faults.found
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) < 150
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>| \n')
        assert name not in (".", "..")


def test_a_member_is_a_study_of_its_own(load: Load) -> None:
    study = load(
        "branches: {exit: {at: above, set: {optimizer.lr: 9}}}\nsweep: {seed.init: [3], optimizer.lr: [0.1, 0.2]}\n"
    )
    member = study_from_member(study, study.members[1])
    assert (member.optimizer.lr, member.seed.init, member.seed.order) == (0.2, 3, 0)
    assert member.members == ()
    assert "sweep" not in member.document
    assert member.branches[0].study.seed.init == 3


def test_a_swept_use_replaces_the_block_in_each_member(load: Load) -> None:
    study = load("sweep: {optimizer: [drift, {use: descent, lr: 3}], seed: [0, 1]}\n")
    documents = [study_from_member(study, member).document["optimizer"] for member in study.members]
    assert documents[0] == documents[1] == {"use": "drift", "lr": 1.0, "pull": 0.5}
    assert documents[2] == {"use": "descent", "lr": 3.0, "momentum": 0.0, "nesterov": False}


def test_every_bad_value_is_told_once(faults_of: FaultsOf) -> None:
    faults = faults_of("sweep: {seed: [0, 1, 2, -1], optimizer.lr: [0.1, -1], loss: [square, squar]}\n")
    assert [fault.split(": ")[0] for fault in faults] == ["study.yaml:7:25", "study.yaml:7:50", "study.yaml:7:70"]


def test_a_combination_that_a_component_refuses_is_found(faults_of: FaultsOf) -> None:
    (fault,) = faults_of("sweep: {optimizer.nesterov: [false, true], optimizer.momentum: [0.5, 0.0]}\n")
    assert "nesterov needs a momentum > 0" in fault


def test_too_many_members_are_refused_before_any_is_made(faults_of: FaultsOf) -> None:
    start = perf_counter()
    values = ", ".join(map(str, range(1000)))
    (fault,) = faults_of(f"sweep: {{seed.init: [{values}], seed.order: [{values}], seed.probe: [{values}]}}\n")
    assert "has 1,000,000,000 members; at most 10,000 are run as one study" in fault
    assert perf_counter() - start < 5


@pytest.mark.parametrize("path", ["sweep.seed", "profiles.a", "title", "extends"])
def test_what_cannot_be_swept(faults_of: FaultsOf, path: str) -> None:
    assert any(f"'{path}' cannot be swept" in fault for fault in faults_of(f"sweep: {{{path}: [1]}}\n"))
