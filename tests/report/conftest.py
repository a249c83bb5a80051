"""Run folders for reports: synthetic ones, with figures and claims written into their studies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from oracles.synthetic_run import make_run

from studyrun.report import style

Folder = Callable[..., Path]


def rewrite_study(folder: Path, **entries: Any) -> None:
    """Change the resolved study of a run folder."""
    path = folder / "study.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | entries
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Short synthetic runs, each made once."""
    made: dict[str, Path] = {}

    def original(**options: Any) -> Path:
        if repr(options) not in made:
            made[repr(options)] = tmp_path_factory.mktemp("originals") / "run"
            make_run(made[repr(options)], **{"steps": 200, **options})
        return made[repr(options)]

    return original


@pytest.fixture
def run_folder(tmp_path: Path, originals: Callable[..., Path]) -> Folder:
    """A copy of a short synthetic run; `study` entries go into its study.yaml."""

    def make(name: str = "run", *, study: dict[str, Any] | None = None, **options: Any) -> Path:
        shutil.copytree(originals(**options), tmp_path / name)
        rewrite_study(tmp_path / name, **(study or {}))
        return tmp_path / name

    return make


@pytest.fixture
def house_style() -> Iterator[None]:
    """The settings under which reports are drawn."""
    with style.house_style():
        yield
