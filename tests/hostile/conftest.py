"""Hostile inputs meet the small components of tests/study/plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "study" / "plugins"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory within reach of those components."""
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PLUGINS))
    monkeypatch.chdir(tmp_path)
    return tmp_path
