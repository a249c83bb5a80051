"""Figures and claims that are meant for some conditions of a sweep, or that compare them."""

from __future__ import annotations

import json

import pytest
import yaml
from oracles.synthetic_run import make_sweep

from studyrun.report.build import build_report
from studyrun.trace.reader import open_run

ALL = '''
from studyrun.plugin import ComparingClaim, Verdict

class Counts(ComparingClaim):
    """How many conditions it was shown."""

    def decide_all(self, ensembles):
        return Verdict(True, float(len(ensembles)), None, " and ".join(e.name for e in ensembles), 1)
'''
REACHES = {"use": "reaches", "arm": "baseline"}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Two learning rates and two seeds; claims and figures are written into every member's study."""

    def make(**entries):
        folder = tmp_path / "sweep"
        (tmp_path / "own" / "claims").mkdir(parents=True)
        (tmp_path / "own" / "claims" / "counts.py").write_text(ALL)
        monkeypatch.setenv("STUDYRUN_PLUGINS", str(tmp_path / "own"))
        make_sweep(folder, (0, 1), learning_rates=(0.02, 0.025), steps=340)
        for member in open_run(folder).members:
            path = member.path / "study.yaml"
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | entries))
        return folder

    return make


def claims_of(folder):
    return json.loads((folder / "report" / "claims.json").read_text())["claims"]


def test_a_claim_is_decided_only_where_the_study_has_its_values(sweep):
    folder = sweep(claims=[{**REACHES, "where": {"optimizer.lr": 0.025, "model": "mlp"}}], figures=[])
    build_report(folder)
    assert [claim["condition"] for claim in claims_of(folder)] == ["optimizer.lr=0.025"]


def test_a_claim_about_a_condition_that_was_not_run_is_undecided(sweep):
    folder = sweep(claims=[{**REACHES, "where": {"optimizer.lr": 7}}], figures=[])
    build_report(folder)
    (claim,) = claims_of(folder)
    assert claim["holds"] is None
    assert "no run has optimizer.lr = 7" in claim["sentence"]


def test_a_comparing_claim_sees_all_conditions_once_or_those_it_is_about(sweep):
    about = {"use": "counts", "as": "one", "where": {"optimizer.lr": 0.02}}
    folder = sweep(claims=["counts", about], figures=[])
    build_report(folder)
    both, one = claims_of(folder)
    assert (both["statistic"], both["sentence"]) == (2, "optimizer.lr=0.02 and optimizer.lr=0.025")
    assert (one["statistic"], one["sentence"]) == (1, "optimizer.lr=0.02")


def test_a_comparing_figure_is_drawn_once_above_the_conditions(sweep):
    folder = sweep(claims=[], figures=["selectivity", {"use": "loss", "where": {"optimizer.lr": 0.02}}])
    result = build_report(folder)
    assert sorted(result.figures) == ["across-optimizer.lr", "optimizer.lr=0.02-loss", "selectivity"]
    page = (folder / "report" / "index.html").read_text()
    assert page.index("The conditions compared") < page.index("optimizer.lr=0.02</h2>")


def test_a_comparing_figure_of_a_lone_run_stands_among_the_others(sweep):
    member = open_run(sweep(claims=[], figures=["selectivity"])).members[0].path
    assert build_report(member).figures == ("selectivity",)


def test_a_comparing_figure_with_nothing_to_draw_is_named(sweep):
    folder = sweep(claims=[], figures=[{"use": "selectivity", "arm": "reentry"}])
    (skipped,) = build_report(folder).skipped
    assert "no run has a branch 'reentry'" in skipped.reason
