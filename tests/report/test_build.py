"""The whole way from a run folder to its report."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from oracles.synthetic_run import make_sweep

from studyrun.errors import RunFolderError
from studyrun.report import UnmetClaimError, build_report
from studyrun.trace.layout import set_attributes

FIGURES = ["loss", "delta_loss"]
HOLDS = {"use": "sign", "as": "outliers", "channel": "by_group", "arm": "exit", "sign": "positive"}
HOLDS |= {"select": {"group": "input_outlier"}}
FAILS = {**HOLDS, "as": "inliers", "select": {"group": "inlier"}}
OPEN = {**HOLDS, "as": "nowhere", "channel": "no_such_channel", "select": {}}
EVIL = "<script>alert('x')</script>"


def page_of(folder: Path) -> str:
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_figure_comes_as_png_svg_pdf_and_csv(run_folder):
    folder = run_folder(study={"figures": FIGURES})
    result = build_report(folder)
    assert result.figures == tuple(FIGURES)
    assert result.path == folder / "report" / "index.html"
    names = set(files_of(folder / "report"))
    for label in FIGURES:
        assert {f"figures/{label}.{suffix}" for suffix in ("png", "svg", "pdf")} <= names
        assert f"data/{label}.csv" in names
    for path in (folder / "report" / "figures").iterdir():
        magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[path.suffix]
        assert path.read_bytes().startswith(magic)


def test_the_page_loads_nothing_from_outside_and_links_only_files_that_are_there(run_folder):
    folder = run_folder(study={"figures": FIGURES})
    build_report(folder)
    page = page_of(folder)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert "url(" not in page
    assert "<script" not in page
    assert "<link" not in page
    for target in re.findall(r'href="([^"#][^"]*)"', page):
        assert target.startswith(("https://arxiv.org/", "https://doi.org/")) or (folder / "report" / target).is_file()
    for anchor in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{anchor}"' in page


def test_the_page_says_what_the_run_was(run_folder):
    folder = run_folder(unstarted=True, study={"claims": [HOLDS, FAILS, OPEN], "figures": FIGURES})
    build_report(folder)
    page = page_of(folder)
    for text in (
        "Of 3 claims 1 was seen once, 1 does not hold, 1 cannot be decided.",
        "t*: baseline reaches its own threshold, at effective time 3 (step 150).",
        "The branch late did not start: its trigger never fired",
        "no probe recorded no_such_channel",
        "Where the time went",
        "studyrun run studies/eos_branching.yaml",
        "arXiv:2606.04212",
        "edge_of_stability",
    ):
        assert text in page, text


def test_text_from_a_study_cannot_become_markup(run_folder):
    from studyrun.trace.writer import TraceWriter

    folder = run_folder(study={"cites": [EVIL], "figures": [{"use": EVIL}], "claims": [{"use": EVIL, "as": EVIL}]})
    (folder / "events.jsonl").write_text(json.dumps({"level": "warning", "message": EVIL}) + "\n")
    (folder / "provenance.json").write_text(json.dumps({EVIL: EVIL, "command": [EVIL]}))
    (folder / "status.json").write_text(json.dumps({"state": EVIL, "error": EVIL}))
    (folder / "trace.h5").unlink()
    with TraceWriter.create(folder / "trace.h5", title=EVIL, study="", git_commit="") as writer:
        writer.add_arm("baseline", {"parent": "", "state": EVIL, "end_reason": EVIL, "trigger": EVIL})
    build_report(folder)
    page = page_of(folder)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_group_names_that_look_like_formulas_are_drawn_as_they_stand(run_folder):
    folder = run_folder(groups=("$x^2$", "_hidden", "a<b>&c"), study={"figures": [*FIGURES, "alignment"]})
    result = build_report(folder)
    assert result.broken == ()
    assert {row["series"] for row in rows_of(folder, "delta_loss")} >= {"$x^2$", "_hidden", "a<b>&c"}


def rows_of(folder: Path, label: str) -> list[dict[str, str]]:
    with (folder / "report" / "data" / f"{label}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_made_again_has_the_same_bytes(run_folder, monkeypatch):
    folder = run_folder(study={"figures": [*FIGURES, "group_images"], "claims": [HOLDS]})
    build_report(folder)
    first = files_of(folder / "report")
    code = f"from pathlib import Path; from studyrun.report import build_report; build_report(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    again = files_of(folder / "report")
    assert set(first) == set(again)
    assert not [name for name in first if first[name] != again[name]]


def test_neither_the_report_nor_its_figures_and_claims_import_torch(run_folder):
    claims = [
        {"use": "reaches"},
        HOLDS,
        {"use": "ordering", "channel": "cos2", "greater": "inlier", "than": "boundary"},
    ]
    folder = run_folder(study={"figures": [*FIGURES, "alignment", "group_images"], "claims": claims})
    code = (
        "import sys; from pathlib import Path; from studyrun.report import build_report;"
        f"result = build_report(Path({str(folder)!r})); assert len(result.figures) == 4, result;"
        "assert all(verdict.holds is not None for _, verdict in result.claims), result;"
        "print([name for name in ('torch', 'scipy', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_claims_json_holds_every_verdict(run_folder):
    folder = run_folder(study={"claims": [HOLDS, FAILS, OPEN], "figures": []})
    result = build_report(folder)
    written = json.loads((folder / "report" / "claims.json").read_text(encoding="utf-8"))
    assert written["format"] == 1
    assert [(one["label"], one["holds"]) for one in written["claims"]] == [
        ("outliers", True),
        ("inliers", False),
        ("nowhere", None),
    ]
    assert [verdict.statistic for _, verdict in result.claims] == [one["statistic"] for one in written["claims"]]


def test_strict_raises_after_writing_where_a_claim_does_not_hold(run_folder):
    folder = run_folder(study={"claims": [HOLDS, FAILS, OPEN], "figures": []})
    with pytest.raises(UnmetClaimError, match=r"claim inliers: .*(?s:.)*claim nowhere: cannot be decided") as caught:
        build_report(folder, strict=True)
    assert "outliers" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert "Of 3 claims" in page_of(folder)


def test_strict_is_silent_where_every_claim_holds(run_folder):
    folder = run_folder(study={"claims": [HOLDS], "figures": []})
    assert build_report(folder, strict=True).claims[0][1].holds is True


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "This run is still going on, at step 200: this page shows what it had recorded by then."),
        ("interrupted", "This run was interrupted, at step 200: this page shows what it had recorded by then."),
    ],
)
def test_a_run_that_is_not_over_is_reported_as_far_as_it_got(run_folder, state, words):
    folder = run_folder(state=state, study={"figures": ["loss"], "claims": [HOLDS]})
    result = build_report(folder)
    assert result.figures == ("loss",)
    assert words in page_of(folder)
    ((_, verdict),) = result.claims
    assert verdict.holds is None
    assert "the run is not over; so far, it was seen once: " in verdict.sentence


def test_a_sweep_is_reported_by_condition_with_its_members(tmp_path):
    folder = tmp_path / "sweep"
    make_sweep(folder, (0, 1), learning_rates=(0.02, 0.03), missing=("lr-0.03_seed-1",), steps=200)
    for study in folder.glob("*/study.yaml"):
        study.write_text(study.read_text() + yaml.safe_dump({"figures": ["loss"], "claims": [HOLDS]}))
    result = build_report(folder)
    conditions = ("optimizer.lr=0.02", "optimizer.lr=0.03")
    assert set(result.figures) == {*(f"{name}-loss" for name in conditions), "across-optimizer.lr"}
    assert [(label, verdict.runs) for label, verdict in result.claims] == [
        (f"{conditions[0]}: outliers", 2),
        (f"{conditions[1]}: outliers", 1),
    ]
    page = page_of(folder)
    assert "Members without a trace: lr-0.03_seed-1." in page
    assert page.count("lr-0.02_seed-1") == 1
    assert {row["runs"] for row in rows_of(folder, "optimizer.lr=0.02-loss")} == {"2"}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        build_report(tmp_path)


def test_a_report_that_cannot_be_written_leaves_the_old_one(run_folder, monkeypatch):
    folder = run_folder(study={"figures": []})
    build_report(folder)
    before = files_of(folder / "report")
    monkeypatch.setattr(
        "studyrun.report.build.render", lambda page: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(RunFolderError, match="No space left"):
        build_report(folder)
    assert files_of(folder / "report") == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".report")] == []


def test_an_arm_that_diverged_is_drawn_as_far_as_numbers_go(run_folder):
    folder = run_folder(study={"figures": ["sharpness", "group_loss", "delta_loss"]})
    with h5py.File(folder / "trace.h5", "r+") as trace:
        trace["exit/loss/by_group"][-20:] = np.inf
        trace["exit/loss/by_group"][-10:] = np.nan
        trace["exit/sharpness/eigenvalue"][-2:] = np.nan
        set_attributes(trace["exit"], {"state": "diverged"})
    with np.errstate(all="raise"):
        result = build_report(folder)
    assert result.broken == ()
    assert len(result.figures) == 3
    assert '<span class="state bad">diverged</span>' in page_of(folder)
