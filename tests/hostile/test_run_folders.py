"""Run folders that somebody else made: nothing in them leads out of them, is run, or takes more than it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.synthetic_run import make_run, make_sweep

from studyrun.cli import call
from studyrun.engine import checkpoint
from studyrun.errors import InvalidStudyError, RunFolderError, StudyrunError
from studyrun.launch.start import resume
from studyrun.report import build_report
from studyrun.study.sweep import expand
from studyrun.study.tree import Block, Faults, Origin, planted
from studyrun.trace.contained import check_contained
from studyrun.trace.folder import parse_study, read_json
from studyrun.trace.reader import open_run

Snapshot = dict[str, bytes | None]
SMALL: dict[str, Any] = {"branches": False, "groups": (), "steps": 20}


def snapshot(folder: Path) -> Snapshot:
    """Everything in a folder, by name, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the runs, in which nothing may change."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    for name in ("file", "inner/file", "trace.h5", "index.html"):
        (folder / name).write_text('{"state": "running", "secret": "the user\'s own"}')
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run without a figure, which would take the longest."""
    folder = tmp_path / "runs" / "run1"
    make_run(folder, **SMALL)
    rewrite(folder, figures=[])
    (folder / "checkpoints").mkdir()
    return folder


def rewrite(folder: Path, **entries: Any) -> None:
    """Change sections of the resolved study."""
    document = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(document | entries))


LINKS = {
    # what is a link: where to, from the folder `outside`
    "events.jsonl": "file",
    "status.json": "file",
    "study.yaml": "file",
    "trace.h5": "trace.h5",
    "trace.h5.journal": "file",
    "run.lock": "file",
    "report": "inner",
    "checkpoints": "inner",
    "plugins": "inner",
    "checkpoints/latest.pt": "file",
    "checkpoints/fork-exit.pt": "not there yet",
    ".status.json.1.tmp": "not there yet",
}
OPENINGS: dict[str, Callable[[Path], Any]] = {"report": build_report, "resume": resume}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
@pytest.mark.parametrize(("name", "target"), LINKS.items())
@pytest.mark.parametrize("relative", [False, True])
def test_a_link_out_of_a_run_folder_is_refused(
    run: Path, outside: Path, opening: Callable[[Path], Any], name: str, target: str, relative: bool
) -> None:
    link, goal = run / name, outside / target
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(goal, link.parent) if relative else goal)
    before = snapshot(run)
    with pytest.raises(RunFolderError, match="is a link that leads out of the run folder") as caught:
        opening(run)
    assert str(link.name) in str(caught.value)
    assert "the user's own" not in str(caught.value)
    assert snapshot(run) == before


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_link_by_way_of_another_is_refused(run: Path, outside: Path, opening: Callable[[Path], Any]) -> None:
    (run / "checkpoints" / "door").symlink_to(outside)
    (run / "report").symlink_to("checkpoints/door/inner")
    with pytest.raises(RunFolderError, match="leads out of the run folder"):
        opening(run)


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_link_that_only_looks_as_if_it_stayed_is_refused(
    run: Path, outside: Path, opening: Callable[[Path], Any]
) -> None:
    """`checkpoints/up` is the run folder itself, so that two steps up from it are not where its name says."""
    (run / "checkpoints" / "up").symlink_to("..")
    (run / "report").symlink_to("checkpoints/up/../../outside/inner")
    assert (run / "report" / "file").exists()
    with pytest.raises(RunFolderError, match="leads out of the run folder"):
        opening(run)


def test_links_within_and_to_a_run_folder_are_the_users_own(run: Path, tmp_path: Path) -> None:
    (run / "notes").symlink_to("study.yaml")
    (tmp_path / "latest").symlink_to(run)
    assert build_report(tmp_path / "latest").path.is_file()
    assert (run / "report" / "index.html").is_file()


def test_a_pipe_in_a_run_folder_holds_nobody_up(run: Path) -> None:
    os.mkfifo(run / "events.jsonl")
    with pytest.raises(RunFolderError, match="a pipe or a device"):
        build_report(run)
    with pytest.raises(RunFolderError, match="a pipe or a device"):
        resume(run)


def test_a_member_that_leads_out_of_its_sweep_is_refused(tmp_path: Path, outside: Path) -> None:
    make_sweep(tmp_path / "sweep", (0, 1), **SMALL)
    shutil.rmtree(tmp_path / "sweep" / "seed-1")
    (tmp_path / "sweep" / "seed-1").symlink_to(outside)
    for opening in OPENINGS.values():
        with pytest.raises(RunFolderError, match="leads out of the run folder"):
            opening(tmp_path / "sweep")


@pytest.mark.parametrize(
    "name", ["../evil", "../../evil", "/tmp/evil", "", ".", "..", "a/b", "a\\b", "a\0b", "x" * 300]
)
def test_a_member_has_a_plain_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = tmp_path / "runs" / "sweep"
    make_sweep(folder, (0,), **SMALL)
    shutil.copy(folder / "seed-0" / "study.yaml", folder / "study.yaml")
    content = json.loads((folder / "sweep.json").read_text())
    content["members"].append({"name": name, "overrides": {"seed": 1}})
    (folder / "sweep.json").write_text(json.dumps(content))
    before = snapshot(tmp_path)
    for opening in (open_run, *OPENINGS.values()):
        with pytest.raises(RunFolderError, match="is no member of this folder; a plain name would be right"):
            opening(folder)
    assert call(["ls", str(folder.parent)]) == 0
    assert snapshot(tmp_path) == before
    assert capsys.readouterr().out.startswith(str(folder))


TEXTS = st.text(max_size=30) | st.sampled_from(
    ["..", ".", "/", "../../evil", "a/b", "C:\\evil", "\0", "-rf", "~", "aux"]
)


@given(
    st.dictionaries(TEXTS.filter(bool), st.lists(TEXTS, min_size=1, max_size=3, unique=True), min_size=1, max_size=3),
    TEXTS,
)
def test_what_a_sweep_sets_becomes_a_plain_folder_name(swept: dict[str, list[str]], key: str) -> None:
    tree = planted({"sweep": {f"dataset.{path}": values for path, values in swept.items()}}, Origin("f"))
    assert isinstance(tree, Block)
    members = [member for member, _ in expand(tree, Faults())]
    names = {member.name for member in members}
    assert len(names) == len(members)
    for name in names:
        assert (Path("/sweep") / name).parent == Path("/sweep")
        assert os.path.normpath(f"/sweep/{name}") == f"/sweep/{name}"
        assert len(name) < 200
        assert name.isprintable()


@pytest.mark.parametrize("label", ["../../evil", "/tmp/evil", "..", "a\0b", "x" * 400, "-rf *", "a/b/c"])
def test_a_label_becomes_a_plain_file_name(run: Path, tmp_path: Path, label: str) -> None:
    """Labels as no valid study has them, in a folder that was changed by hand."""
    rewrite(run, figures=[{"use": "loss", "as": label}], claims=[{"use": "reaches", "as": label}])
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(run)}
    build_report(run)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(run)} == before
    assert not Path("/tmp/evil").exists()
    assert len(list((run / "report" / "figures").iterdir())) == 3


BOMB = """\
from pathlib import Path

Path({mark!r}).touch()
raise RuntimeError("imported")
"""


@pytest.fixture
def mined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with a probe, a model, a figure and a claim that leave a mark when they are imported."""
    folder = tmp_path / "runs" / "run1"
    make_run(folder, **SMALL)
    rewrite(folder, probes=["loss", "evil"], figures=["evil"], claims=["evil"])
    for kind in ("probes", "figures", "claims", "models", "losses"):
        (folder / "plugins" / kind).mkdir(parents=True)
        (folder / "plugins" / kind / "evil.py").write_text(BOMB.format(mark=str(tmp_path / "mark")))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("command", ["resume", "report", "validate", "show", "run", "list", "doctor", "describe"])
@pytest.mark.parametrize("inside", [False, True])
def test_the_plugins_of_a_run_folder_are_a_record_and_no_code(
    mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str, inside: bool
) -> None:
    """Also where the user stands in the folder."""
    monkeypatch.chdir(mined if inside else tmp_path)
    (mined / "status.json").write_text('{"state": "interrupted"}')
    target = {"resume": str(mined), "report": str(mined), "list": "probes", "describe": "probes evil"}
    arguments = [] if command == "doctor" else target.get(command, str(mined / "study.yaml")).split()
    call([command, *arguments])
    assert not (tmp_path / "mark").exists()
    said = capsys.readouterr()
    assert "this is a fault of studyrun" not in said.err
    if command in ("resume", "validate", "show", "run"):
        assert "nothing is imported from there" in said.err
    if command == "report":
        page = (mined / "report" / "index.html").read_text()
        assert "nothing is imported from there" in page


def test_a_folder_to_resume_is_a_run_folder_whatever_it_holds(mined: Path, tmp_path: Path) -> None:
    """Without the files that mark it, a folder with `study.yaml` and `plugins/` could be a project."""
    for name in ("status.json", "provenance.json", "trace.h5"):
        (mined / name).unlink()
    with pytest.raises(InvalidStudyError, match="nothing is imported from there"):
        resume(mined)
    assert not (tmp_path / "mark").exists()


def test_the_bomb_goes_off_where_the_user_puts_it(mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above would have seen it."""
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(mined / "plugins"))
    assert call(["validate", str(mined / "study.yaml")]) == 3
    assert (tmp_path / "mark").exists()


class Bomb:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_checkpoint_is_read_without_running_what_it_says(tmp_path: Path, sealed: bool) -> None:
    path, mark = tmp_path / "latest.pt", tmp_path / "mark"
    if sealed:
        checkpoint.save(path, {"arms": Bomb(mark)})
    else:
        torch.save({"format": checkpoint.BARE, "arms": Bomb(mark)}, path)
    with pytest.raises(RunFolderError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)
    assert not mark.exists()
    assert Bomb(mark).__reduce__()[0] is os.mkdir, "the bomb is a real one"


JUNK = {
    "an alias bomb": "a: &a [x, x]\n" + "".join(f"{i}: &b{i} [*a, *a]\n" for i in range(50)),
    "an object": "title: !!python/object/apply:os.mkdir [mark]",
    "brackets": "[" * 50_000,
    "a date": "title: 2026-99-99",
    "a number": f"title: {'9' * 9999}",
    "a list": "- a",
    "a long file": "#" * 5_000_000,
    "no text": "title: \x00",
}


@pytest.mark.parametrize("text", JUNK.values(), ids=JUNK.keys())
def test_a_studys_text_that_no_run_writes_is_refused(run: Path, text: str) -> None:
    (run / "study.yaml").write_text(text)
    with pytest.raises(RunFolderError, match=r"study\.yaml"):
        build_report(run)
    assert call(["ls", str(run.parent)]) == 0
    assert not Path("mark").exists()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "9" * 9999, "\ufeff{}", "nul", "[]"])
@pytest.mark.parametrize("name", ["status.json", "provenance.json"])
def test_json_that_no_run_writes_is_refused(run: Path, content: str, name: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(RunFolderError, match=name):
        build_report(run)


def test_a_file_beyond_all_measure_is_not_read(run: Path) -> None:
    """A hole of a tebibyte costs nothing on the disk, and comes along in an archive."""
    for name in ("status.json", "study.yaml"):
        os.truncate(run / name, 2**40)
    with pytest.raises(RunFolderError, match="longer than 67,108,864 bytes"):
        read_json(run / "status.json")
    with pytest.raises(RunFolderError, match="longer than 4,194,304 bytes"):
        build_report(run)


PIECES = st.sampled_from(["a: ", "- ", "\n", "  ", "[", "]", "{", "}", "&a ", "*a", "<<: ", "!!set ", "1e9", "'"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80) | st.lists(PIECES).map("".join))
def test_any_text_is_a_document_or_a_clean_fault(tmp_path: Path, text: str) -> None:
    with suppress(StudyrunError):
        assert isinstance(parse_study(tmp_path, text), dict)


def test_a_folder_that_vanishes_meanwhile_is_no_fault(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is going on writes drafts, and renames them."""
    honest = os.walk

    def walk(folder: Path) -> Iterator[Any]:
        for where, folders, files in honest(folder):
            yield where, folders, [*files, ".status.json.1.tmp"]

    monkeypatch.setattr(os, "walk", walk)
    check_contained(run)


def test_a_terminal_obeys_no_title(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An escape may rename the window, move the cursor over what was said, or be no character at all."""
    (run / "study.yaml").write_text('title: "a\\e]0;owned\\a\\x9b2J\\ud800b"\nfigures: []\n')
    assert call(["ls", str(run.parent)]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("a\ufffd]0;owned\ufffd\ufffd2J\ufffdb")


def test_doctor_names_every_place_that_code_comes_from(
    mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("project/plugins", "one", "two"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("STUDYRUN_PLUGINS", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    for here in (tmp_path / "project", mined):
        monkeypatch.chdir(here)
        call(["doctor"])
        said = capsys.readouterr().out
        assert f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}" in said
        assert (f"project: {tmp_path / 'project' / 'plugins'}" in said) == (here == tmp_path / "project")
        assert (f"{mined}/plugins is the record of a run; nothing is imported from there" in said) == (here == mined)
