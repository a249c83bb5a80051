"""Nothing in the package turns data into code: no eval, no pickle, no YAML that builds objects, no shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import studyrun

PACKAGE = Path(studyrun.__file__).parent
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pty.spawn"),
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader"),
    *("yaml.CLoader", "yaml.full_load_all", "yaml.unsafe_load_all", "yaml.CUnsafeLoader", "yaml.CFullLoader"),
    *("torch.hub", "torch.jit.load", "torch.package", "runpy", "code.interact"),
}
"""As they are written: a dotted name, or the first part of one."""


def dotted(node: ast.expr) -> str:
    """The name that an expression spells, empty where it is none."""
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def is_true(call: ast.Call, keyword: str) -> bool:
    return any(
        one.arg == keyword and isinstance(one.value, ast.Constant) and one.value.value is True for one in call.keywords
    )


def safe_loaders(tree: ast.Module) -> set[str]:
    """The classes of a module that are SafeLoaders which take less."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {
        "yaml.SafeLoader",
        *(one.name for one in classes if [dotted(base) for base in one.bases] == ["yaml.SafeLoader"]),
    }


def faults(source: str) -> Iterator[str]:
    """What a module does that could run what it reads."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [f"{module}.{one.name}" if module else one.name for one in node.names]
            yield from (name for name in names if name in FORBIDDEN or name.split(".")[0] in FORBIDDEN)
        if isinstance(node, ast.Attribute) and dotted(node) in FORBIDDEN:
            yield dotted(node)
        if isinstance(node, ast.Name) and node.id in FORBIDDEN:
            yield node.id
        if isinstance(node, ast.Call):
            yield from _faults_of_call(node, safe_loaders(tree))


def _faults_of_call(call: ast.Call, loaders: set[str]) -> Iterator[str]:
    name = dotted(call.func)
    if name == "torch.load" and not is_true(call, "weights_only"):
        yield "torch.load without weights_only=True"
    if name == "yaml.load" and [dotted(one.value) for one in call.keywords if one.arg == "Loader"][:1] not in [
        [loader] for loader in loaders
    ]:
        yield "yaml.load with another loader than a SafeLoader"
    if is_true(call, "allow_pickle"):
        yield f"{name} with allow_pickle=True"
    if is_true(call, "shell"):
        yield f"{name} with shell=True"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import builtins\nexec('1')",
        "import pickle",
        "from pickle import load",
        "import torch\ntorch.load('a')",
        "import torch\ntorch.load('a', weights_only=False)",
        "import yaml\nyaml.load('a', Loader=yaml.Loader)",
        "import yaml\nyaml.load('a', yaml.UnsafeLoader)",
        "import yaml\nyaml.unsafe_load('a')",
        "import yaml\nclass Own(yaml.FullLoader): ...\nyaml.load('a', Loader=Own)",
        "import numpy\nnumpy.load('a', allow_pickle=True)",
        "import subprocess\nsubprocess.run('a', shell=True)",
        "import os\nos.system('a')",
        "from joblib import load",
    ],
)
def test_the_search_finds_what_it_is_after(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('a')",
        "import torch\ntorch.load('a', weights_only=True)",
        "import yaml\nclass Own(yaml.SafeLoader): ...\nyaml.load('a', Loader=Own)",
        "spec.loader.exec_module(module)\nmodel.eval()",
    ],
)
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert not list(faults(source))
