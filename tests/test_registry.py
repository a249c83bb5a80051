"""The four doors, and that listing opens none of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from studyrun.component import KINDS
from studyrun.errors import ComponentError
from studyrun.registry import Listing, Registry, nearest, project_of

PROBE = '''
from studyrun.plugin import Probe
{prelude}
class {name}(Probe):
    """{summary}

    More about it.
    """

    k: int = 1

    def channels(self, context):
        return ()

    def measure(self, snapshot, carry):
        return {{}}, carry
'''


def write(path: Path, *, summary: str = "A probe.", prelude: str = "", name: str = "Mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PROBE.format(name=name, summary=summary, prelude=prelude))
    return path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDYRUN_PLUGINS", raising=False)


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str, *, kind: str = "probes", name: str = "shipped"
) -> None:
    """An installed distribution: a package and the metadata that `pip install` would write beside it."""
    info = folder / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[studyrun.{kind}]\n{name} = {entry}\n")
    monkeypatch.syspath_prepend(str(folder))


def one(listings: list[Listing], name: str) -> Listing:
    (found,) = [listing for listing in listings if listing.name == name]
    return found


def test_the_folders_of_components_are_the_kinds() -> None:
    assert set(Registry.kinds()) == set(KINDS)


def test_built_in_components_are_found_and_loaded_as_modules() -> None:
    registry = Registry()
    listing = one(registry.names("optimizers"), "gd")
    assert (listing.origin, listing.path.name, bool(listing.summary)) == ("built-in", "gd.py", True)
    assert registry.load("optimizers", "gd").__module__ == "studyrun.components.optimizers.gd"


def test_a_project_s_plugins_are_found(tmp_path: Path) -> None:
    path = write(tmp_path / "plugins" / "probes" / "mine.py", summary="Measures my thing.")
    registry = Registry.for_study(tmp_path / "studies" / "a.yaml")
    listing = one(registry.names("probes"), "mine")
    assert (listing.origin, listing.path, listing.summary) == ("project", path, "Measures my thing.")
    assert registry.load("probes", "mine").__name__ == "Mine"
    assert "More about it." in registry.docs("probes", "mine")
    assert "mine" not in [other.name for other in Registry().names("probes")]


def test_every_folder_of_the_environment_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "probes" / "first.py")
    write(tmp_path / "b" / "probes" / "second.py")
    monkeypatch.setenv("STUDYRUN_PLUGINS", f"{tmp_path / 'a'}:{tmp_path / 'b'}::{tmp_path / 'missing'}")
    for name in ("first", "second"):
        assert one(Registry().names("probes"), name).origin == "environment"
        assert Registry().load("probes", name).__doc__


@pytest.mark.parametrize("entry", ["theirs.deep.module:Shipped", "theirs.deep.module"])
def test_an_installed_package_s_entry_points_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    for package in ("theirs", "theirs/deep"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("import sys\nsys.theirs_was_imported = True\n")
    path = write(tmp_path / "theirs" / "deep" / "module.py", summary="From a package.", name="Shipped")
    install(tmp_path, monkeypatch, entry)
    try:
        listing = one(Registry().names("probes"), "shipped")
        assert (listing.origin, listing.path, listing.target) == ("entry point", path, entry)
        assert listing.summary == "From a package."
        assert not hasattr(sys, "theirs_was_imported")
        assert Registry().load("probes", "shipped").__name__ == "Shipped"
        assert hasattr(sys, "theirs_was_imported")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "theirs"]:
            del sys.modules[name]
        if hasattr(sys, "theirs_was_imported"):
            del sys.theirs_was_imported


def test_an_entry_point_to_nothing_is_listed_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "nowhere_at_all.module:Thing")
    assert one(Registry().names("probes"), "shipped").summary == ""
    with pytest.raises(ComponentError, match="ModuleNotFoundError: No module named 'nowhere_at_all'"):
        Registry().load("probes", "shipped")


def test_an_entry_point_of_the_wrong_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "studyrun.components.optimizers.gd:Gd")
    with pytest.raises(ComponentError, match=r"optimizers\.gd:Gd is no subclass of Probe"):
        Registry().load("probes", "shipped")


def test_two_of_one_name_are_an_error_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write(tmp_path / "plugins" / "probes" / "twin.py", summary="The first.")
    other = write(tmp_path / "env" / "probes" / "twin.py", summary="The second.")
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(tmp_path / "env"))
    registry = Registry(tmp_path)
    assert [listing.summary for listing in registry.names("probes") if listing.name == "twin"] == [
        *("The first.", "The second.")
    ]
    with pytest.raises(ComponentError) as caught:
        registry.load("probes", "twin")
    assert str(caught.value) == (
        f"two probes are named 'twin': {project} (project) and {other} (environment); rename or remove one of them"
    )


def test_a_plugin_may_not_take_a_built_in_name(tmp_path: Path) -> None:
    write(tmp_path / "plugins" / "optimizers" / "gd.py")
    with pytest.raises(ComponentError, match=r"two optimizers are named 'gd': .*built-in.*project"):
        Registry(tmp_path).load("optimizers", "gd")


def test_a_copy_is_no_rival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trusts the sources in a run folder by the variable may have the originals at hand too."""
    write(tmp_path / "own" / "plugins" / "probes" / "mine.py")
    write(tmp_path / "env" / "probes" / "mine.py")
    monkeypatch.setenv("STUDYRUN_PLUGINS", f"{tmp_path / 'env'}:{tmp_path / 'env'}")
    assert Registry(tmp_path / "own").find("probes", "mine").origin == "project"


@pytest.mark.parametrize("mark", ["trace.h5", "sweep.json", "status.json", "provenance.json"])
def test_a_run_folder_is_no_project(tmp_path: Path, mark: str) -> None:
    own = write(tmp_path / "plugins" / "probes" / "mine.py")
    run = tmp_path / "outputs" / "run1"
    write(run / "plugins" / "probes" / "theirs.py", summary="Not to be imported.")
    (run / mark).touch()
    assert project_of(run) == tmp_path
    names = [listing.name for listing in Registry.for_study(run / "study.yaml").names("probes")]
    assert "mine" in names
    assert "theirs" not in names
    assert Registry.for_study(run / "study.yaml").find("probes", "mine").path == own


def test_a_run_outside_any_project_is_looked_at_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "project" / "plugins" / "probes" / "mine.py")
    (tmp_path / "scratch" / "run1" / "plugins").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    assert Registry.for_run(tmp_path / "scratch" / "run1").project == tmp_path / "project"
    monkeypatch.chdir(tmp_path / "scratch" / "run1")
    assert Registry.for_run(Path.cwd()).project is None, "the folder itself, though nothing marks it as a run's"


def test_what_only_the_run_folder_holds_is_named_and_not_run(tmp_path: Path) -> None:
    kept = write(tmp_path / "run" / "plugins" / "probes" / "mine.py")
    with pytest.raises(ComponentError) as caught:
        Registry.for_run(tmp_path / "run").load("probes", "mine")
    said = str(caught.value)
    assert f"holds the source that it was run with, {kept}, and nothing is imported from there" in said
    assert f"trust the folder by $STUDYRUN_PLUGINS={tmp_path / 'run' / 'plugins'}" in said


def test_a_plugin_that_has_changed_since_the_run_is_not_mixed_into_it(tmp_path: Path) -> None:
    own = write(tmp_path / "plugins" / "probes" / "mine.py", summary="What it is now.")
    kept = write(tmp_path / "run" / "plugins" / "probes" / "mine.py", summary="What it was.")
    with pytest.raises(ComponentError, match=rf"{own} is not what the run was made with, which {kept} holds"):
        Registry.for_run(tmp_path / "run").load("probes", "mine")
    own.write_text(kept.read_text())
    Registry.for_run(tmp_path / "run").load("probes", "mine")


def test_an_unknown_name_gets_the_nearest_and_all_known() -> None:
    with pytest.raises(ComponentError) as caught:
        Registry().load("losses", "squared-eror")
    assert str(caught.value).startswith(
        "there is no 'squared-eror' among the losses; did you mean 'squared_error'? known:"
    )
    assert "cross_entropy" in str(caught.value)
    assert Registry().nearest("losses", "zzz") is None


@pytest.mark.parametrize(
    ("name", "near"), [("Sharpness", "sharpness"), ("sharp-ness", "sharpness"), ("lr", None), ("shrpness", "sharpness")]
)
def test_near_means_a_slip_of_the_finger(name: str, near: str | None) -> None:
    assert nearest(name, ["sharpness", "gradient_norm"]) == near


def test_private_and_unnameable_files_are_no_components(tmp_path: Path) -> None:
    for name in ("_private", "two words", "a-b", "1st"):
        write(tmp_path / "plugins" / "probes" / f"{name}.py")
    names = [listing.name for listing in Registry(tmp_path).names("probes") if listing.origin == "project"]
    assert names == []


def test_listing_survives_files_that_do_not_parse(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "probes"
    write(folder / "fine.py")
    (folder / "torn.py").write_text("class Torn(:")
    (folder / "binary.py").write_bytes(b"\xff\x00")
    (folder / "documented.py").write_text('"""Only the module speaks."""\n')
    summaries = {one.name: one.summary for one in Registry(tmp_path).names("probes") if one.origin == "project"}
    assert summaries == {"binary": "", "documented": "Only the module speaks.", "fine": "A probe.", "torn": ""}


def test_the_class_named_after_the_file_speaks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "plugins" / "probes" / "two_words.py"
    path.parent.mkdir(parents=True)
    path.write_text('class Base:\n    """The base."""\nclass TwoWords(Base):\n    """The one."""\n')
    assert one(Registry(tmp_path).names("probes"), "two_words").summary == "The one."


def test_the_project_ends_at_its_root(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    deep = tmp_path / "inner" / "studies"
    deep.mkdir(parents=True)
    assert project_of(deep) == tmp_path
    (tmp_path / "inner" / "pyproject.toml").touch()
    assert project_of(deep) is None
    (deep / "plugins").mkdir()
    assert project_of(deep) == deep


def test_a_source_has_a_hash(tmp_path: Path) -> None:
    from hashlib import sha256

    path = write(tmp_path / "plugins" / "probes" / "mine.py")
    assert Registry(tmp_path).find("probes", "mine").sha256 == sha256(path.read_bytes()).hexdigest()


def test_listing_imports_no_component_nor_anything_heavy() -> None:
    script = """
        import sys
        from studyrun.registry import Registry
        registry = Registry()
        assert all(listing.summary for kind in registry.kinds() for listing in registry.names(kind))
        heavy = {"torch", "scipy", "matplotlib", "numpy", "pydantic", "h5py"} & set(sys.modules)
        assert not heavy, heavy
        assert not [name for name in sys.modules if name.startswith("studyrun.components")]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_loading_imports_only_the_named_file(tmp_path: Path) -> None:
    write(tmp_path / "plugins" / "probes" / "mine.py")
    (tmp_path / "plugins" / "probes" / "bomb.py").write_text("raise SystemExit('imported')")
    assert Registry(tmp_path).load("probes", "mine").__name__ == "Mine"
