"""What is refused when a component is loaded, and in what words."""

from __future__ import annotations

from pathlib import Path

import pytest

from studyrun.component import KINDS
from studyrun.errors import ComponentError
from studyrun.registry import Registry

IMPORTS = "from typing import Any\nfrom studyrun.plugin import Claim, Figure, Options, Probe\n"
METHODS = "    def channels(self, context): ...\n    def measure(self, snapshot, carry): ...\n"
GOOD = f'class Mine(Probe):\n    """Mine."""\n    k: int = 1\n{METHODS}'


def load(tmp_path: Path, source: str, kind: str = "probes") -> type:
    path = tmp_path / "plugins" / kind / "mine.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(IMPORTS + source)
    return Registry(tmp_path).load(kind, "mine")


def refusal(tmp_path: Path, source: str, kind: str = "probes") -> str:
    with pytest.raises(ComponentError) as caught:
        load(tmp_path, source, kind)
    assert str(tmp_path / "plugins" / kind / "mine.py") in str(caught.value)
    return str(caught.value)


def test_one_concrete_class_is_what_is_wanted(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).__name__ == "Mine"


def test_abstract_and_imported_classes_may_stand_beside_it(tmp_path: Path) -> None:
    base = 'class Base(Probe):\n    """Abstract."""\n    def channels(self, context): ...\n'
    assert load(tmp_path, base + GOOD.replace("Probe", "Base")).__name__ == "Mine"


def test_the_same_file_gives_the_same_class_and_a_changed_one_another(tmp_path: Path) -> None:
    first = load(tmp_path, GOOD)
    assert load(tmp_path, GOOD) is first
    assert load(tmp_path, GOOD.replace("k: int = 1", "k: int = 2")) is not first


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "the file must define one concrete subclass of Probe, and defines none"),
        (f"{GOOD}{GOOD.replace('Mine', 'Other')}", "and defines 2: Mine, Other"),
        ('class Mine(Probe):\n    """Mine."""\n', "class Mine does not implement channels, measure"),
        (f"class Mine(Probe):\n    k: int = 1\n{METHODS}", "class Mine has no docstring"),
        (f"class Mine(Probe):\n    use: str = ''\n{METHODS}", "`studyrun list` shows; it has an option named 'use'"),
        (GOOD.replace("k:", "every:"), "has an option named 'every', a key that the study file keeps for itself"),
        (GOOD.replace("k:", "at:"), "has an option named 'at'"),
        (GOOD.replace("k:", "use:"), "has an option named 'use'"),
        (GOOD.replace("k: int = 1", "model_config = {'extra': 'allow'}"), "changes model_config"),
        (GOOD.replace("k: int = 1", "model_config = {'frozen': False}"), "changes model_config"),
        (f"{GOOD}\nraise ValueError('not today')\n", ":9: importing 'mine' (probes) raised ValueError: not today"),
        ("def broken(:\n", ":3: importing 'mine' (probes) raised SyntaxError: invalid syntax"),
        ("import no_such_module_anywhere\n", ":3: importing 'mine' (probes) raised ModuleNotFoundError"),
        ("raise SystemExit(3)\n", ":3: importing 'mine' (probes) raised SystemExit: 3"),
        ("def f():\n    1 / 0\n\nf()\n", ":4: importing 'mine' (probes) raised ZeroDivisionError: division by zero"),
        (GOOD.replace("k: int", "k: Nowhere"), "raised NameError: name 'Nowhere' is not defined"),
        (GOOD.replace("k: int", "k: 'Nowhere'"), "has an option whose type is not understood: name 'Nowhere' is not"),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_refused(tmp_path: Path, source: str, words: str) -> None:
    assert words in refusal(tmp_path, source)


def test_labels_belong_to_the_study(tmp_path: Path) -> None:
    source = (
        'from pydantic import Field\nclass Mine(Figure):\n    """Mine."""\n'
        '    label: str = Field("", alias="as")\n    def draw(self, ensemble, canvas): ...\n'
    )
    assert "has an option named 'as'" in refusal(tmp_path, source, "figures")


def test_a_component_of_another_kind_is_none(tmp_path: Path) -> None:
    assert "one concrete subclass of Claim, and defines none" in refusal(tmp_path, GOOD, "claims")


def test_a_failed_import_is_tried_again(tmp_path: Path) -> None:
    refusal(tmp_path, "raise ValueError\n")
    assert load(tmp_path, GOOD).__name__ == "Mine"


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_component_keeps_its_contract(kind: str) -> None:
    registry = Registry()
    for listing in registry.names(kind):
        if listing.origin == "built-in":
            assert issubclass(registry.load(kind, listing.name), KINDS[kind].contract)
