"""Runs of every format that was ever written still open, report and resume, or say exactly why not.

The archives were made by the versions of their time (`freeze.py`); the numbers beside them were written down then.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from frozen.freeze import values_of

from studyrun import check_run
from studyrun.engine import checkpoint
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.launch.start import resume
from studyrun.report import build_report
from studyrun.trace import layout, manifest
from studyrun.trace.folder import SWEEP_FORMAT
from studyrun.trace.reader import Sweep, open_run

HERE = Path(__file__).parent
RUNS = sorted(path.name.removesuffix(".tar.xz") for path in HERE.glob("trace*.tar.xz"))
RESUMABLE = [name for name in RUNS if name != "trace1_checkpoint1"]
DUE = "a new format needs a frozen run of its own: python tests/frozen/freeze.py, and then add what it writes"


@pytest.fixture
def thaw(tmp_path):
    """Unpack an archive, and give its folder and the values that were written down when it was frozen."""

    def unpack(name):
        with tarfile.open(HERE / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / name, json.loads((HERE / f"{name}.json").read_text())

    return unpack


def assert_equal(found, expected, rtol):
    """Read back, numbers are what they were to the bit; computed anew, another machine may round otherwise."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=rtol, atol=rtol * 1e-3, err_msg=name)


def test_every_format_has_a_frozen_run():
    parts = {part for name in RUNS for part in name.split("_")}
    for kind, newest in (("trace", layout.FORMAT), ("checkpoint", checkpoint.FORMAT)):
        assert {part for part in parts if part.startswith(kind)} == {f"{kind}{n}" for n in range(1, newest + 1)}, DUE
    assert sorted(path.name for path in HERE.glob("sweep*.tar.xz")) == [
        f"sweep{n}.tar.xz" for n in range(1, SWEEP_FORMAT + 1)
    ], DUE
    assert manifest.FORMAT == 1, DUE


def test_a_frozen_run_is_small_and_names_no_machine():
    for path in HERE.glob("*.tar.xz"):
        assert path.stat().st_size < 200_000
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                assert (member.uname, member.uid, member.mtime) == ("", 0, 0)
                content = archive.extractfile(member).read() if member.isfile() else b""
                assert not re.search(rb"/(tmp|home|work|root)/", content), member.name
            names = [member.name for member in archive.getmembers() if member.name.endswith("status.json")]
            hosts = {json.load(archive.extractfile(name)).get("host") for name in names}
            assert hosts == {"elsewhere"}


@pytest.mark.parametrize("name", RUNS)
def test_it_opens_with_the_numbers_of_its_time(thaw, name):
    folder, expected = thaw(name)
    assert_equal(values_of(folder), expected["stopped"], rtol=0)
    run = open_run(folder)
    assert (run.title, run["baseline"].state) == ("A frozen run", "interrupted")
    assert run["baseline"]["loss"]["by_group"].labels == {"group": ("three", "six")}
    assert run.study_text == run.attributes["study"]


@pytest.mark.parametrize("name", RUNS)
def test_it_reports(thaw, name):
    result = build_report(thaw(name)[0])
    assert (result.figures, result.broken) == (("loss",), ())
    assert "A frozen run" in result.path.read_text()


@pytest.mark.parametrize("name", RESUMABLE)
def test_it_resumes_to_where_it_would_have_ended(thaw, name):
    folder, expected = thaw(name)
    before = int(name.removeprefix("trace")[0])
    assert resume(folder).arms == {"baseline": "complete", "slower": "complete"}
    assert_equal(values_of(folder), expected["whole"], rtol=1e-6)
    assert open_run(folder).attributes["studyrun_format"] == before
    assert check_run(folder).faults == ()


def test_checkpoints_of_the_first_format_are_refused_with_what_to_do(thaw):
    folder, expected = thaw("trace1_checkpoint1")
    with pytest.raises(StudyrunError) as caught:
        resume(folder)
    message = str(caught.value)
    assert f"{folder} cannot be resumed" in message
    assert f"latest.pt has checkpoint format 1; this version reads 2 to {checkpoint.FORMAT}" in message
    assert f"`studyrun run {folder}/study.yaml` carries out the study again" in message
    assert_equal(values_of(folder), expected["stopped"], rtol=0)


def test_a_frozen_sweep_opens_and_reports(thaw):
    folder, expected = thaw("sweep1")
    sweep = open_run(folder)
    assert isinstance(sweep, Sweep)
    assert [member.overrides for member in sweep.members] == [{"seed": 1}, {"seed": 2}]
    for member in sweep.members:
        assert_equal(values_of(member.path), expected[member.name], rtol=0)
    assert build_report(folder).broken == ()
    assert resume(folder).state == "complete"


def test_a_checkpoint_of_a_newer_format_is_refused(thaw):
    folder, _ = thaw(RUNS[-1])
    number = checkpoint.FORMAT + 1
    for path in (folder / "checkpoints").glob("*.pt"):
        words = path.read_bytes().split(b" ")
        path.write_bytes(b" ".join([*words[:2], b"%d" % number, *words[3:]]))
    with pytest.raises(StudyrunError, match=f"has checkpoint format {number}, made by a newer studyrun"):
        resume(folder)


def test_a_trace_of_a_newer_format_is_refused(thaw):
    folder, _ = thaw(RUNS[-1])
    with h5py.File(folder / "trace.h5", "r+") as file:
        file.attrs["studyrun_format"] = np.int64(layout.FORMAT + 1)
    words = f"studyrun_format is {layout.FORMAT + 1}, made by a newer studyrun"
    with pytest.raises(StudyrunError, match=words):
        open_run(folder)
    with pytest.raises(StudyrunError, match=words):
        resume(folder)


def test_a_sweep_of_a_newer_format_is_refused(thaw):
    folder, _ = thaw("sweep1")
    content = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(content | {"format": SWEEP_FORMAT + 1}))
    for act in (open_run, resume):
        with pytest.raises(RunFolderError, match=f"has format {SWEEP_FORMAT + 1}, made by a newer studyrun"):
            act(folder)
