"""All code that a run imports from its project is on record, and a run goes on with none that has changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from studyrun import check_run, open_run
from studyrun.engine.events import Silent
from studyrun.errors import InvalidStudyError, RunFolderError, StudyrunError
from studyrun.launch.start import launch, resume
from studyrun.study import load_study

FILES = {
    "plugins/probes/own.py": '''\
"""A probe of several files."""

import numpy
import yaml
from blocks import scale
from studyrun.plugin import Channel, Probe


class Own(Probe):
    """A number."""

    figures = ("own_picture",)

    def channels(self, context):
        import early
        return [Channel("number", "a number")]

    def measure(self, snapshot, carry):
        if snapshot.step > 3:
            from mylib.late import shift
            return {"number": scale + shift}, carry
        return {"number": scale}, carry
''',
    "plugins/probes/blocks.py": "from mylib.core import unit\nscale = 2 * unit\n",
    "plugins/probes/early.py": "",
    "plugins/probes/never.py": "raise RuntimeError('nobody imports this')\n",
    "plugins/figures/own_picture.py": '''\
"""A figure of several files."""

from mylib.style import word
from studyrun.plugin import Figure


class OwnPicture(Figure):
    """A word."""

    def draw(self, ensemble, canvas):
        return word
''',
    "mylib/__init__.py": "",
    "mylib/core.py": "unit = 1.0\n",
    "mylib/late.py": "from . import later\nshift = later.shift\n",
    "mylib/later.py": "shift = 0.5\n",
    "mylib/style.py": "word = 'a word'\n",
    "mylib/data.csv": "1\n",
}
IMPORTED = {
    *("probes/own.py", "probes/blocks.py", "probes/early.py", "figures/own_picture.py"),
    *("_project/mylib/__init__.py", "_project/mylib/core.py", "_project/mylib/style.py"),
}
LATE = {"_project/mylib/late.py", "_project/mylib/later.py"}
EXTRA = "  - own\nfigures: [own_picture]\n"


@pytest.fixture
def project(write, tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return write(EXTRA)


def provenance(folder: Path) -> dict:
    return json.loads((folder / "provenance.json").read_text())


def test_every_imported_file_is_copied_and_hashed_and_nothing_else(project: Path, tmp_path: Path) -> None:
    folder = launch(load_study(project)).folder
    kept = {path.relative_to(folder / "plugins").as_posix() for path in (folder / "plugins").rglob("*.*")}
    assert kept == IMPORTED | LATE
    facts = provenance(folder)
    assert facts["sources"] == {
        place: sha256((folder / "plugins" / place).read_bytes()).hexdigest() for place in IMPORTED | LATE
    }
    assert set(facts["drawn_sources"]) == {"figures/own_picture.py", "_project/mylib/style.py"}
    assert set(facts["plugin_packages"]) == {"numpy", "PyYAML"}
    own = folder / "plugins/_project/mylib/later.py"
    assert own.read_text() == FILES["mylib/later.py"]
    assert check_run(folder).faults == ()


class StopAt(Silent):
    """Somebody who presses Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def stopped(project: Path, step: int) -> Path:
    outcome = launch(load_study(project), progress=StopAt(step))
    assert outcome.state == "interrupted"
    return outcome.folder


@pytest.mark.parametrize("step", [2, 5])
@pytest.mark.parametrize("name", ["plugins/probes/blocks.py", "plugins/probes/early.py", "mylib/core.py"])
def test_a_run_goes_on_with_no_other_code(project: Path, tmp_path: Path, name: str, step: int) -> None:
    folder, changed = stopped(project, step), tmp_path / name
    kept = folder.resolve() / "plugins" / name.replace("mylib", "_project/mylib").removeprefix("plugins/")
    changed.write_text(FILES[name].replace("1.0", "1.5").replace("2 *", "3 *") + "# changed\n")
    with pytest.raises(RunFolderError) as caught:
        resume(folder)
    assert str(caught.value) == (
        f"{folder} cannot be resumed: {changed} is not what the run was made with, which {kept} holds: put that back "
        f"to go on as before, or write what it is now over {kept} to go on with that"
    )
    changed.unlink()
    with pytest.raises(RunFolderError, match=rf"{changed} is gone, with which the run was made and which {kept} holds"):
        resume(folder)
    shutil.copy(kept, changed)
    assert resume(folder).state == "complete"
    assert provenance(folder)["sources"].keys() == IMPORTED | LATE
    assert check_run(folder).faults == ()


def test_what_was_imported_within_a_call_is_held_to_it_as_well(project: Path, tmp_path: Path) -> None:
    folder = stopped(project, 5)
    (tmp_path / "mylib/later.py").write_text("shift = 0.25\n")
    with pytest.raises(RunFolderError, match=r"mylib/later\.py is not what the run was made with"):
        resume(folder)


def test_what_had_not_been_imported_yet_may_change_and_is_put_on_record(project: Path, tmp_path: Path) -> None:
    folder = stopped(project, 2)
    (tmp_path / "mylib/later.py").write_text("shift = 0.25\n")
    resume(folder)
    assert (folder / "plugins/_project/mylib/later.py").read_text() == "shift = 0.25\n"
    assert open_run(folder)["baseline"]["own"]["number"].values.tolist()[-2:] == [2.25, 2.25]


def test_what_is_drawn_may_be_made_better(project: Path, tmp_path: Path) -> None:
    folder = stopped(project, 2)
    (tmp_path / "mylib/style.py").write_text("word = 'a better word'\n")
    assert resume(folder).state == "complete"
    assert (folder / "plugins/_project/mylib/style.py").read_text() == FILES["mylib/style.py"]


def test_what_changes_while_a_run_goes_on_is_not_what_it_is_made_with(project: Path, tmp_path: Path) -> None:
    """The record holds the bytes that were imported, not those that lie there when it is written."""
    study = load_study(project)
    (tmp_path / "plugins/probes/blocks.py").write_text("scale = 9.0\n")
    folder = launch(study).folder
    assert (folder / "plugins/probes/blocks.py").read_text() == FILES["plugins/probes/blocks.py"]
    assert open_run(folder)["baseline"]["own"]["number"].values[0] == 2


def test_the_record_runs_by_itself_for_whoever_trusts_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launch(load_study(project)).folder
    for name in ("plugins", "mylib"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(InvalidStudyError, match="the run folder holds the source that it was run with"):
        load_study(folder / "study.yaml")
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(folder / "plugins"))
    again = launch(load_study(folder / "study.yaml")).folder
    assert provenance(again)["sources"] == provenance(folder)["sources"]


def test_namesakes_of_two_folders_are_kept_apart(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "elsewhere" / "shared" / "probes"
    shared.mkdir(parents=True)
    text = FILES["plugins/probes/own.py"].replace("class Own", "class Theirs").replace("own_picture", "missing")
    (shared / "theirs.py").write_text(
        text.replace("from mylib.late import shift", "shift = 0").replace("import early", "")
    )
    (shared / "blocks.py").write_text("scale = 7.0\n")
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(shared.parent))
    project.write_text(project.read_text().replace("  - own\n", "  - own\n  - theirs\n"))
    folder = stopped(project, 2)
    kept = {path.parent.parent.name: path.read_text() for path in (folder / "plugins").rglob("blocks.py")}
    assert kept.keys() == {"_1", "_2"}
    assert set(kept.values()) == {FILES["plugins/probes/blocks.py"], "scale = 7.0\n"}
    (shared / "blocks.py").write_text("scale = 8.0\n")
    with pytest.raises(StudyrunError, match=r"blocks\.py is not what the run was made with"):
        resume(folder)
    (shared / "blocks.py").write_text("scale = 7.0\n")
    assert resume(folder).state == "complete"
    numbers = open_run(folder)["baseline"]
    assert (numbers["own"]["number"].values[0], numbers["theirs"]["number"].values[0]) == (2, 7)


def test_a_run_of_before_helpers_were_recorded_goes_on(project: Path, tmp_path: Path) -> None:
    folder = stopped(project, 2)
    facts = provenance(folder)
    for key in ("sources", "drawn_sources", "plugin_packages"):
        del facts[key]
    (folder / "provenance.json").write_text(json.dumps(facts))
    for place in IMPORTED - {"probes/own.py", "figures/own_picture.py"}:
        (folder / "plugins" / place).unlink()
    assert resume(folder).state == "complete"
    assert provenance(folder)["sources"].keys() == IMPORTED | LATE


def test_another_version_of_a_package_behind_a_plugin_is_said(project: Path) -> None:
    folder = stopped(project, 2)
    facts = provenance(folder)
    facts["plugin_packages"] |= {"PyYAML": "0.1", "no-such-package": "1.0"}
    (folder / "provenance.json").write_text(json.dumps(facts))
    resume(folder)
    events = (folder / "events.jsonl").read_text()
    assert "the run began with PyYAML 0.1 and goes on with" in events
    assert "the run began with no-such-package 1.0 and goes on with none" in events


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_member_of_a_sweep_is_made_of_the_same_code(project: Path, tmp_path: Path, workers: int) -> None:
    """Where the first member's last steps change what they alone import, those after it fail by that."""
    project.write_text(project.read_text() + "sweep: {seed: [0, 1, 2]}\n")
    done = launch(load_study(project), workers=workers)
    assert [one.state for one in done.members] == ["complete"] * 3
    for one in done.members:
        assert provenance(done.folder / one.name)["sources"].keys() == IMPORTED | LATE
    kept = {path.relative_to(done.folder / "plugins").as_posix() for path in (done.folder / "plugins").rglob("*.py")}
    assert kept == IMPORTED | LATE
    if workers > 1:
        return
    late = f"import pathlib\npathlib.Path({str(tmp_path / 'mylib/later.py')!r}).write_text('shift = 9')\n"
    (tmp_path / "mylib/late.py").write_text(FILES["mylib/late.py"] + late)
    changed = launch(load_study(project))
    assert [one.state for one in changed.members] == ["complete", "failed", "failed"]
    assert "mylib/later.py is not what the run was made with" in changed.members[1].error


PACKAGED = """\
from {package}.words import words
from studyrun.plugin import Channel, Probe


class Packaged(Probe):
    \"""A number.\"""

    def channels(self, context):
        return [Channel("number", words)]

    def measure(self, snapshot, carry):
        return {{"number": 1.0}}, carry
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Install a package with a probe into a folder, as `pip install` or, elsewhere than that puts it, `-e` would."""
    names = []

    def install(name: str, folder: str) -> Path:
        site = tmp_path / folder
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
        (site / name / "words.py").write_text("words = 'a number'\n")
        (site / name / "packaged.py").write_text(PACKAGED.format(package=name))
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[studyrun.probes]\npackaged = {name}.packaged:Packaged\n")
        monkeypatch.syspath_prepend(str(site))
        names.append(name)
        return site / name

    yield install
    for module in [module for module in sys.modules if module.partition(".")[0] in names]:
        del sys.modules[module]


def test_a_package_that_is_installed_in_place_is_held_to_its_files(write, package) -> None:
    place = package("in_place", "elsewhere/src")
    found = stopped(write("  - packaged\n"), 2)
    kept = {"probes/packaged.py", "_project/in_place/__init__.py", "_project/in_place/words.py"}
    assert provenance(found)["sources"].keys() == kept
    assert provenance(found)["plugin_packages"] == {"in_place": "1.0"}
    (place / "words.py").write_text("words = 'another'\n")
    with pytest.raises(RunFolderError, match=rf"{place}/words\.py is not what the run was made with"):
        resume(found)
    (place / "words.py").write_text("words = 'a number'\n")
    assert resume(found).state == "complete"


def test_what_is_installed_below_the_project_is_known_by_its_version(write, package, project: Path) -> None:
    """An environment within the project, of however many files, is not the project's own code."""
    package("installed", ".venv/lib/python3/site-packages")
    path = project.parent / "plugins/probes/own.py"
    path.write_text(path.read_text().replace("import yaml", "import yaml, installed.words"))
    found = launch(load_study(write("  - own\n  - packaged\nfigures: [own_picture]\n"))).folder
    assert provenance(found)["sources"].keys() == IMPORTED | LATE | {"probes/packaged.py"}
    assert provenance(found)["plugin_packages"].keys() == {"numpy", "PyYAML", "installed"}


def test_a_loose_file_on_the_path_is_code_as_well(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to no installed package, so that no version would tell that it has changed."""
    loose = tmp_path_factory.mktemp("anywhere") / "some_loose_file.py"
    loose.write_text("")
    monkeypatch.syspath_prepend(str(loose.parent))
    path = project.parent / "plugins/probes/own.py"
    path.write_text(path.read_text().replace("import yaml", "import yaml, some_loose_file"))
    found = stopped(project, 2)
    del sys.modules["some_loose_file"]
    assert "_project/some_loose_file.py" in provenance(found)["sources"]
    loose.write_text("# changed\n")
    with pytest.raises(RunFolderError, match=r"some_loose_file\.py is not what the run was made with"):
        resume(found)
