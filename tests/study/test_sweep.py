from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.effort import assert_effort

from studyrun.study import Study, study_from_member
from studyrun.study.sweep import expand
from studyrun.study.tree import Block, Faults, Node, Origin, plain, planted
from studyrun.study.yaml_reader import parse

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]


def parsed(text: str) -> Node:
    node = parse(text, Origin("f", 1, 1), Faults())
    assert node is not None
    return node


def names_of(load: Load, sweep: str) -> list[str]:
    return [member.name for member in load(f"sweep: {sweep}\n").members]


def test_a_grid_is_the_product_of_its_lists(load: Load) -> None:
    study = load("sweep: {seed: [0, 1], optimizer.lr: [0.1, 1e-2, 1e-05]}\n")
    assert [member.overrides for member in study.members] == [
        {"seed": seed, "optimizer.lr": lr} for seed in (0, 1) for lr in (0.1, 0.01, 1e-05)
    ]


def test_a_null_takes_a_swept_path_back(load: Load) -> None:
    study = load("sweep: {seed: null, optimizer.lr: [0.1, 0.2], zip: {stop.steps: null}}\n")
    assert [member.overrides for member in study.members] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]
    assert study.document["sweep"] == {"optimizer.lr": [0.1, 0.2]}
    nothing = load("sweep: {seed: null, zip: {stop.steps: null}}\n")
    assert nothing.members == ()
    assert "sweep" not in nothing.document


def test_a_value_may_come_again_beside_another_one_under_zip(load: Load) -> None:
    study = load("sweep: {zip: {optimizer.lr: [0.1, 0.1], stop.steps: [20, 10]}}\n")
    assert [tuple(member.overrides.values()) for member in study.members] == [(0.1, 20), (0.1, 10)]


def test_a_combination_that_stands_twice_is_said(faults_of: FaultsOf) -> None:
    (fault,) = faults_of("sweep: {zip: {optimizer.lr: [0.1, 0.1], stop.steps: [20, 20]}}\n")
    assert "sweep.zip: the combination 0.1, 20 stands twice, and its member would be run twice" in fault


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
        *("note=a-b_0", "note=..-c", "note=a-b_2", "note=empty"),
    ]


def test_a_sign_is_part_of_a_name(load: Load) -> None:
    assert names_of(load, "{model.limit: [-1, 1]}") == ["limit=-1", "limit=1"]


def test_names_too_long_for_a_folder_are_cut_and_numbered(load: Load) -> None:
    values = ", ".join(f"{'x' * 60}{i}" for i in range(2))
    assert names_of(load, f"{{dataset.note: [{values}]}}") == [f"note={'x' * 40}_{i}" for i in range(2)]
    lists = ", ".join(f"a{i}: [{'y' * 38}0, {'y' * 38}1]" for i in range(4))
    tree = planted(plain(parsed(f"sweep: {{{lists}}}")), Origin("f", 1, 1))
    assert isinstance(tree, Block)
    names = [member.name for member, _ in expand(tree, Faults())]
    assert len(set(names)) == 16
    assert max(map(len, names)) < 130


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


@pytest.mark.parametrize(
    "sweep",
    [
        "{seed: [0, 1], optimizer.lr: [0.1, 3]}",
        "{optimizer: [drift, {use: descent, lr: 3}, {momentum: 0.25}], stop: [{time: 2.0}]}",
        "{optimizer.use: [descent, drift]}",
        "{probes.level.every: [5, {log: 3}], model.init: [{scheme: uniform}, null]}",
        "{model.init: [{scheme: uniform}, {scale: 3.0}]}",
        "{model.init.scheme: [uniform]}",
        "{probes.level.at: [[0], [1, 2]], groups: [halves, null]}",
        "{probes.0: [{at: [3]}, {k: 4}], stop.when: [null, {use: above, value: 3}]}",
        "{probes: [[], [level, {use: level, as: b}]], branches.exit.set.optimizer.lr: [7, 8]}",
        "{zip: {model.hidden: [[1], [2, 2]], dataset.note: ['1e3', no]}, branches.exit: [null]}",
    ],
)
def test_a_member_is_what_the_command_line_would_have_made(load: Load, sweep: str) -> None:
    """Two ways to one study: the member of the resolved document, and the same values set over the file."""
    branch = "branches: {exit: {at: soon, set: {optimizer.lr: 9}}}\n"
    study = load(f"{branch}sweep: {sweep}\n")
    for member in study.members:
        values = [f"{path}={json.dumps(value)}" for path, value in member.overrides.items()]
        assert study_from_member(study, member) == load(branch, *values)


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
    values = ", ".join(map(str, range(1000)))

    def refuse() -> None:
        (fault,) = faults_of(f"sweep: {{seed.init: [{values}], seed.order: [{values}], seed.probe: [{values}]}}\n")
        assert "has 1,000,000,000 members; at most 10,000 are run as one study" in fault

    assert_effort(refuse, 5)


@pytest.mark.parametrize("path", ["sweep.seed", "profiles.a", "title", "extends"])
def test_what_cannot_be_swept(faults_of: FaultsOf, path: str) -> None:
    assert any(f"'{path}' cannot be swept" in fault for fault in faults_of(f"sweep: {{{path}: [1]}}\n"))


def test_ten_thousand_members_are_checked_in_good_time(faults_of: FaultsOf) -> None:
    """The last of a thousand seeds is wrong, and the last of ten trigger values for the branch that uses it."""
    seeds = ", ".join(map(str, [*range(999), -1]))
    labels = ", ".join(["level"] * 1 + [f"x{i}" for i in range(9)])
    branch = "branches: {exit: {at: {use: above, probe: level}}}\n"

    def check() -> None:
        faults = faults_of(f"{branch}sweep: {{seed: [{seeds}], branches.exit.at.probe: [{labels}]}}\n")
        assert len(faults) == 10

    assert_effort(check, 12)


@pytest.mark.parametrize("tied", ["stop.when.probe", "branches.exit.at.probe"])
def test_sections_tied_by_triggers_are_checked_together(faults_of: FaultsOf, tied: str) -> None:
    """Of the four pairs only the last is wrong, and each of its two values has been right in another pair."""
    start = "branches: {exit: {at: {use: above, probe: level}}}\n" if tied.startswith("branches") else ""
    lists = f"probes: [[level, {{use: level, as: other}}], [level]], {tied}: [level, other]"
    faults = faults_of(f"{start}sweep: {{{lists}}}\n", *([] if start else ["stop.when={use: above}"]))
    assert ["labelled 'other', and there is none" in fault for fault in faults] == [True]
