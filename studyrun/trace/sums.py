"""Sums over the texts of a trace, which HDF5 keeps in a heap that has none."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import h5py
import numpy as np

TEXTS = "crc32"
"""The attribute that sums an object's text attributes."""
LABELS = "labels_crc32"
"""The attribute that sums the labels of a dimension, where they are texts."""
HIDDEN = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", TEXTS, LABELS)
"""Attributes that say nothing of what was measured."""


def crc_of(texts: Mapping[str, str] | Mapping[int, str]) -> np.int64:
    """CRC-32 of names and texts, each followed by a NUL, in the order of the names."""
    parts = (f"{name}\0{text}\0" for name, text in sorted(texts.items()))
    return np.int64(zlib.crc32("".join(parts).encode("utf-8", "surrogateescape")))


def texts_of(target: h5py.Group | h5py.Dataset) -> dict[str, str]:
    """The text attributes of a group or dataset, by name."""
    values = {name: target.attrs[name] for name in target.attrs if name not in HIDDEN}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def hold(target: h5py.Group | h5py.Dataset, sum_name: str, texts: Mapping[str, str] | Mapping[int, str]) -> None:
    """Raise `ValueError` where the texts are not those that were summed; without a sum (format 1) all pass."""
    written = target.attrs.get(sum_name)
    if written is not None and written != crc_of(texts):
        what = "labels" if sum_name == LABELS else "text attributes"
        raise ValueError(f"the {what} of {target.name} do not have the checksum that they were written with")
