"""Whose `blocks.py` an import in somebody's plugin gets: the one beside it, its project's, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from studyrun.errors import ComponentError
from studyrun.registry import Registry

PLUGIN = '''
from studyrun.plugin import Probe
{imports}
class Mine(Probe):
    """A probe."""

    def channels(self, context):
        return ()

    def measure(self, snapshot, carry):
        {body}
        return {value}, carry
'''


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDYRUN_PLUGINS", raising=False)


def put(root: Path, **files: str) -> Path:
    """Write Python files: `a__b` is a/b.py, `a____init__` a/__init__.py."""
    for name, text in files.items():
        parts = name.removesuffix("____init__").split("__")
        path = root.joinpath(*parts, *(["__init__"] if name.endswith("____init__") else [])).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root


def probe(imports: str = "", value: str = "{}", body: str = "pass") -> str:
    return PLUGIN.format(imports=imports, value=value, body=body)


def measured(root: Path | None, name: str = "mine") -> object:
    """What the plugin's `measure` returns: it is called long after the plugin was imported."""
    return Registry(root).load("probes", name)().measure(None, None)[0]  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize(
    ("statement", "expression"),
    [
        ("from blocks import who", "who"),
        ("import blocks", "blocks.who"),
        ("import blocks as b", "b.who"),
        ("from blocks import *", "who"),
        ("from .blocks import who", "who"),
        ("from . import blocks", "blocks.who"),
        ("from probes.blocks import who", "who"),
        ("import probes.blocks", "probes.blocks.who"),
        ("from probes import blocks", "blocks.who"),
        ("import plugins.probes.blocks as b", "b.who"),
        ("from plugins.probes.blocks import who", "who"),
        ("from plugins.probes import blocks", "blocks.who"),
        ("import importlib; b = importlib.import_module('blocks')", "b.who"),
        ("from importlib import import_module; b = import_module('probes.blocks')", "b.who"),
        ("from importlib import import_module; b = import_module('.blocks', __package__)", "b.who"),
        ("b = __import__('blocks')", "b.who"),
        ("space = {}; exec('from blocks import who', space)", "space['who']"),
    ],
)
def test_what_lies_beside_a_plugin_is_found_by_every_way_to_import_it(
    tmp_path: Path, statement: str, expression: str
) -> None:
    """At once and, below, within a call."""
    put(tmp_path, plugins__probes__blocks="who = 'beside'", plugins__probes__mine=probe(statement, expression))
    assert measured(tmp_path) == "beside"
    if "*" not in statement:
        put(tmp_path, plugins__probes__mine=probe(value=expression, body=statement))
        assert measured(tmp_path) == "beside"


@pytest.mark.parametrize(
    ("statement", "expression"),
    [
        ("from mylib import who", "who"),
        ("from mylib.deep.core import who", "who"),
        ("import mylib.deep.core", "mylib.deep.core.who"),
        ("from mylib.deep import core", "core.who"),
        ("from tools.things import who", "who"),
        ("import tools.things", "tools.things.who"),
        ("from tools import things", "things.who"),
        ("from single import who", "who"),
    ],
)
def test_the_project_s_root_is_importable(tmp_path: Path, statement: str, expression: str) -> None:
    """Packages, folders without `__init__.py`, single files, and what these import of one another."""
    put(
        tmp_path,
        mylib____init__="from .deep.core import who",
        mylib__deep____init__="",
        mylib__deep__core="from ..words import word\nwho = word",
        mylib__words="import single\nword = single.who",
        tools__things="from mylib.words import word as who",
        single="who = 'root'",
        plugins__probes__mine=probe(statement, expression),
    )
    assert measured(tmp_path) == "root"


def test_each_plugin_gets_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders of one project, another project, and a folder of the environment, each with a `blocks.py`."""
    here, there, shared = tmp_path / "here", tmp_path / "there", tmp_path / "shared"
    lazily = probe(value="who", body="from blocks import who")
    put(here, plugins__probes__blocks="who = 'here'", plugins__probes__mine=lazily, mylib="")
    put(
        here,
        plugins__figures__blocks="who = 'figures'",
        plugins__probes__other=probe("import figures.blocks as b", "b.who"),
    )
    put(there, plugins__probes__blocks="who = 'there'", plugins__probes__mine=lazily)
    put(shared, probes__blocks="who = 'shared'", probes__theirs=lazily)
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(shared))
    first, second = (Registry(one).load("probes", "mine")() for one in (here, there))
    assert [one.measure(None, None)[0] for one in (second, first, second)] == ["there", "here", "there"]
    assert measured(here, "other") == "figures"
    assert measured(here, "theirs") == "shared"
    assert "blocks" not in sys.modules


@pytest.mark.parametrize("name", ["utils", "test", "types", "data", "random", "yaml", "torch_utils", "models"])
def test_a_helper_may_have_the_name_of_a_library(tmp_path: Path, name: str) -> None:
    """The plugin gets its own; whoever else imports that name gets the library, before and after."""
    statement = f"from {name} import mine; import random, types, yaml; from torch import nn"
    put(
        tmp_path,
        **{f"plugins__probes__{name}": "mine = 'own'"},
        plugins__probes__mine=probe(f"from {name} import mine", "mine"),
    )
    before = sys.modules.get(name)
    assert measured(tmp_path) == "own", statement
    assert sys.modules.get(name) is before


def test_a_plugin_may_have_the_name_of_the_library_that_it_imports(tmp_path: Path) -> None:
    put(tmp_path, plugins__probes__statistics=probe("import statistics", "statistics.median([1, 2, 9])"))
    assert measured(tmp_path, "statistics") == 2


def test_a_module_of_a_package_hides_no_library(tmp_path: Path) -> None:
    """`import random` in mylib/core.py is the library's though mylib/random.py lies beside it, as Python has it."""
    put(
        tmp_path,
        mylib____init__="",
        mylib__random="raise RuntimeError('not asked for')",
        mylib__core="import random\nwho = random.Random(0).random()",
        plugins__probes__mine=probe("from mylib.core import who", "who"),
    )
    assert measured(tmp_path) == pytest.approx(0.8444218515250481)


def test_a_folder_of_data_hides_no_library(tmp_path: Path) -> None:
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "numbers.csv").touch()
    put(tmp_path, plugins__probes__mine=probe("import yaml", "yaml.safe_load('3')"))
    assert measured(tmp_path) == 3


def test_one_file_is_one_module_however_it_is_imported(tmp_path: Path) -> None:
    """Also where two plugins, a helper and the study itself import it: a class is one class everywhere."""
    put(
        tmp_path,
        mylib="from plugins.probes.base import Thing",
        plugins__probes__base="class Thing: pass",
        plugins__probes__mine=probe(
            "from base import Thing; from .base import Thing as Fourth; import mylib, probes.base, plugins.probes.base",
            "Thing is probes.base.Thing is plugins.probes.base.Thing is Fourth is mylib.Thing",
        ),
        plugins__probes__other=probe("from probes.mine import Mine as M; import mylib", "(M, mylib.Thing)"),
    )
    assert measured(tmp_path) is True
    mine, thing = measured(tmp_path, "other")  # type: ignore[misc]
    assert mine is Registry(tmp_path).load("probes", "mine")
    assert thing.__qualname__ == "Thing"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_helper_is_loaded_afresh(tmp_path: Path, lazy: bool, deep: bool) -> None:
    """The same length within the same second, which the cache of compiled files does not tell apart."""
    statement = "from blocks import who"
    put(tmp_path, plugins__probes__mine=probe("" if lazy else statement, "who", statement if lazy else "pass"))
    put(tmp_path, plugins__probes__blocks="from layers import who" if deep else "who = 'tanh'", layers="who = 'tanh'")
    first = Registry(tmp_path).load("probes", "mine")
    assert first().measure(None, None)[0] == "tanh"
    assert Registry(tmp_path).load("probes", "mine") is first, "nothing has changed"
    put(tmp_path, **{"layers" if deep else "plugins__probes__blocks": "who = 'relu'"})
    assert measured(tmp_path) == "relu"
    assert first().measure(None, None)[0] == "tanh", "a study that was loaded before is what it was"


def test_a_package_s_init_runs_when_it_is_asked_for_and_no_sooner(tmp_path: Path) -> None:
    put(
        tmp_path,
        plugins____init__="raise RuntimeError('nobody asked')",
        plugins__probes____init__="SCALE = 3\nfrom .mine import Mine",
    )
    put(tmp_path, plugins__probes__mine=probe(value="SCALE", body="from probes import SCALE, Mine"))
    assert measured(tmp_path) == 3


def test_what_python_has_of_this_very_file_is_not_imported_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed in place, and is there for others, too."""
    put(tmp_path, installed_in_place____init__="class Thing: pass")
    put(tmp_path, plugins__probes__mine=probe("from installed_in_place import Thing", "Thing"))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = measured(tmp_path)
    del sys.modules["installed_in_place"]
    assert found.__module__ == "installed_in_place"  # type: ignore[attr-defined]


def test_what_is_nowhere_is_said_in_the_code_s_own_names(tmp_path: Path) -> None:
    put(
        tmp_path,
        plugins__probes__mine=probe("import blocks"),
        plugins__probes__blocks="\nimport mylib.nowhere",
        mylib____init__="",
    )
    with pytest.raises(ComponentError) as caught:
        Registry(tmp_path).load("probes", "mine")
    assert str(caught.value) == (
        f"{tmp_path}/plugins/probes/mine.py:3: importing 'mine' (probes) raised ModuleNotFoundError: No module named "
        f"'mylib.nowhere' ({tmp_path}/plugins/probes/blocks.py:2); it was looked for beside the plugin, in "
        f"{tmp_path}, in {tmp_path}/plugins and among the installed packages"
    )


def test_an_import_that_fails_may_be_done_without(tmp_path: Path) -> None:
    put(tmp_path, plugins__probes__mine=probe("try:\n    import fast\nexcept ImportError:\n    fast = 'slow'", "fast"))
    assert measured(tmp_path) == "slow"


def test_nothing_of_the_process_changes(tmp_path: Path) -> None:
    """No entry of sys.path, no module by a name that others use, no compiled file beside the user's."""
    put(tmp_path, plugins__probes__mine=probe("import blocks, mylib"), plugins__probes__blocks="", mylib="")
    script = f"""
        import sys
        sys.dont_write_bytecode = False
        from pathlib import Path
        from studyrun.registry import Registry
        path, load = list(sys.path), Registry(Path({str(tmp_path)!r})).load
        load("probes", "mine")
        assert sys.path == path
        assert not {{"blocks", "mylib", "mine", "probes", "plugins"}} & set(sys.modules)
        assert __import__ is __builtins__.__import__
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_plugin_may_wrap_its_namesake_of_the_project(tmp_path: Path) -> None:
    """plugins/probes/mine.py of probes/mine.py: the root goes before the folder of plugins."""
    put(tmp_path, probes__mine="who = 'root'", plugins__probes__mine=probe("from probes.mine import who", "who"))
    assert measured(tmp_path) == "root"
    put(tmp_path, probes____init__="", plugins__probes__mine=probe("import probes.mine as m", "m.who"))
    assert measured(tmp_path) == "root"
