from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from studyrun.study import Study, load_study, profile_names

BASE = """\
title: base
model: {use: net, hidden: [8, 8]}
dataset: toy
loss: square
optimizer: {use: descent, lr: 0.1, momentum: 0.5}
stop: {time: 3.0}
probes: [level]
profiles:
  smoke: {stop: {steps: 2}, optimizer: {lr: 0.2}}
  drift: {optimizer: drift}
"""

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]


def test_a_profile_merges_into_blocks(load: Load) -> None:
    study = load(text=BASE, profile=["smoke"])
    assert (study.stop.steps, study.stop.time) == (2, 3.0)
    assert (study.optimizer.lr, study.optimizer.momentum) == (0.2, 0.5)  # type: ignore[attr-defined]
    assert study.profiles == ("smoke",)


def test_a_changed_use_replaces_the_whole_block(load: Load) -> None:
    study = load(text=BASE, profile=["drift"])
    assert study.document["optimizer"] == {"use": "drift", "lr": 1.0, "pull": 0.5}


def test_profiles_apply_in_the_order_given(load: Load) -> None:
    assert load(text=BASE, profile=["smoke", "drift"]).optimizer.lr == 1.0
    assert load(text=BASE, profile=["drift", "smoke"]).optimizer.lr == 0.2


def test_a_list_is_replaced_whole(load: Load) -> None:
    more = "  short: {model: {hidden: [2]}, probes: [{use: level, as: other}]}\n"
    study = load(more, text=BASE, profile=["short"])
    assert study.document["model"]["hidden"] == [2]
    assert [probe.label for probe in study.probes] == ["other"]


def test_a_null_takes_back_what_stands_below(load: Load) -> None:
    more = "  bare: {probes: null, stop: {time: null, steps: 1}, model: null}\n"
    study = load(more + "  net: {model: net}\n", text=BASE, profile=["bare", "net"])
    assert study.probes == ()
    assert (study.stop.steps, study.stop.time) == (1, None)
    assert study.document["model"]["hidden"] == [4]


def test_a_null_option_is_its_default_unless_it_may_be_null(load: Load) -> None:
    study = load("  null: {model: {hidden: null, limit: null}}\n", text=BASE, profile=["null"])
    assert study.document["model"]["hidden"] == [4]
    assert study.document["model"]["limit"] is None


def test_a_null_branch_is_gone(load: Load) -> None:
    branches = "branches: {exit: {at: above}, stay: {at: above}}\n"
    study = load(branches, "branches.exit=null", text=BASE)
    assert [branch.name for branch in study.branches] == ["stay"]


def test_a_file_inherits_what_it_extends(load: Load, folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE)
    study = load(text="extends: base.yaml\noptimizer: {lr: 0.7}\n")
    assert (study.title, study.optimizer.lr) == ("base", 0.7)
    assert "extends" not in study.document
    assert "profiles" not in study.document


def test_extends_is_relative_to_its_own_file(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "base.yaml").write_text(BASE)
    (folder / "deep" / "middle.yaml").write_text("extends: ../base.yaml\ntitle: middle\n")
    (folder / "top.yaml").write_text("extends: deep/middle.yaml\nseed: 4\n")
    study = load_study(folder / "top.yaml")
    assert (study.title, study.seed.init) == ("middle", 4)


def test_profiles_are_inherited_and_those_of_one_name_stack(load: Load, folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE)
    text = "extends: base.yaml\nprofiles: {smoke: {optimizer: {momentum: 0.9}}, drift: {optimizer: {pull: 2.0}}}\n"
    smoke = load(text=text, profile=["smoke"]).optimizer
    assert (smoke.lr, smoke.momentum) == (0.2, 0.9)  # type: ignore[attr-defined]
    assert load(text=text, profile=["drift"]).document["optimizer"] == {"use": "drift", "lr": 1.0, "pull": 2.0}


def test_faults_point_into_the_file_and_line_they_come_from(faults_of: FaultsOf, folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE.replace("lr: 0.1", "lr: 0").replace("lr: 0.2", "lr: -0.2"))
    text = "extends: base.yaml\nmodel: {hidden: [0]}\n"
    assert faults_of(text=text) == [
        "base.yaml:5:31: optimizer.lr: the number 0 is wrong here; a number > 0 would be right",
        "study.yaml:2:18: model.hidden.0: the number 0 is wrong here; a number ≥ 1 would be right",
    ]
    assert faults_of(text="extends: base.yaml\n", profile=["smoke"]) == [
        "base.yaml:9:45: optimizer.lr: the number -0.2 is wrong here; a number > 0 would be right"
    ]


def test_files_that_extend_each_other_are_refused(faults_of: FaultsOf, folder: Path) -> None:
    (folder / "other.yaml").write_text("extends: study.yaml\n")
    assert faults_of(text="extends: other.yaml\n") == [
        "other.yaml:1:10: extends: the files extend each other in a circle: study.yaml → other.yaml → study.yaml"
    ]


def test_a_long_chain_is_refused(faults_of: FaultsOf, folder: Path) -> None:
    for number in range(40):
        (folder / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (fault,) = faults_of(text="extends: 0.yaml\n")
    assert "more than 20 files extend each other" in fault


def test_a_fault_in_an_extended_file_s_yaml_is_its_own(faults_of: FaultsOf, folder: Path) -> None:
    (folder / "base.yaml").write_text("model: [1\n")
    (fault,) = faults_of(text="extends: base.yaml\n")
    assert fault.startswith("base.yaml:2:1: not readable as YAML")


def test_a_file_outside_the_working_directory_is_named_in_full(
    faults_of: FaultsOf, folder: Path, tmp_path_factory
) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path_factory.mktemp("elsewhere") / "base.yaml"
    other.write_text("loss: squar\n")
    faults = faults_of(text=f"extends: {other}\nmodel: net\ndataset: toy\noptimizer: drift\nstop: {{steps: 1}}\n")
    assert [fault.split(": ")[0] for fault in faults] == [f"{other}:1:7"]


def test_a_file_s_profiles_are_named_with_those_it_inherits(folder: Path) -> None:
    (folder / "base.yaml").write_text(BASE)
    (folder / "top.yaml").write_text("extends: base.yaml\nprofiles: {long: {stop: {steps: 9}}}\n")
    assert profile_names(folder / "top.yaml") == ("smoke", "drift", "long")
