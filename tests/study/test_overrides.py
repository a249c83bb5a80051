from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studyrun.study import Study
from studyrun.study.overrides import parse_override, split
from studyrun.study.tree import Faults, plain

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]
TWO_PROBES = "probes: [level, {use: level, as: other, every: 5}]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1e-3", 0.001),
        ("a=no", "no"),
        ("a=true", True),
        ("a=", None),
        ("a=null", None),
        ("a='1'", "1"),
        ("a=[1, x]", [1, "x"]),
        ("a={b: 1}", {"b": 1}),
        ("a=x=y", "x=y"),
        ("a = 2", 2),
    ],
)
def test_values_are_typed_as_yaml(text: str, value: Any) -> None:
    faults = Faults()
    setting = parse_override(text, faults)
    assert not faults.found
    assert setting is not None
    assert (setting.where, plain(setting.value)) == (("a",), value)


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".a=1", "a.=1", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    faults = Faults()
    assert parse_override(text, faults) is None
    assert "optimizer.lr=0.1" in faults.found[0].message


@pytest.mark.parametrize("key", ["profiles.smoke.seed", "extends"])
def test_what_only_a_file_can_say_is_refused(key: str) -> None:
    faults = Faults()
    assert parse_override(f"{key}=1", faults) is None
    assert "read from files only" in faults.found[0].message


@given(st.text())
def test_any_text_is_a_setting_or_a_fault(text: str) -> None:
    faults = Faults()
    assert (parse_override(text, faults) is not None) or faults.found


def test_paths_split_at_dots() -> None:
    assert split("a.b.0") == ("a", "b", "0")
    assert split("") is None


def test_a_value_is_put_at_its_path_and_recorded(load: Load) -> None:
    study = load("", "model.hidden=[4, 4]", "optimizer.lr=0.3", "model.hidden.1=7")
    assert (study.optimizer.lr, study.document["model"]["hidden"]) == (0.3, [4, 7])
    assert study.settings == ("model.hidden=[4, 4]", "optimizer.lr=0.3", "model.hidden.1=7")


BASE_WITHOUT_PROBES = "model: net\ndataset: toy\nloss: square\noptimizer: {use: descent, lr: 0.1}\nstop: {steps: 10}\n"


@pytest.mark.parametrize("path", ["probes.1.every", "probes.other.every"])
def test_an_item_of_a_list_is_named_by_place_or_label(load: Load, path: str) -> None:
    study = load(TWO_PROBES, f"{path}=7", text=BASE_WITHOUT_PROBES)
    assert [probe.schedule.every for probe in study.probes] == [2, 7]


def test_a_bare_name_in_the_file_is_a_block_to_an_override(load: Load) -> None:
    assert load("", "probes.level.k=3").document["probes"] == [{"use": "level", "k": 3, "every": 2}]
    assert load("", "dataset.size=3").document["dataset"]["size"] == 3


def test_a_changed_use_leaves_no_option_behind(load: Load) -> None:
    study = load("", "optimizer.use=drift", "optimizer.pull=2")
    assert study.document["optimizer"] == {"use": "drift", "lr": 1.0, "pull": 2.0}
    assert load("", "optimizer=drift").document["optimizer"] == {"use": "drift", "lr": 1.0, "pull": 0.5}
    assert load("", "optimizer.use=descent").optimizer.lr == 0.1


def test_a_block_merges_and_a_list_replaces(load: Load) -> None:
    assert load("", "stop={time: 2.0}").document["stop"] == {"steps": 10, "time": 2.0}
    assert load("", "probes=[{use: level, as: one}]").probes[0].label == "one"


def test_one_kind_of_schedule_takes_back_the_other(load: Load) -> None:
    listed = "probes: [{use: level, at: [1, 2]}]\n"
    assert load(listed, "probes.level.every=3", text=BASE_WITHOUT_PROBES).probes[0].schedule.every == 3
    assert load("", "probes.level.every=4", "probes.level.at=[9]").probes[0].schedule.at == (9,)
    assert load("", "probes.level.at=[9]", "probes.0={every: 4, k: 2}").document["probes"][0] == {
        "use": "level",
        "k": 2,
        "every": 4,
    }


def test_a_null_takes_an_item_out_of_its_list(load: Load) -> None:
    assert [probe.label for probe in load(TWO_PROBES, "probes.level=null", text=BASE_WITHOUT_PROBES).probes] == [
        "other"
    ]
    assert load("", "model.hidden=[1, 2, 3]", "model.hidden.1=null").document["model"]["hidden"] == [1, 3]


def test_a_seed_is_set_for_all_purposes_or_for_one(load: Load) -> None:
    study = load("seed: 3\n", "seed.init=5")
    assert study.document["seed"] == {"init": 5, "order": 3, "subset": 3, "probe": 3}
    assert load("seed: {init: 9}\n", "seed=4").document["seed"] == 4
    assert load("", "seed.probe=2").document["seed"] == {"init": 0, "order": 0, "subset": 0, "probe": 2}


def test_keys_that_hold_dots_are_paths_themselves(load: Load) -> None:
    branch = "branches: {exit: {at: above, set: {optimizer.lr: 0.5}}}\nsweep: {optimizer.lr: [1, 2]}\n"
    study = load(branch, "branches.exit.set.optimizer.lr=0.7", "sweep.optimizer.lr=[3]", "sweep.zip.seed=[1]")
    assert study.branches[0].overrides == {"optimizer.lr": 0.7}
    assert [member.overrides for member in study.members] == [{"optimizer.lr": 3, "seed": 1}]


def test_a_whole_section_can_be_added(load: Load) -> None:
    assert load("", "groups.use=halves", "groups.size=2").document["groups"] == {"use": "halves", "size": 2}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizr.lr=1", "no section 'optimizr'; did you mean 'optimizer'?"),
        ("optimizer.lrr=1", "no option 'lrr' here; did you mean 'lr'?"),
        ("probes.levl.every=1", "the list probes has no 'levl'; did you mean 'level'?"),
        ("probes.9.every=1", "the list probes has no '9'"),
        ("model.hidden.two=1", "numbered 0 to 0"),
        ("dataset.classes.0=x", "no list dataset.classes is written in the study; set the list whole"),
        ("model.hidden.0.x=1", "model.hidden.0 is the number 4, which holds no 'x'"),
        ("optimizer.lr=", "the option 'lr' is missing"),
        ("model.hidden=[1, 2", "not readable as YAML"),
        ("stop.steps='9'", "the text '9' is wrong here"),
    ],
)
def test_a_wrong_override_is_a_fault_of_its_own(faults_of: FaultsOf, override: str, words: str) -> None:
    text = "model: {use: net, hidden: [4]}\n" + BASE_WITHOUT_PROBES.removeprefix("model: net\n") + "probes: [level]\n"
    (fault,) = faults_of("", override, text=text)
    assert words in fault
    assert fault.startswith(f"--set {override}: ") or "missing" in words
