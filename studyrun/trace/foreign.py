"""What a trace may not hold: whatever has HDF5 open, read or fill anything but the trace itself.

HDF5 follows a link into another file, reads and writes the values of a dataset wherever it says that they lie, and
allocates what a dataset claims to hold. The writer makes none of that; a file that somebody else made may.
"""

from __future__ import annotations

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
    chunk = prod(plist.get_chunk()) if plist.get_layout() == h5py.h5d.CHUNKED else 0
    claimed = max(chunk, dataset.get_space().get_simple_extent_npoints()) * dataset.get_type().get_size()
    stored = dataset.get_storage_size()
    if claimed > max(LEAST, MOST_PACKED * stored):
        return f"claims {claimed:,} bytes, of which the file holds {stored:,}"
    return None


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
