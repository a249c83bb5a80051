"""What a study's own components consist of: their files, those that they imported, and the packages behind these."""

from __future__ import annotations

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path
from types import ModuleType

from studyrun.code.ledger import code_of, imported_by
from studyrun.code.places import ROOT_IN_RECORD, place_in_record, roots
from studyrun.registry import DRAWN, Listing

_PYTHON = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_FOREIGN = {"site-packages", "dist-packages", "node_modules"}
_seen: dict[Path, tuple[ModuleSpec | None, bytes]] = {}


@dataclass(frozen=True)
class Source:
    """A file of code: where a run folder's `plugins/` keeps it, where it lay, and the bytes that were run."""

    place: str
    path: Path
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return sha256(self.content).hexdigest()


def sources_of(listings: Iterable[Listing]) -> list[Source]:
    """The files of these components, and every file of people's own that they have come to import, each once."""
    own = [listing for listing in listings if listing.origin != "built-in"]
    components = [_component(listing) for listing in own]
    found = [*components, *imported_sources(own)]
    if own:
        found += _installed_in_place(own, found)
    by_file: dict[tuple[Path, bytes], Source] = {}
    for one in found:
        by_file.setdefault((one.path, one.content), one)
    return _apart(list(by_file.values()), {one.place for one in components})


def imported_sources(listings: Iterable[Listing]) -> list[Source]:
    """The files of these components and what people's own code in them has come to import."""
    codes = imported_by(listing.module for listing in listings)
    return [Source(place, code.path, code.content) for code in codes if (place := place_in_record(code.path))]


def drawn_alone(listings: Sequence[Listing], sources: Iterable[Source]) -> list[str]:
    """The places of what figures and claims alone consist of."""
    needed = {one.path for one in sources_of(listing for listing in listings if listing.kind not in DRAWN)}
    return [one.place for one in sources if one.path not in needed]


def packages_of(listings: Iterable[Listing], sources: Iterable[Source]) -> dict[str, str]:
    """The installed packages that these components come from or import, by their names, with their versions."""
    heads = {*_heads(sources), *(_package(listing) for listing in listings if listing.target)}
    names = {name for head in heads for name in _distributions(head)}
    return {name: version(name) for name in sorted(names)}


def _component(listing: Listing) -> Source:
    code = code_of(listing.module)
    content = code.content if code is not None else listing.source.encode()
    return Source(f"{listing.kind}/{listing.name}.py", listing.path, content)


def _package(listing: Listing) -> str:
    """The outermost package of an entry point."""
    return re.split("[.:]", listing.target)[0].strip()


def _heads(sources: Iterable[Source]) -> set[str]:
    """The first parts of what these files import, as far as it has been imported by an ordinary name."""
    found = set()
    for one in sources:
        try:
            nodes = list(ast.walk(ast.parse(one.content)))
        except (SyntaxError, ValueError):
            continue  # a compiled file
        found |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    heads = {name.partition(".")[0] for name in found} - {*sys.stdlib_module_names, "studyrun"}
    return {head for head in heads if head in sys.modules}


@lru_cache(maxsize=1000)
def _distributions(head: str) -> tuple[str, ...]:
    """The installed packages that a module comes from: mostly one of its own name, and else a longer search."""
    try:
        return (distribution(head).name,)
    except (PackageNotFoundError, ValueError):
        return tuple(_all_distributions().get(head, ()))


@lru_cache(maxsize=1)
def _all_distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _installed_in_place(listings: Sequence[Listing], sources: Sequence[Source]) -> Iterator[Source]:
    """Files that Python imported by their ordinary names, and that no version tells apart.

    These lie below a project's root, belong to the package of an entry point, or to no installed package at all.
    """
    packages = {_package(listing) for listing in listings if listing.target}
    packages |= {head for head in _heads(sources) if not _distributions(head)}
    folders = {Path(os.path.abspath(listing.path.parents[1])) for listing in listings if not listing.target}
    inside = tuple(f"{top}{os.sep}" for folder in folders for top in (folder, roots.get(folder, folder)))
    for name, module in list(sys.modules.items()):
        head, file = name.partition(".")[0], getattr(module, "__file__", None)
        if not isinstance(file, str) or not (file.startswith(inside) or head in packages):
            continue  # of some thousand modules nearly every one
        if head in ("studyrun", "__main__") or code_of(name) is not None:
            continue
        path = Path(file)
        place = place_in_record(path)
        if place is None and head in packages:
            place = "/".join((ROOT_IN_RECORD, *path.parts[-_depth(name, path) :]))
        if place is not None and not _is_foreign(path) and (content := _first_seen(module, path)) is not None:
            yield Source(place, path, content)


def _depth(name: str, path: Path) -> int:
    """How many parts of a module's path belong to its name."""
    return name.count(".") + (2 if path.stem == "__init__" else 1)


def _is_foreign(path: Path) -> bool:
    """Whether a file belongs to Python, or to what was installed into it, wherever that lies."""
    return not _FOREIGN.isdisjoint(path.parts) or any(path.is_relative_to(one) for one in _PYTHON)


def _first_seen(module: ModuleType, path: Path) -> bytes | None:
    """The file as it was when it was first looked at since its import; it may be another by now."""
    spec = getattr(module, "__spec__", None)
    known = _seen.get(path)
    if known is None or known[0] is not spec:
        try:
            known = _seen[path] = (spec, path.read_bytes())
        except OSError:
            return None
    return known[1]


def _apart(sources: Sequence[Source], components: Container[str]) -> list[Source]:
    """Namesakes of different contents, from different folders of plugins, in places of their own: `_1/...`, `_2/...`.

    None of them keeps the plain place, so that nothing that runs from the record could take one for another.
    """
    contents: dict[str, list[bytes]] = {}
    for one in sources:
        known = contents.setdefault(one.place, [])
        if one.content not in known:
            known.append(one.content)
    found = []
    for one in sources:
        number = contents[one.place].index(one.content) + 1
        alone = len(contents[one.place]) == 1 or (number == 1 and one.place in components)
        found.append(one if alone else replace(one, place=f"_{number}/{one.place}"))
    return found
