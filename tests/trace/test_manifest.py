"""checksums.json: what changes in a run folder after its end is named, what may change is not."""

from __future__ import annotations

import hashlib
import json

import pytest

from studyrun.errors import RunFolderError
from studyrun.trace.manifest import MANIFEST, changed, holds_for, read_manifest, write_manifest

FILES = {
    "study.yaml": b"title: A title\n",
    "provenance.json": b"{}\n",
    "trace.h5": b"numbers" * 1000,
    "events.jsonl": b'{"event": "run started"}\n',
    "checkpoints/latest.pt": b"state",
    "plugins/probes/own.py": b"# a probe\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "status.json").write_text("{}")
    (tmp_path / "report").mkdir()
    write_manifest(tmp_path, "complete", 12.5)
    return tmp_path


def differences(folder):
    return dict(changed(folder, read_manifest(folder)))


def test_every_file_has_the_digest_that_hashlib_gives(folder):
    content = json.loads((folder / MANIFEST).read_text())
    assert (content["format"], content["state"], content["started"]) == (1, "complete", 12.5)
    expected = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in FILES.items()}
    assert content["files"] == expected
    assert differences(folder) == {}


@pytest.mark.parametrize("name", FILES)
def test_one_bit_in_any_file_is_found(folder, name):
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 4
    (folder / name).write_bytes(data)
    assert differences(folder) == {name: "is not what it was when the run ended"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_or_gone_is_found(folder, name):
    (folder / name).write_bytes(FILES[name][:-1])
    assert differences(folder)[name].startswith("is cut off: ")
    (folder / name).unlink()
    assert differences(folder) == {name: "is gone"}


def test_events_may_follow_and_nothing_else(folder):
    for name in ("events.jsonl", "trace.h5"):
        with (folder / name).open("ab") as file:
            file.write(b"more\n")
    (folder / "status.json").write_text('{"state": "complete"}')
    (folder / "checkpoints" / "previous.pt").write_bytes(b"another")
    assert differences(folder) == {
        "trace.h5": "has grown since the run ended: 7,005 bytes in place of 7,000",
        "checkpoints/previous.pt": "was put there after the run had ended",
    }


def test_a_link_is_no_file_of_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "trace.h5"
    outside.write_bytes(FILES["trace.h5"])
    (folder / "trace.h5").unlink()
    (folder / "trace.h5").symlink_to(outside)
    assert differences(folder) == {"trace.h5": "is a link"}


def test_it_holds_for_the_end_at_which_it_was_written(folder):
    manifest = read_manifest(folder)
    assert holds_for(manifest, {"state": "complete", "started": 12.5, "pid": 1})
    assert not holds_for(manifest, {"state": "running", "started": 12.5})
    assert not holds_for(manifest, {"state": "complete", "started": 13.5})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ('{"format": 2, "files": {}}', "format 2, made by a newer studyrun; this version reads 1"),
        ('{"format": 1}', "is damaged: it is no list of files"),
        ('{"format": 1, "files": {"trace.h5": {"sha256": 3, "bytes": 1}}}', "is damaged"),
        ('{"format": 1, "files": {"trace.h5": {"sha256": "3"}}}', "is damaged"),
        ('{"format": 1, "files": {"/etc/passwd": {"sha256": "3", "bytes": 1}}}', "is damaged"),
        ('{"format": 1, "files": {"checkpoints/../../x": {"sha256": "3", "bytes": 1}}}', "is damaged"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(folder, content, words):
    (folder / MANIFEST).write_text(content)
    with pytest.raises(RunFolderError, match=words):
        read_manifest(folder)


def test_without_one_there_is_nothing_to_hold(tmp_path):
    assert read_manifest(tmp_path) == {}
