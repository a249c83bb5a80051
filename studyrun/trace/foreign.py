"""What a trace may not hold: whatever has HDF5 open, read or fill anything but the trace itself.

HDF5 follows a link into another file, reads and writes the values of a dataset wherever it says that they lie, and
allocates what a dataset claims to hold. Its dimension scales take an attribute's type for granted, and corrupt memory
where it is another. The writer makes none of that; a file that somebody else made may.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import h5py

from studyrun.errors import TraceError

LEAST = 2**26
MOST_PACKED = 1_200
"""Deflate packs a run of zeros into a thousandth."""


def check_own(path: Path, file: h5py.File) -> None:
    """Raise `TraceError` if anything in the open file leads out of it, or claims to be far more than it is."""
    found = file.id.links.visit(_of_link, info=True) or h5py.h5o.visit(file.id, _Objects(file), info=True)
    if found:
        raise TraceError(f"{path}: {found}; studyrun writes no such thing, and follows none")


def _of_link(name: bytes, link: Any) -> str | None:
    if link.type == h5py.h5l.TYPE_HARD:
        return None
    kind = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link into another file"}
    return f"{_shown(name)} is {kind.get(link.type, 'a link of an unknown type')}"


class _Objects:
    """Says of each object in turn what is wrong with it."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file

    def __call__(self, name: bytes, about: Any) -> str | None:
        if about.type == h5py.h5o.TYPE_GROUP:
            return None
        if about.type != h5py.h5o.TYPE_DATASET:
            return f"{_shown(name)} is neither a group nor a dataset"
        fault = _of_dataset(h5py.h5d.open(self.file.id, name))
        return f"{_shown(name)} {fault}" if fault else None


def _of_dataset(dataset: Any) -> str | None:
    plist = dataset.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        return "is put together from other files"
    if plist.get_external_count():
        return "keeps its values in another file"
    if odd := next((name for name, fits in _SCALES.items() if not _fits(dataset, name, fits)), None):
        return f"has an attribute {_shown(odd)} that is none of a dimension scale"
    chunk = prod(plist.get_chunk()) if plist.get_layout() == h5py.h5d.CHUNKED else 0
    claimed = max(chunk, dataset.get_space().get_simple_extent_npoints()) * dataset.get_type().get_size()
    stored = dataset.get_storage_size()
    if claimed > max(LEAST, MOST_PACKED * stored):
        return f"claims {claimed:,} bytes, of which the file holds {stored:,}"
    return None


def _is_list_of_references(kind: Any, shape: tuple[int, ...], dataset: Any) -> bool:
    references = isinstance(kind, h5py.h5t.TypeVlenID) and isinstance(kind.get_super(), h5py.h5t.TypeReferenceID)
    return references and shape == (dataset.rank,)


def _is_plain_text(kind: Any, shape: tuple[int, ...], dataset: Any) -> bool:
    return isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str() and shape == ()


_SCALES = {b"DIMENSION_LIST": _is_list_of_references, b"CLASS": _is_plain_text, b"NAME": _is_plain_text}


def _fits(dataset: Any, name: bytes, fits: Callable[[Any, tuple[int, ...], Any], bool]) -> bool:
    """Whether an attribute is what HDF5 takes it for, wherever there is one."""
    if not h5py.h5a.exists(dataset, name):
        return True
    attribute = h5py.h5a.open(dataset, name)
    return fits(attribute.get_type(), attribute.shape, dataset)


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
