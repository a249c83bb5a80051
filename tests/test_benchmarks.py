"""The curvature benchmark runs: on tiny made-up data, with whatever rivals are installed. Speed is not asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("eigenvalues", ["one product, graph kept", "Top eigenvalue, warm", "| studyrun | tolerance", "eigsh"]),
        ("examples", ["| MLP", "| CNN", "| ResNet-18", "| ViT", "vmap(grad)"]),
        ("every-step", ["| no probes |", "| sharpness, k = 1, tolerance 1e-2 |", "eigenpairs"]),
        ("memory", ["| two products |", "| top eigenvalue, cold |"]),
    ],
)
def test_every_section_of_the_curvature_benchmark_prints_its_tables(
    section: str, words: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "benchmarks/curvature.py", section, "--small", "--threads", "1"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [word for word in words if word not in done.stdout] == []


def test_the_curvature_benchmark_names_a_section_it_does_not_have() -> None:
    command = [sys.executable, "benchmarks/curvature.py", "speed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no section speed" in done.stderr
