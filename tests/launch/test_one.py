"""One run: what refuses does so before any folder is made, and a folder runs again by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import assert_same_channels

from studyrun import open_run
from studyrun.errors import DataUnavailableError, InvalidStudyError, ProbeError, RunFailedError, RunFolderError
from studyrun.launch.start import launch
from studyrun.study import load_study

OWN_PROBE = '''\
"""A probe of the project."""

from studyrun.plugin import Channel, Probe


class Own(Probe):
    """Records the step, and fails where it is told to."""

    fails_at: int = -1
    figures = ("own_picture",)

    def channels(self, context):
        return [Channel("number", "number of the step")]

    def measure(self, snapshot, carry):
        if snapshot.step == self.fails_at:
            raise ValueError("as it was told")
        return {"number": float(snapshot.step)}, carry
'''
OWN_FIGURE = '''\
"""A figure of the project."""

from studyrun.plugin import Figure


class OwnPicture(Figure):
    """Draws the number of the step."""

    def draw(self, ensemble, canvas):
        canvas.draw_channel(ensemble, ensemble.locate("own", "number"), "number")
        return "Steps."
'''


@pytest.fixture
def project(write, tmp_path: Path) -> Path:
    """A project with a probe and a figure of its own, and a study that uses the probe."""
    for kind, name, text in (("probes", "own", OWN_PROBE), ("figures", "own_picture", OWN_FIGURE)):
        (tmp_path / "plugins" / kind).mkdir(parents=True)
        (tmp_path / "plugins" / kind / f"{name}.py").write_text(text)
    return write("  - own\nbranches: {exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.01}}}\n")


def test_a_run_says_where_it_lies_and_how_each_arm_ended(project: Path) -> None:
    outcome = launch(load_study(project), command=["studyrun", "run", "study.yaml"])
    assert outcome.folder == Path("outputs/run1")
    assert (outcome.state, dict(outcome.arms)) == ("complete", {"baseline": "complete", "exit": "complete"})
    assert outcome.members == ()
    assert open_run(outcome.folder).provenance["command"] == ["studyrun", "run", "study.yaml"]


def test_sources_of_the_projects_own_components_are_kept_with_their_hashes(project: Path) -> None:
    folder = launch(load_study(project)).folder
    kept = sorted(str(path.relative_to(folder)) for path in (folder / "plugins").rglob("*.py"))
    assert kept == ["plugins/figures/own_picture.py", "plugins/probes/own.py"]
    assert (folder / "plugins/probes/own.py").read_text() == OWN_PROBE
    expected = {"origin": "project", "sha256": sha256(OWN_PROBE.encode()).hexdigest()}
    assert json.loads((folder / "provenance.json").read_text())["plugins"] == {"probes/own": expected}


def test_a_copied_folder_runs_again_where_nothing_else_is_once_its_sources_are_trusted(
    project: Path, tmp_path: Path, tmp_path_factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launch(load_study(project)).folder
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(tmp_path / "plugins")
    with pytest.raises(InvalidStudyError, match="nothing is imported from there"):
        load_study(copy / "study.yaml")
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(copy / "plugins"))
    again = launch(load_study(copy / "study.yaml"), out=copy.parent / "again").folder
    for name, arm in open_run(folder).arms.items():
        assert_same_channels(arm, open_run(again)[name])
    assert (again / "plugins/probes/own.py").is_file()


def test_built_in_components_are_not_copied(write) -> None:
    assert not (launch(load_study(write())).folder / "plugins").exists()


def test_missing_data_are_said_before_any_folder_is_made(write) -> None:
    study = load_study(write(), overrides=["dataset={use: cifar10, size: 10}", "model.hidden=[2]"])
    with pytest.raises(DataUnavailableError, match=r"studyrun data fetch cifar10"):
        launch(study)
    assert not Path("outputs").exists()


def test_a_probe_that_does_not_fit_is_said_before_any_folder_is_made(write) -> None:
    with pytest.raises(ProbeError, match=r"probe 'group_data': .*`groups:`"):
        launch(load_study(write("  - group_data\n")))
    assert not Path("outputs").exists()


def test_a_place_that_cannot_be_written_is_said_before_data_are_loaded(write, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("outputs").touch()
    monkeypatch.setattr("studyrun.launch.one.prepare", lambda *_: pytest.fail("the data were loaded first"))
    with pytest.raises(RunFolderError, match=r"no run folder can be made in outputs"):
        launch(load_study(write()))


def test_a_failing_run_names_its_folder_and_leaves_what_was_recorded(project: Path) -> None:
    with pytest.raises(RunFailedError, match=r"outputs/run1: probe 'own' .* step 4: ValueError: as it was told"):
        launch(load_study(project, overrides=["probes.own.fails_at=4"]))
    run = open_run("outputs/run1")
    assert run.status["state"] == run["baseline"].state == "failed"
    assert "as it was told" in run["baseline"].end_reason
    assert run["baseline"]["own"]["number"].values.tolist() == [0, 1, 2, 3]


def test_an_error_that_nobody_foresaw_says_what_and_where(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("studyrun.launch.one.execute", broken)
    with pytest.raises(RunFailedError, match=r"outputs/run1: ZeroDivisionError: by nothing \(.*test_one.py:\d+\)"):
        launch(load_study(project))


def test_divergence_is_a_result(write) -> None:
    outcome = launch(load_study(write(), overrides=["optimizer.lr=1e6", "stop.steps=200", "precision=float32"]))
    assert (outcome.state, dict(outcome.arms)) == ("diverged", {"baseline": "diverged"})


PACKAGED_PROBE = '''\
"""A probe of an installed package."""

from studyrun.plugin import Channel, Probe

from .words import WORDS


class Packaged(Probe):
    """Records the step."""

    def channels(self, context):
        return [Channel("number", WORDS)]

    def measure(self, snapshot, carry):
        return {"number": float(snapshot.step)}, carry
'''


def test_a_packages_component_is_kept_and_still_imported_from_its_package(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for name, text in {
        "some_package/__init__.py": "",
        "some_package/words.py": "WORDS = 'number of the step'\n",
        "some_package/packaged.py": PACKAGED_PROBE,
        "some_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n",
        "some_package-1.0.dist-info/entry_points.txt": "[studyrun.probes]\npackaged = some_package.packaged:Packaged\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(site)
    folder = launch(load_study(write("  - packaged\n"))).folder
    assert (folder / "plugins/probes/packaged.py").read_text() == PACKAGED_PROBE
    again = launch(load_study(folder / "study.yaml")).folder
    assert_same_channels(open_run(folder)["baseline"], open_run(again)["baseline"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_at_once_beside_the_run_itself_it_says_how_the_folder_stands(
    write, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As while the lock is let go of: the folder is there, and what it holds is neither lost nor denied."""
    from studyrun.launch import one

    carry_out = one.run_prepared

    def interrupted(*arguments):
        if when == "after":
            carry_out(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "run_prepared", interrupted)
    outcome = launch(load_study(write()))
    assert (outcome.folder.name, outcome.state) == ("run1", "complete" if when == "after" else "interrupted")


def test_requests_that_go_on_while_a_run_ends_change_nothing_of_what_it_says(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler may send several, and somebody may keep on pressing Ctrl-C, while locks are let go of."""
    from studyrun.launch import one

    carry_out, look = one.run_prepared, one.state_of

    def interrupted(*arguments):
        carry_out(*arguments)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)

    def look_again(folder):
        os.kill(os.getpid(), signal.SIGTERM)
        return look(folder)

    monkeypatch.setattr(one, "run_prepared", interrupted)
    monkeypatch.setattr(one, "state_of", look_again)
    assert launch(load_study(write())).state == "complete"
