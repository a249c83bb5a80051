"""`where`: for which conditions of a sweep a figure or a claim is meant."""

from __future__ import annotations

import pytest
import yaml

from studyrun.errors import InvalidStudyError
from studyrun.study.load import load_study

STUDY = """title: t
model: {use: mlp, hidden: [4]}
dataset: {use: dice, classes: [two, six], size: 40, test_size: 10}
loss: squared_error
optimizer: {use: gd, lr: 0.01}
stop: {steps: 2}
probes: [loss]
"""


@pytest.fixture
def load(tmp_path):
    def one(text, **options):
        path = tmp_path / "study.yaml"
        path.write_text(STUDY + text)
        return load_study(path, **options)

    return one


def test_is_kept_in_the_resolved_study_and_loads_again(load, tmp_path):
    study = load(
        "claims: [{use: reaches, where: {optimizer.lr: 1e-2, model: mlp}}]\nfigures: [{use: loss, where: {a: x}}]"
    )
    again = tmp_path / "again.yaml"
    again.write_text(study.to_yaml())
    written = yaml.safe_load(study.to_yaml())
    assert written["claims"][0]["where"] == {"optimizer.lr": 0.01, "model": "mlp"}
    assert load_study(again).document == study.document
    assert written["figures"][0]["where"] == {"a": "x"}


def test_is_left_out_where_nothing_was_asked(load):
    assert "where" not in load("claims: [reaches]").document["claims"][0]
    assert "where" not in load("claims: [{use: reaches, where: null}]").document["claims"][0]


def test_a_dotted_path_can_be_set_from_the_command_line(load):
    study = load("claims: [reaches]", overrides=["claims.reaches.where.optimizer.lr=0.5"])
    assert study.document["claims"][0]["where"] == {"optimizer.lr": 0.5}


@pytest.mark.parametrize("wrong", ["7", "[a]", "{a: {b: 1}}", "{a: [1]}", "{a..b: 1}"])
def test_what_it_cannot_be_is_said_with_its_line(load, wrong):
    with pytest.raises(InvalidStudyError, match=r"study\.yaml:8:\d+: claims\.0\.where: .*dotted paths"):
        load(f"claims: [{{use: reaches, where: {wrong}}}]")


def test_a_probe_has_no_such_key(load):
    with pytest.raises(InvalidStudyError, match="where"):
        load("", overrides=["probes.loss.where.a=1"])
