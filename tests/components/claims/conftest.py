"""Claims decided on synthetic runs, whose every number is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracles.synthetic_run import make_run, make_sweep

from studyrun.component import Verdict
from studyrun.registry import Registry
from studyrun.trace.ensemble import Ensemble, for_run
from studyrun.trace.reader import open_run

Decide = Callable[..., Verdict]


@pytest.fixture(scope="session")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """One run."""
    folder = tmp_path_factory.mktemp("claims") / "run"
    make_run(folder)
    return for_run(open_run(folder))


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """Seven runs that differ by their seeds."""
    folder: Path = tmp_path_factory.mktemp("claims") / "sweep"
    make_sweep(folder, range(7), steps=340)
    (ensemble,) = open_run(folder).ensembles()
    return ensemble


@pytest.fixture
def decide() -> Decide:
    """Decide a claim by name, with options."""

    def one(name: str, ensemble: Ensemble, **options: Any) -> Verdict:
        return Registry().load("claims", name).model_validate(options).decide(ensemble)

    return one
