"""Whole studies: their defaults, their round trip, and any text at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from studyrun.errors import InvalidStudyError, UsageError
from studyrun.study import Study, load_study, study_from_member
from studyrun.study.sections import FILE_KEYS
from studyrun.study.tree import Faults, Origin, plain
from studyrun.study.yaml_reader import parse
from studyrun.study.yaml_writer import dump

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]
FULL = """\
title: "no"
cites: ["arXiv:2606.04212", "1e3"]
seed: {init: 3, probe: 1_000}
precision: float64
device: cuda:1
chunk_size: 1e3
model: {use: net, hidden: [8, 4], activation: tanh, init: {scheme: uniform, scale: 1e-05}, limit: null}
dataset: {use: toy, classes: [on, off], note: "θ: ∂L ≤ '1'"}
groups: halves
loss: square
optimizer: {use: descent, lr: 1e-3, momentum: .5, nesterov: true}
stop: {steps: 100, time: 3, loss_below: 1e-6, when: {use: above, probe: dense, value: 1e16}}
probes:
  - {use: level, as: dense, every: 1}
  - {use: level, as: sparse, every: {log: 20}}
  - {use: level, as: listed, at: [0, 5, 50], k: 2}
  - level
branches:
  late: {at: above, from: exit, set: {optimizer: drift}}
  exit: {at: {use: above, probe: sparse}, set: {optimizer.lr: 1e-2, stop: {steps: 1e2}}}
sweep: {seed.init: [0, 1], zip: {optimizer.lr: [1e-05, 0.1], model.hidden: [[8], [9, 9]]}}
figures: [panel, {use: panel, as: second, rows: 2}]
claims: [{use: holds, as: it_holds, above: -1.5}]
checkpoints: {seconds: 5, keep: 10}
profiles: {smoke: {stop: {steps: 1}}}
"""


def again(study: Study, folder: Path) -> Study:
    path = folder / "again.yaml"
    path.write_text(study.to_yaml(), encoding="utf-8")
    return load_study(path)


def test_defaults_are_written_out(load: Load) -> None:
    assert load().document == {
        "title": "study",
        "cites": [],
        "seed": 0,
        "precision": "float32",
        "device": "auto",
        "chunk_size": 5000,
        "model": {
            "use": "net",
            "hidden": [4],
            "activation": "relu",
            "init": {"scheme": "normal", "scale": 2.0},
            "limit": 3,
        },
        "dataset": {"use": "toy", "size": 10, "classes": ["yes", "no"], "note": ""},
        "loss": {"use": "square"},
        "optimizer": {"use": "descent", "lr": 0.1, "momentum": 0.0, "nesterov": False},
        "stop": {"steps": 10},
        "probes": [{"use": "level", "k": 1, "every": 2}],
        "checkpoints": {"seconds": 60.0},
    }


def test_a_study_holds_what_its_file_says(load: Load) -> None:
    study = load(text=FULL)
    assert (study.title, study.cites) == ("no", ("arXiv:2606.04212", "1e3"))
    assert (study.precision, study.device, study.chunk_size) == ("float64", "cuda:1", 1000)
    assert (study.seed.init, study.seed.order, study.seed.probe) == (3, 0, 1000)
    assert study.names == {
        "model": "net",
        "dataset": "toy",
        "groups": "halves",
        "loss": "square",
        "optimizer": "descent",
    }
    assert study.stop.when.value == 1e16  # type: ignore[union-attr]
    assert [probe.label for probe in study.probes] == ["dense", "sparse", "listed", "level"]
    assert study.probes[2].schedule.at == (0, 5, 50)
    assert study.figures is not None
    assert [figure.label for figure in study.figures] == ["panel", "second"]
    assert [claim.label for claim in study.claims] == ["it_holds"]
    assert study.checkpoints.keep == 10
    assert len(study.members) == 4
    assert study.source is not None
    assert study.source.name == "study.yaml"
    assert {(one.kind, one.name, one.origin) for one in study.components} >= {("probes", "level", "environment")}


def test_no_figures_and_default_figures_differ(load: Load) -> None:
    assert load().figures is None
    assert load("figures: []\n").figures == ()
    assert load("figures: []\n").document["figures"] == []


def test_the_resolved_study_loads_to_an_equal_one(load: Load, folder: Path) -> None:
    for profile in ([], ["smoke"]):
        study = load(text=FULL, profile=profile)
        assert again(study, folder) == study
        assert again(study, folder).document == study.document
        for member in study.members:
            point = study_from_member(study, member)
            assert again(point, folder) == point


def test_equality_sees_an_option(load: Load, folder: Path) -> None:
    """The round trip's comparison would notice what it should."""
    assert load(text=FULL) != load(text=FULL.replace("scale: 1e-05", "scale: 2e-05"))
    assert load(text=FULL) != load(text=FULL.replace("probe: sparse", "probe: dense"))


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
WORDS |= st.sampled_from(["no", "1e3", "null", "~", "2024-01-01", "1e-05", "", "- a", "#", "θ ∂"])
RATES = st.floats(1e-300, 1e300) | st.integers(1, 10**18)
SWEEPS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
        "optimizer.lr": st.lists(RATES, min_size=1, max_size=2, unique=True),
        "dataset.note": st.lists(WORDS, min_size=1, max_size=2, unique=True),
    },
).filter(bool)
STUDIES = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"use": st.just("net")},
            optional={"hidden": st.lists(st.integers(1, 2**62), max_size=3), "limit": st.none() | st.integers(-9, 9)},
        ),
        "dataset": st.fixed_dictionaries(
            {"use": st.just("toy")}, optional={"note": WORDS, "classes": st.lists(WORDS, max_size=3)}
        ),
        "loss": st.just("square"),
        "optimizer": st.fixed_dictionaries({"use": st.just("descent"), "lr": RATES}),
        "stop": st.fixed_dictionaries({"time": RATES}, optional={"steps": st.integers(0, 2**62)}),
    },
    optional={
        "title": WORDS,
        "cites": st.lists(WORDS, max_size=2),
        "seed": st.integers(0, 2**62) | st.fixed_dictionaries({}, optional={"init": st.integers(0, 9)}),
        "probes": st.lists(st.just("level"), max_size=1),
        "groups": st.sampled_from([None, "halves"]),
        "sweep": SWEEPS,
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STUDIES)
def test_any_resolved_study_loads_to_an_equal_one(load: Load, folder: Path, data: dict[str, Any]) -> None:
    study = load(text=dump(data))
    twin = again(study, folder)
    if "title" not in data:
        assert twin.title == "study"
    assert twin == study
    assert twin.to_yaml() == study.to_yaml()


def check_any(load: Load, text: str) -> None:
    with suppress(InvalidStudyError):  # and nothing else
        load(text=text)


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@example("\ufeffmodel: net")
@example("model: net\r\ndataset: toy\r\n")
@example("\x85: 1")
def test_any_text_is_a_study_or_its_faults(load: Load, text: str) -> None:
    check_any(load, text)


INNER_KEYS = "use as at every log from set zip exit a.b optimizer.lr stop probes.0.k probes.level hidden lr steps when"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["net", "level", "above", "baseline", "a.b", "exit"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER_KEYS.split(" ")), inner, max_size=3)
    ),
    max_leaves=8,
)
SECTION = st.sampled_from([*FILE_KEYS, "x"])


@FUZZ
@given(st.dictionaries(SECTION, VALUES, max_size=5))
@example({"branches": {"exit": {"at": "above", "set": {"stop": 3, "optimizer.use": None, "optimizer.lr.x": 1}}}})
@example({"sweep": {"model": [{"use": "net"}], "probes.level.k": [1]}})
@example({"sweep": {"branches.exit": [None, {"at": "above"}]}})
@example({"sweep": {"probes": [[], ["level"]], "stop.when": [None, "above"]}})
@example({"probes": [["level"], {"use": {"use": "level"}}, None]})
@example({"stop": {"when": None}, "branches": {"a": None}})
@example({"extends": "a" * 5000})
@example({"model": "a" * 5000, "branches": {"a" * 5000: {"at": "above"}}})
def test_any_study_shaped_data_is_a_study_or_its_faults(load: Load, data: dict[str, Any]) -> None:
    base = {"model": "net", "dataset": "toy", "loss": "square", "optimizer": {"use": "descent", "lr": 0.1}}
    check_any(load, dump({**base, "stop": {"steps": 3}, "probes": ["level"], **data}))


@FUZZ
@given(
    st.text(max_size=30) | SECTION.flatmap(lambda key: st.text(max_size=10).map(lambda rest: f"{key}.{rest}={rest}"))
)
@example("probes.0=null")
@example("seed.init.x=1")
@example("branches.exit.set=1")
@example("sweep.zip=1")
@example("model={use: net, use: net}")
def test_any_override_gives_a_study_or_its_faults(load: Load, override: str) -> None:
    with suppress(InvalidStudyError):
        load("", override)


def test_any_bytes_are_a_study_or_its_faults(folder: Path) -> None:
    path = folder / "study.yaml"
    for raw in (b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\xef\xbb\xbfmodel: net\n", bytes(range(256)), b"\x80" * 99):
        path.write_bytes(raw)
        with pytest.raises(InvalidStudyError):
            load_study(path)


def test_a_byte_order_mark_is_no_fault(folder: Path, load: Load) -> None:
    study = load()
    path = folder / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (folder / "study.yaml").read_bytes().replace(b"\n", b"\r\n"))
    assert load_study(path).model == study.model
    path.write_bytes(b"\xef\xbb\xbfmodel: nett\n")
    with pytest.raises(InvalidStudyError, match=r"marked\.yaml:1:8: model: there is no 'nett' among the models"):
        load_study(path)


def test_a_file_that_is_not_there_is_a_matter_of_usage(folder: Path) -> None:
    (folder / "study.yaml").write_text("")
    with pytest.raises(UsageError, match=r"there is no study file .*studdy\.yaml; did you mean .*study\.yaml\?"):
        load_study(folder / "studdy.yaml")


def test_a_folder_is_no_study(folder: Path) -> None:
    with pytest.raises(InvalidStudyError, match="cannot be read: Is a directory"):
        load_study(folder)


def test_a_huge_file_is_refused_unread(folder: Path) -> None:
    (folder / "study.yaml").write_text("#" * 300_000)
    with pytest.raises(InvalidStudyError, match="larger than 200,000 bytes"):
        load_study(folder / "study.yaml")


def test_the_document_is_plain_data(load: Load) -> None:
    document = load(text=FULL).document
    node = parse(dump(document), Origin("f", 1, 1), Faults())
    assert node is not None
    assert plain(node) == document


def test_faults_stand_in_the_order_of_the_file(faults_of: FaultsOf) -> None:
    lines = [int(fault.split(":")[1]) for fault in faults_of(text="seed: x\nloss: y\nmodel: z\nchunk_size: 0\n")]
    assert lines == sorted(lines)
