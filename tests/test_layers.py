"""Imports run downwards only, core names no component, and what is heavy stays where it belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import studyrun

ROOT = Path(studyrun.__file__).parent
LAYERS = (
    ("errors", "stopping", "backend"),
    ("trace", "curvature"),
    ("component", "registry", "code", "contract"),
    ("study", "initialisation"),
    ("plugin",),
    ("engine", "report"),
    ("launch",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}
SOURCES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
COMPONENTS = [path for path in SOURCES if path.is_relative_to(ROOT / "components")]
CORE = [path for path in SOURCES if path not in COMPONENTS and path != ROOT / "__init__.py"]


def imports(path: Path, *, typing_too: bool = True) -> Iterator[str]:
    """Every module of this project that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards_only(path: Path) -> None:
    own = layer(path)
    for module in imports(path, typing_too=False):
        parts = module.split(".")
        if parts[0] != "studyrun" or len(parts) < 2 or parts[1] not in HEIGHT or parts[1] == own:
            continue
        assert HEIGHT[parts[1]] < HEIGHT[own] or {parts[1], own} <= {"component", "registry", "code", "contract"}, (
            f"{own} imports {module}"
        )


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_imports_no_component(path: Path) -> None:
    assert not [module for module in imports(path) if module.startswith("studyrun.components")]


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_component_imports_the_plugin_door_and_nothing_else_of_ours(path: Path) -> None:
    ours = {module for module in imports(path) if module.split(".")[0] == "studyrun"}
    assert all(module == "studyrun.plugin" or module.startswith("studyrun.plugin.") for module in ours), ours


def test_h5py_is_imported_by_the_trace_alone() -> None:
    users = [path for path in SOURCES if any(module.split(".")[0] == "h5py" for module in imports(path))]
    assert users
    assert all(layer(path) == "trace" for path in users)


@pytest.mark.parametrize("folder", ["trace", "report", "study"])
def test_torch_stays_out_of(folder: str) -> None:
    users = [p for p in CORE if layer(p) == folder and any(m.split(".")[0] == "torch" for m in imports(p))]
    assert not users


def test_curvature_knows_nothing_of_studies() -> None:
    for path in SOURCES:
        if layer(path) == "curvature":
            ours = {module for module in imports(path) if module.startswith("studyrun.")}
            assert all(module.startswith("studyrun.curvature") for module in ours), path


@pytest.mark.parametrize("module", ["studyrun", "studyrun.plugin", "studyrun.component", "studyrun.registry"])
def test_the_doors_are_light(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'scipy', 'matplotlib', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
