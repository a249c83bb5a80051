"""Small studies with a folder of their own to run in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from oracles.plain_study import PLAIN
from oracles.processes import Sleeper

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, without the user's settings."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("STUDYRUN_OUTPUTS", "STUDYRUN_PLUGINS", "STUDYRUN_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STUDYRUN_DATA", str(tmp_path / "no-data"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a study of a few milliseconds, with `extra` YAML appended."""

    def make(extra: str = "", text: str = PLAIN, name: str = "study.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text + extra)
        return path

    return make


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """Another process of this host, with what it says of itself as `identity`."""
    process = Sleeper()
    yield process
    process.end()
