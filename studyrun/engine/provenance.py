"""What made this run: versions, commit, command, device, seeds, data, plugins."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from studyrun import __version__
from studyrun.engine.git import git_state
from studyrun.engine.problem import Problem, state_digest, trained_on
from studyrun.engine.sources import SourceRecord
from studyrun.registry import Registry

CHOOSE_KERNELS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "h5py", "pydantic")


def provenance(problem: Problem, command: Sequence[str]) -> dict[str, Any]:
    """Return everything that names how this run came about, as plain data."""
    study = problem.study
    place = study.source.resolve().parent if study.source else Path.cwd()
    project = Registry.for_study(study.source).project if study.source else None
    return {
        "studyrun": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "command": list(command),
        "study_file": study.source.name if study.source else None,
        "git": git_state(project or place),
        "studyrun_git": git_state(Path(__file__).parent),
        "device": _device(problem.device),
        "threads": torch.get_num_threads(),
        "kernels": _kernels(),
        "precision": study.precision,
        "seed": study.seed.model_dump(),
        "parameters": problem.parameters,
        "initial": {"sha256": state_digest(problem.model)},
        "model": {"example_shape": list(problem.data.example_shape), "outputs": problem.data.outputs},
        "data": problem.fingerprint,
        "test_in_train": trained_on(problem.data),
        "group_facts": dict(problem.grouping.facts) if problem.grouping else {},
        **SourceRecord(study).facts(),
    }


def differences(problem: Problem, facts: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run began, of what its bits depend on, in words."""
    recorded = facts.get("packages")
    packages = recorded if isinstance(recorded, Mapping) else {}
    pairs: list[tuple[str, object, object]] = [
        ("studyrun", facts.get("studyrun"), __version__),
        ("the device", facts.get("device"), _device(problem.device)),
        ("a thread count of", facts.get("threads"), torch.get_num_threads()),
        ("kernels for", facts.get("kernels"), _kernels()),
    ]
    pairs += [(name, packages.get(name), _version(name)) for name in ("torch", "numpy") if name in packages]
    behind = facts.get("plugin_packages")
    others = behind.items() if isinstance(behind, Mapping) else ()
    pairs += [(name, before, _version(name) or "none") for name, before in others if name not in packages]
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


def _kernels() -> str:
    """For which instructions torch has chosen its functions on the processor, and what the environment says of it."""
    given = [f"{name}={os.environ[name]}" for name in CHOOSE_KERNELS if name in os.environ]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *given])


def command_line() -> list[str]:
    """The command as typed, with the program's name in place of its path."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
