"""Run folders and sweeps from Python: what a user reaches, and what is said where something is not there."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from oracles.small_trace import record
from oracles.synthetic_run import GROUPS, TITLE, make_run, make_sweep

import studyrun
from studyrun.errors import RunFolderError, TraceError, UsageError
from studyrun.trace import reader
from studyrun.trace.reader import Sweep, open_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "run42"
    make_run(path, unstarted=True)
    return path


@pytest.fixture
def run(folder):
    return open_run(folder)


def test_a_run_knows_its_folder(run, folder):
    assert studyrun.open_run(str(folder)).path == folder
    assert (run.name, run.title, run.overrides) == ("run42", TITLE, {})
    assert run.document["optimizer"] == {"use": "gd", "lr": 0.02}
    assert run.study_text == run.attributes["study"]
    assert run.status["state"] == "complete"
    assert run.provenance["seeds"]["init"] == 0
    assert run.attributes["git_commit"] == "0" * 40


def test_values_are_reached_by_arm_probe_and_channel(run):
    eigenvalue = run["baseline"]["sharpness"]["eigenvalue"]
    assert eigenvalue.values.shape == (61, 2)
    assert eigenvalue.step.tolist() == list(range(0, 601, 10))
    np.testing.assert_allclose(eigenvalue.time, eigenvalue.step * 0.02)
    assert run["baseline"]["sharpness"]["converged"].values.dtype == bool
    assert run["baseline"]["group_data"]["image"].values.dtype == np.float32
    assert run.arms["exit"].probes["loss"].channels["train"].values[0] == run["baseline"]["loss"]["train"].values[150]


def test_arms_come_trunk_first_then_by_fork_and_those_not_started_last(path, writer):
    for name, fork in (("second", 20), ("first", 10), ("third", 20)):
        writer.add_arm(name, {"parent": "baseline", "fork_step": fork, "state": "complete"})
    writer.add_arm("never", {"parent": "baseline", "state": "not started"})
    writer.close()
    assert list(open_run(path.parent)) == ["baseline", "first", "second", "third", "never"]


def test_what_is_not_there_is_named_with_what_is(run):
    with pytest.raises(TraceError, match=r"the run 'run42' has no arm 'out' \(arms: baseline, exit, late\)"):
        run["out"]
    with pytest.raises(TraceError, match=r"the arm 'exit' has no probe 'sharp' \(probes: loss, sharpness, "):
        run["exit"]["sharp"]
    with pytest.raises(TraceError, match=r"the probe 'loss' has no channel 'valid' \(channels: train, test, "):
        run["exit"]["loss"]["valid"]


def test_a_run_is_read_while_it_is_written(path, writer):
    record(writer, range(3))
    writer.flush()
    run = open_run(path.parent)
    record(writer, range(3, 6))
    writer.flush()
    assert len(run["baseline"]["loss"]["train"].values) == 3
    assert len(open_run(path.parent)["baseline"]["loss"]["train"].values) == 6


def test_a_trace_that_was_cut_back_meanwhile_is_no_silent_mismatch(path, writer):
    record(writer, range(6))
    writer.flush()
    loss = open_run(path.parent)["baseline"]["loss"]
    writer.truncate("baseline", 2)
    writer.flush()
    with pytest.raises(TraceError, match="was cut back after it was opened; open the run again"):
        _ = loss["train"].values


def test_rows_that_are_not_in_every_channel_do_not_count(path, writer):
    record(writer, range(4))
    writer.close()
    with h5py.File(path, "r+") as file:
        file["baseline/loss/train"].resize(6, axis=0)
        file["baseline/loss/right"].resize(3, axis=0)
    loss = open_run(path.parent)["baseline"]["loss"]
    assert [len(loss["train"].values), len(loss["right"].values), len(loss.step)] == [3, 3, 3]


def test_a_folder_without_its_small_files_still_opens(path, writer):
    writer.close()
    run = open_run(path.parent)
    assert (run.status, run.provenance) == ({}, {})
    assert (run.study_text, run.document) == ("title: A title\n", {"title": "A title"})


def test_xarray_gives_the_same_numbers(run):
    xarray = pytest.importorskip("xarray")
    tree = run.to_xarray()
    assert isinstance(tree, xarray.DataTree)
    for arm in ("baseline", "exit"):
        for label, probe in run[arm].probes.items():
            for name, channel in probe.channels.items():
                np.testing.assert_array_equal(tree[f"{arm}/{label}/{name}"].values, channel.values)
    assert tree["baseline/loss/by_group"].sel(step=100, group=GROUPS[1]) == run["baseline"]["loss"]["by_group"].select(
        step=100, group=GROUPS[1]
    )


def test_without_xarray_the_extra_is_named(run, monkeypatch):
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs xarray and h5netcdf: pip install 'studyrun\[analysis\]'"):
        run.to_xarray()


def test_what_is_no_run_folder_is_told_apart(tmp_path):
    with pytest.raises(RunFolderError, match="gone does not exist"):
        open_run(tmp_path / "gone")
    with pytest.raises(RunFolderError, match=r"no run folder: it holds neither trace\.h5 nor sweep\.json"):
        open_run(tmp_path)
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"has no trace\.h5: nothing has been recorded in this run yet"):
        open_run(tmp_path)
    with pytest.raises(RunFolderError, match=r"status\.json is a file; give the run folder"):
        open_run(tmp_path / "status.json")


def test_a_damaged_trace_is_named(tmp_path):
    (tmp_path / "trace.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(TraceError, match=r"trace\.h5 cannot be read"):
        open_run(tmp_path)


def test_a_trace_of_a_later_format_is_refused(path, writer):
    writer.close()
    with h5py.File(path, "r+") as file:
        file.attrs["studyrun_format"] = 3
    with pytest.raises(TraceError, match="studyrun_format is 3, made by a newer studyrun; this version reads 1 to 2"):
        open_run(path.parent)


def test_a_sweep_gives_its_members_and_says_why_one_is_missing(tmp_path):
    make_sweep(tmp_path / "sweep", (0, 1, 2), missing=["seed-1"])
    sweep = open_run(tmp_path / "sweep")
    assert isinstance(sweep, Sweep)
    assert (sweep.name, sweep.title, sweep.missing) == ("sweep", TITLE, ("seed-1",))
    assert [(run.name, run.overrides) for run in sweep.members] == [("seed-0", {"seed": 0}), ("seed-2", {"seed": 2})]
    assert "seed-1 does not exist" in sweep.reasons["seed-1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"sweep\.json cannot be read"),
        ("[]", "expected a JSON object, got list"),
        ('{"members": []}', "expected format 1, got none"),
        ('{"format": 2, "members": []}', "has format 2, made by a newer studyrun; this version reads 1"),
        ('{"format": 0, "members": []}', "expected format 1, got 0"),
        ('{"format": 1, "members": [{"name": "a"}]}', "every member needs a name and its overrides"),
        ('{"format": 1}', "every member needs a name and its overrides"),
    ],
)
def test_a_damaged_sweep_file_is_named(tmp_path, content, words):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunFolderError, match=words):
        open_run(tmp_path)


def test_damaged_small_files_are_named_when_they_are_read(path, writer):
    writer.close()
    (path.parent / "status.json").write_text("{")
    (path.parent / "study.yaml").write_text("a: [")
    run = open_run(path.parent)
    with pytest.raises(RunFolderError, match=r"status\.json cannot be read"):
        _ = run.status
    with pytest.raises(RunFolderError, match=r"study\.yaml is no YAML"):
        _ = run.document


def test_reading_imports_neither_torch_nor_xarray(folder):
    code = f"""
import json, sys, studyrun
run = studyrun.open_run({str(folder)!r})
run["baseline"]["loss"]["train"].values, run.document
print(json.dumps([name for name in ("torch", "xarray", "scipy", "matplotlib", "pandas") if name in sys.modules]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
