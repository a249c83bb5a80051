"""How a trace lies in HDF5: groups, dimension scales and attributes by netCDF-4's conventions, and back again.

`/<arm>/<probe>/<channel>`: each probe's group has its own `step` (unlimited) and `time`, and a dimension scale for
every other dimension of its channels. netCDF has no booleans and no half floats: `bool` lies as int8 with xarray's
attribute `dtype`, `float16` as float32, which holds it exactly, with the same attribute.

A bit that flips on the disk is found when it is read. HDF5 sums its own structures and, by the filter `fletcher32`, the
numbers; what it does not sum are texts, which lie in a heap of their own: they have `crc32` attributes (`sums.py`).
Format 1 had neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import prod
from typing import Any, get_args

import h5py
import numpy as np

from studyrun.trace import sums
from studyrun.trace.buffer import ProbeBuffer
from studyrun.trace.channel import Channel, Dimension, Dtype

FORMAT = 2
READABLE = (1, 2)
CONVENTIONS = "CF-1.11"
MARK = "study_mark"
EMPTY_FILE = ("v108", "v110")  # a later head of the file would be marked as open for as long as a writer lives
LIBRARY_VERSIONS = ("v110", "v110")  # the oldest that sums the index of chunks; any netCDF in use reads it
Attribute = str | int | float | bool

_ON_DISK = {"bool": "int8", "float16": "float32"}
_CHUNK_BYTES = 32_768
_CHUNK_ROWS = 1_024  # so that a short run does not allocate 32 kB for every scalar
_WIDE = 1_000  # values per step from which compression pays
_TEXT = h5py.string_dtype("utf-8")
_COORDINATES = ("step", "time")


def study_mark(attributes: Mapping[str, Any]) -> str:
    """What tells a run's states from another's: the hash of the study that it was begun with.

    A run that went on under a longer study keeps the mark of its first, which `MARK` then holds.
    """
    return str(attributes.get(MARK) or sha256(str(attributes.get("study", "")).encode()).hexdigest())


def unreadable(found: Any) -> str:
    """What to say of a trace whose format, `found`, is not among those that this version reads."""
    newer = ", made by a newer studyrun" if isinstance(found, int | np.integer) and found > FORMAT else ""
    return f"studyrun_format is {found}{newer}; this version reads {READABLE[0]} to {FORMAT}"


def set_attributes(target: h5py.Group | h5py.Dataset, attributes: Mapping[str, Attribute]) -> None:
    """Write attributes as netCDF can hold them: text in UTF-8, booleans as 0 and 1."""
    texts = {name: _storable(value) for name, value in attributes.items() if isinstance(value, str)}
    if texts:
        texts = sums.texts_of(target) | texts
        target.attrs[sums.TEXTS] = sums.crc_of(texts)
    for name, value in attributes.items():
        if isinstance(value, str):
            target.attrs[name] = texts[name]
        elif isinstance(value, bool | np.bool_):
            target.attrs[name] = np.int8(value)
        elif isinstance(value, int | np.integer):
            target.attrs[name] = np.int64(value)
        else:
            target.attrs[name] = np.float64(value)


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def chunk_rows(channel: Channel) -> int:
    """How many steps lie in one chunk: some tens of kilobytes, and at least one step."""
    row_bytes = prod(channel.shape) * np.dtype(_disk_dtype(channel)).itemsize
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // row_bytes))


def make_probe(group: h5py.Group, channels: Sequence[Channel]) -> None:
    """Lay out an empty probe: its scales, and each channel attached to them."""
    growing: dict[str, Any] = {"maxshape": (None,), "chunks": (_CHUNK_ROWS,), "fletcher32": True}
    step = group.create_dataset("step", (0,), "int64", **growing)
    step.make_scale("step")
    set_attributes(step, {"long_name": "training step", "units": "1"})
    time = group.create_dataset("time", (0,), "float64", **growing)
    time.dims[0].attach_scale(step)
    set_attributes(time, {"long_name": "effective time Σ η", "symbol": "Σ η", "units": "1"})
    for dimension in {dimension.name: dimension for channel in channels for dimension in channel.dims}.values():
        _make_scale(group, dimension)
    for channel in channels:
        _make_channel(group, channel)


def _make_scale(group: h5py.Group, dimension: Dimension) -> None:
    if isinstance(dimension.labels[0], str):
        scale = group.create_dataset(dimension.name, data=np.array(dimension.labels, dtype=object), dtype=_TEXT)
        scale.attrs[sums.LABELS] = sums.crc_of(dict(enumerate(map(str, dimension.labels))))
    else:
        data = np.array(dimension.labels, dtype="int64")
        scale = group.create_dataset(dimension.name, data=data, chunks=data.shape, fletcher32=True)
    scale.make_scale(dimension.name)
    set_attributes(scale, {"long_name": dimension.name.replace("_", " ")})


def _make_channel(group: h5py.Group, channel: Channel) -> None:
    compression = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    dataset = group.create_dataset(
        channel.name,
        (0, *channel.shape),
        _disk_dtype(channel),
        maxshape=(None, *channel.shape),
        chunks=(chunk_rows(channel), *channel.shape),
        fletcher32=True,
        **(compression if prod(channel.shape) > _WIDE else {}),
    )
    for axis, name in enumerate(("step", *(dimension.name for dimension in channel.dims))):
        dataset.dims[axis].attach_scale(group[name])
    attributes = {"long_name": channel.long_name, "symbol": channel.symbol, "units": channel.units}
    attributes |= {"source": channel.source, "coordinates": "time"}
    if channel.standard_name:
        attributes["standard_name"] = channel.standard_name
    if channel.nan:
        attributes["comment"] = channel.nan
    if channel.dtype in _ON_DISK:
        attributes["dtype"] = channel.dtype
    set_attributes(dataset, attributes)


def open_datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """What grows with every row: the channels, then `time`, and `step` last, which says how many rows count."""
    return {name: group[name] for name in (*channel_names(group), "time", "step")}


def write_rows(datasets: Mapping[str, h5py.Dataset], rows: int, buffer: ProbeBuffer) -> None:
    """Put the waiting rows after the first `rows`, dropping any beyond."""
    for name, dataset in datasets.items():
        slab = buffer.slab(name)
        dataset.resize(rows + len(slab), axis=0)
        if len(slab):
            dataset[rows:] = slab.astype(dataset.dtype, copy=False)


def channel_names(group: h5py.Group) -> list[str]:
    """The channels of a probe's group, in the order in which they were declared."""
    return [name for name, dataset in group.items() if name not in _COORDINATES and not dataset.is_scale]


def whole_rows(group: h5py.Group) -> int:
    """How many rows are complete in every channel."""
    return min(len(dataset) for dataset in open_datasets(group).values())


def dimension_names(dataset: h5py.Dataset) -> tuple[str, ...]:
    """The names of a channel's dimensions, `step` first."""
    group = dataset.parent
    return tuple(_name_of(axis[0], group) for axis in dataset.dims)


def _name_of(scale: h5py.Dataset, group: h5py.Group) -> str:
    """The name that a scale was given, if it is what has this name there.

    Where it lies HDF5 has to search the whole file for, at each call: 190 arms would take minutes to open.
    """
    given = h5py.h5ds.get_scale_name(scale.id).decode("utf-8", "replace")
    return given if given in group and group[given] == scale else str(scale.name).rsplit("/", 1)[-1]


def labels(scale: h5py.Dataset) -> tuple[int, ...] | tuple[str, ...]:
    """The labels along a dimension. Raises `ValueError` where they are not those that were written."""
    if h5py.check_string_dtype(scale.dtype) is not None:
        texts = tuple(str(text) for text in scale.asstr(errors="surrogateescape")[()])
        sums.hold(scale, sums.LABELS, dict(enumerate(texts)))
        return texts
    return tuple(int(number) for number in scale[()])


def recorded_dtype(dataset: h5py.Dataset) -> str:
    """The type in which a channel was recorded, which may differ from how it lies on disk."""
    return str(dataset.attrs.get("dtype", dataset.dtype.name))


def read_channel(dataset: h5py.Dataset) -> Channel:
    """The declaration that a dataset was made from."""
    names = dimension_names(dataset)[1:]
    dims = tuple(Dimension(name, labels(dataset.parent[name])) for name in names)
    texts: dict[str, Any] = {
        key: str(dataset.attrs.get(key, "")) for key in ("long_name", "symbol", "units", "source", "standard_name")
    }
    name, nan = dataset.name.rsplit("/", 1)[-1], str(dataset.attrs.get("comment", ""))
    return Channel(name=name, dims=dims, dtype=recorded_dtype(dataset), nan=nan, **texts)  # type: ignore[arg-type]


def disk_dtype(dtype: str) -> str | None:
    """The type in which one that is recorded lies on disk, None where no channel can be of such a type."""
    return _ON_DISK.get(dtype, dtype) if dtype in get_args(Dtype) else None


def _disk_dtype(channel: Channel) -> str:
    return _ON_DISK.get(channel.dtype, channel.dtype)
