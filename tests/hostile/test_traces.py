"""Traces and journals that somebody else made: they lead nowhere, and take no more than they are."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracles.small_trace import record, small_writer

from studyrun.errors import StudyrunError, TraceError
from studyrun.trace.file import read
from studyrun.trace.journal import PAGE, journal_of, read_journal, recover
from studyrun.trace.reader import Run, open_run
from studyrun.trace.writer import TraceWriter

SECRET = np.arange(8.0) + 0.25
Forge = Callable[[h5py.File, Path], None]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of one probe, in a run folder."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "trace.h5"
    with small_writer(path) as writer:
        record(writer, range(8))
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Files beside the run folder, of which nothing may be read or changed."""
    folder = tmp_path / "outside"
    folder.mkdir()
    with h5py.File(folder / "other.h5", "w") as file:
        file["train"] = SECRET
        file["loss/train"] = SECRET
    (folder / "raw").write_bytes(SECRET.tobytes())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def external_link(file: h5py.File, outside: Path) -> None:
    del file["baseline/loss/train"]
    file["baseline/loss/train"] = h5py.ExternalLink(str(outside / "other.h5"), "/train")


def external_group(file: h5py.File, outside: Path) -> None:
    file["other"] = h5py.ExternalLink(str(outside / "other.h5"), "/")


def soft_link(file: h5py.File, outside: Path) -> None:
    file["baseline/loss/again"] = h5py.SoftLink("/baseline/loss/train")


def external_storage(file: h5py.File, outside: Path) -> None:
    del file["baseline/loss/train"]
    raw = [(str(outside / "raw"), 0, h5py.h5f.UNLIMITED)]
    file["baseline/loss"].create_dataset("train", (8,), "float64", maxshape=(None,), external=raw)


def virtual_dataset(file: h5py.File, outside: Path) -> None:
    del file["baseline/loss/train"]
    layout = h5py.VirtualLayout((8,), "float64", maxshape=(None,))
    layout[:8] = h5py.VirtualSource(str(outside / "other.h5"), "train", (8,))
    file["baseline/loss"].create_virtual_dataset("train", layout)


def named_type(file: h5py.File, outside: Path) -> None:
    file["kind"] = np.dtype("float64")


def endless(file: h5py.File, outside: Path) -> None:
    """A tebibyte of rows that were never written."""
    for dataset in file["baseline/loss"].values():
        if dataset.maxshape[0] is None:
            dataset.resize(2**37, axis=0)


def one_huge_chunk(file: h5py.File, outside: Path) -> None:
    group = file["baseline/loss"]
    del group["train"]
    group.create_dataset("train", (8,), "float64", maxshape=(None,), chunks=(2**28,), compression="gzip")


def _attribute(name: str, value: Any) -> Forge:
    def change(file: h5py.File, outside: Path) -> None:
        file["baseline/loss/by_group"].attrs[name] = value

    return change


FORGERIES: dict[str, tuple[Forge, str]] = {
    "external link": (external_link, "'baseline/loss/train' is a link into another file"),
    "external group": (external_group, "'other' is a link into another file"),
    "soft link": (soft_link, "'baseline/loss/again' is a soft link"),
    "external storage": (external_storage, "'baseline/loss/train' keeps its values in another file"),
    "virtual dataset": (virtual_dataset, "'baseline/loss/train' is put together from other files"),
    "named type": (named_type, "'kind' is neither a group nor a dataset"),
    "endless rows": (endless, "claims [0-9,]{17,} bytes"),
    "one huge chunk": (one_huge_chunk, "claims 2,147,483,648 bytes"),
    # HDF5 1.14's dimension scales corrupt memory on these, and the process dies
    "a text for scales": (_attribute("DIMENSION_LIST", "x"), "'DIMENSION_LIST' that is none of a dimension scale"),
    "numbers for scales": (_attribute("DIMENSION_LIST", np.arange(2)), "'DIMENSION_LIST' that is none"),
    "a truth for scales": (_attribute("DIMENSION_LIST", np.bool_(True)), "'DIMENSION_LIST' that is none"),
    "a long class": (_attribute("CLASS", "DIMENSION_SCALE" * 99), "'CLASS' that is none of a dimension scale"),
}
LEADING_OUT = ("external link", "external storage", "virtual dataset")


def forge(trace: Path, outside: Path, change: Forge) -> None:
    with h5py.File(trace, "r+") as file:
        change(file, outside)


@pytest.mark.parametrize(("change", "words"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_trace_that_leads_elsewhere_is_neither_read_nor_written(
    trace: Path, outside: Path, change: Forge, words: str
) -> None:
    forge(trace, outside, change)
    before = trace.read_bytes()
    with pytest.raises(TraceError, match=words):
        open_run(trace.parent)
    with pytest.raises(TraceError, match=words):
        TraceWriter.resume(trace)
    assert trace.read_bytes() == before


@pytest.mark.parametrize("name", LEADING_OUT)
def test_the_forgeries_are_real_ones(trace: Path, outside: Path, name: str) -> None:
    """Whoever opens them without looking reads the secret."""
    forge(trace, outside, FORGERIES[name][0])
    with h5py.File(trace, "r") as file:
        assert file["baseline/loss/train"][:].tolist() == SECRET.tolist()


def test_a_trace_that_is_changed_after_it_was_opened_is_looked_at_again(trace: Path, outside: Path) -> None:
    run = open_run(trace.parent)
    assert isinstance(run, Run)
    forge(trace, outside, external_link)
    with pytest.raises(TraceError, match="is a link into another file"):
        _ = run["baseline"]["loss"]["train"].values


def test_an_honest_trace_is_read_and_goes_on(trace: Path) -> None:
    with TraceWriter.resume(trace) as writer:
        record(writer, range(8, 10))
    run = open_run(trace.parent)
    assert isinstance(run, Run)
    assert len(run["baseline"]["loss"]["train"].values) == 10


def test_what_packs_well_is_honest(tmp_path: Path) -> None:
    """Zeros shrink to a thousandth: Deflate's own limit, and the most that the look at a trace allows."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "trace.h5"
    with small_writer(path) as writer:
        record(writer, range(2))
    with h5py.File(path, "r+") as file:
        group = file["baseline/loss"]
        made = group.create_dataset("zero", (2, 2**24), "float64", chunks=(1, 2**17), compression="gzip", shuffle=True)
        made[:] = 0
        assert made.nbytes > 500 * made.id.get_storage_size()
    assert read(path, lambda file: sorted(file["baseline/loss"]))[-1] == "zero"


# --- journals -------------------------------------------------------------------------------------------------------


MAGIC = b"studyrun journal 1\n"


def sealed(size: int, pages: dict[int, bytes], count: int | None = None) -> bytes:
    """A journal as `journal.py` describes it, written by hand: whoever forges one gets its checksum right."""
    body = MAGIC + struct.pack("<QQ", size, len(pages) if count is None else count)
    body += b"".join(struct.pack("<Q", index) + page for index, page in pages.items())
    return body + struct.pack("<I", zlib.crc32(body))


OWN = b"\x89" * PAGE
JOURNALS = {
    "a page beyond the end": (sealed(2 * PAGE, {2**40: OWN}), "reaches beyond the end"),
    "a page at the end of the world": (sealed(2 * PAGE, {2**64 - 1: OWN}), "reaches beyond the end"),
    "a size of an exbibyte": (sealed(2**60, {0: OWN}), "reaches beyond the end"),
    "the largest size": (sealed(2**64 - 1, {}), "reaches beyond the end"),
    "more pages than it holds": (sealed(PAGE, {0: OWN}, count=2**63), "holds 9,223,372,036,854,775,808 pages"),
    "fewer pages than it holds": (sealed(PAGE, {0: OWN}, count=0), "holds 0 pages"),
    "half a page": (sealed(PAGE, {0: OWN[:100]}), "holds 1 pages"),
    "no header": (MAGIC + struct.pack("<I", zlib.crc32(MAGIC)), "has another length"),
    "too many pages": (sealed(PAGE, dict.fromkeys(range(5000), OWN)), "is longer than a journal of trace.h5 can be"),
}


@pytest.mark.parametrize(("content", "words"), JOURNALS.values(), ids=JOURNALS.keys())
def test_a_forged_journal_is_neither_believed_nor_carried_out(trace: Path, content: bytes, words: str) -> None:
    journal_of(trace).write_bytes(content)
    before = trace.read_bytes()
    with pytest.raises(TraceError, match=words):
        open_run(trace.parent)
    with pytest.raises(TraceError, match=words):
        recover(trace)
    with pytest.raises(StudyrunError, match=words):
        TraceWriter.resume(trace)
    assert trace.read_bytes() == before


def test_a_journal_of_a_tebibyte_is_not_read(trace: Path) -> None:
    """A hole costs nothing on the disk."""
    journal_of(trace).write_bytes(MAGIC)
    os.truncate(journal_of(trace), 2**40)
    tracemalloc.start()
    try:
        with pytest.raises(TraceError, match="is longer than a journal"):
            read_journal(trace)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * os.stat(trace).st_size + 2**20


FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, PAGE, 3 * PAGE])


@FUZZ
@given(NUMBERS, st.dictionaries(NUMBERS, st.binary(max_size=PAGE).map(lambda raw: raw.ljust(PAGE)), max_size=4))
@example(0, {})
def test_any_journal_leaves_a_trace_or_a_clean_error(trace: Path, size: int, pages: dict[int, bytes]) -> None:
    """It may damage the trace beside it, which came from the same hand, and nothing else."""
    honest = trace.read_bytes()
    try:
        journal_of(trace).write_bytes(sealed(size, pages))
        with suppress(StudyrunError):
            open_run(trace.parent)
        with suppress(StudyrunError):
            TraceWriter.resume(trace).close()
        assert os.stat(trace).st_size < len(honest) + 2**27
        assert {path.name for path in trace.parent.iterdir()} <= {"trace.h5", "trace.h5.journal"}
    finally:
        journal_of(trace).unlink(missing_ok=True)
        trace.write_bytes(honest)


# --- damage with method ---------------------------------------------------------------------------------------------

VALUES: list[Any] = ["", "x", "../../evil", -1, 2**63 - 1, float("nan"), np.arange(3), b"\xff", np.bool_(True)]


@FUZZ
@given(
    st.sampled_from(["/", "/baseline", "/baseline/loss", "/baseline/loss/train", "/baseline/loss/step"]),
    st.sampled_from(["studyrun_format", "parent", "fork_step", "state", "dtype", "DIMENSION_LIST", "CLASS", "title"]),
    st.sampled_from(range(len(VALUES))),
)
@example("/baseline/loss/train", "dtype", 2)
def test_odd_attributes_are_read_or_a_clean_error(trace: Path, place: str, name: str, value: int) -> None:
    honest = trace.read_bytes()
    try:
        with h5py.File(trace, "r+") as file:
            file[place].attrs[name] = VALUES[value]
        with suppress(StudyrunError):
            run = open_run(trace.parent)
            assert isinstance(run, Run)
            for arm in run.arms.values():
                for probe in arm.probes.values():
                    _ = [channel.values for channel in probe.channels.values()], probe.step, probe.time
        with suppress(StudyrunError):
            TraceWriter.resume(trace).close()
    finally:
        trace.write_bytes(honest)


ODD_THINGS: dict[str, Callable[[h5py.Group], Any]] = {
    "a group for a channel": lambda group: group.create_group("odd"),
    "a scalar": lambda group: group.create_dataset("odd", data=1.0),
    "an opaque": lambda group: group.create_dataset("odd", data=np.void(b"abc")),
    "a table": lambda group: group.create_dataset("odd", data=np.zeros(3, [("a", "f8"), ("b", "S3")])),
    "a reference": lambda group: group.create_dataset("odd", data=[group.ref], dtype=h5py.ref_dtype),
    "an object": lambda group: group.create_dataset("odd", data=["a", "b"], dtype=h5py.string_dtype()),
    "nothing at all": lambda group: group.create_dataset("odd", data=h5py.Empty("f8")),
    "ragged": lambda group: group.create_dataset("odd", (2,), h5py.vlen_dtype("f8")),
    "itself": lambda group: group.__setitem__("odd", group),
    "an enum": lambda group: group.create_dataset("odd", data=[1], dtype=h5py.enum_dtype({"a": 1})),
}


@pytest.mark.parametrize("make", ODD_THINGS.values(), ids=ODD_THINGS.keys())
@pytest.mark.parametrize("where", ["/", "/baseline", "/baseline/loss"])
def test_odd_contents_are_read_or_a_clean_error(trace: Path, make: Callable[[h5py.Group], Any], where: str) -> None:
    with h5py.File(trace, "r+") as file:
        make(file[where])
    with suppress(StudyrunError):
        run = open_run(trace.parent)
        assert isinstance(run, Run)
        for arm in run.arms.values():
            for probe in arm.probes.values():
                _ = [channel.values for channel in probe.channels.values()]
    with suppress(StudyrunError):
        TraceWriter.resume(trace).close()
