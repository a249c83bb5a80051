"""Every file in broken/ says in its first lines what is wrong with it: `# expect LINE:COLUMN | path | words`.

`# profile NAME` and `# set a.b=1` are the options it is loaded with.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studyrun.errors import InvalidStudyError
from studyrun.study import load_study

FILES = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
EXPECTED = re.compile(r"^# expect (\d+):(\d+) \| (.*?) \| (.*)$", re.MULTILINE)


def test_there_are_many_kinds_of_broken_files() -> None:
    assert len(FILES) > 80


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_fault_is_reported_at_its_place_and_in_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    text = path.read_bytes().decode("utf-8", "replace")
    profile = re.findall(r"^# profile (.*)$", text, re.MULTILINE)
    overrides = re.findall(r"^# set (.*)$", text, re.MULTILINE)
    expected = EXPECTED.findall(text)
    with pytest.raises(InvalidStudyError) as caught:
        load_study(path, profile=profile, overrides=overrides)
    faults = caught.value.faults
    assert caught.value.exit_code == 3
    assert expected
    assert [(str(f.line), str(f.column), f.path) for f in faults] == [one[:3] for one in expected]
    for fault, (line, column, where, words) in zip(faults, expected, strict=True):
        assert words in fault.message
        start = f"{path.name}:{line}:{column}: " if int(line) else "--"
        assert str(fault).startswith(start)
        assert f": {where}: " in str(fault) or not where
