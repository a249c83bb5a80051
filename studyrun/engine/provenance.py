"""What made this run: versions, commit, command, device, seeds, data, plugins."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from studyrun import __version__
from studyrun.engine.problem import Problem, fingerprint, state_digest, trained_on

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "h5py", "pydantic")
LONGEST_DIFF = 1_000_000


def provenance(problem: Problem, command: Sequence[str]) -> dict[str, Any]:
    """Return everything that names how this run came about, as plain data."""
    study = problem.study
    place = study.source.parent if study.source else Path.cwd()
    return {
        "studyrun": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "command": list(command),
        "study_file": study.source.name if study.source else None,
        "git": git_state(place),
        "studyrun_git": git_state(Path(__file__).parent),
        "device": _device(problem.device),
        "threads": torch.get_num_threads(),
        "precision": study.precision,
        "seed": study.seed.model_dump(),
        "parameters": problem.parameters,
        "initial": {"sha256": state_digest(problem.model)},
        "data": fingerprint(problem.data),
        "test_in_train": trained_on(problem.data),
        "group_facts": dict(problem.grouping.facts) if problem.grouping else {},
        "plugins": {
            f"{one.kind}/{one.name}": {"origin": one.origin, "sha256": one.sha256}
            for one in study.components
            if one.origin != "built-in"
        },
    }


def differences(problem: Problem, facts: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run began, of what its bits depend on, in words."""
    recorded = facts.get("packages")
    packages = recorded if isinstance(recorded, Mapping) else {}
    pairs: list[tuple[str, str | None, str | None]] = [
        ("studyrun", facts.get("studyrun"), __version__),
        ("the device", facts.get("device"), _device(problem.device)),
    ]
    pairs += [(name, packages.get(name), _version(name)) for name in ("torch", "numpy") if name in packages]
    return [
        f"the run began with {what} {before} and goes on with {now}: from here on it may differ in rounding"
        for what, before, now in pairs
        if before is not None and before != now
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and uncommitted diff of the repository around `folder`, or None where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD") or ""
    return {"commit": commit.strip(), "dirty": bool(diff), "diff": diff[:LONGEST_DIFF]}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def command_line() -> list[str]:
    """The command as typed, with the program's name in place of its path."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
