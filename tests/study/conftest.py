"""Studies over the small components of tests/study/plugins, so that no test here depends on a built-in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from studyrun.errors import InvalidStudyError
from studyrun.study import Study, load_study

PLUGINS = Path(__file__).parent / "plugins"
BASE = """\
model: net
dataset: toy
loss: square
optimizer: {use: descent, lr: 0.1}
stop: {steps: 10}
probes: [level]
"""

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory within reach of the test's plugins."""
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PLUGINS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Load:
    """Load a study from its text: `BASE` and what is appended to it, or `text` alone."""

    def load_text(more: str = "", *overrides: str, text: str = BASE, profile: Sequence[str] = ()) -> Study:
        path = folder / "study.yaml"
        path.write_text(text + more, encoding="utf-8")
        return load_study(path, profile=profile, overrides=overrides)

    return load_text


@pytest.fixture
def faults_of(load: Load) -> FaultsOf:
    """The faults that loading raises, as texts."""

    def faults(more: str = "", *overrides: str, text: str = BASE, profile: Sequence[str] = ()) -> list[str]:
        with pytest.raises(InvalidStudyError) as caught:
            load(more, *overrides, text=text, profile=profile)
        return [str(fault) for fault in caught.value.faults]

    return faults
