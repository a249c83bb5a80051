"""Changes to a file that reach the disk all together or not at all.

HDF5 overwrites what it wrote before: a process that dies, or a disk that fills up, in the middle of that leaves a file
that nothing can read. So HDF5 writes into pages in memory, and `commit` brings them to the disk in three steps:

1. what lies beyond the old end is appended; nothing in the file points there yet;
2. the pages that change inside the old file go to a journal beside it, under a checksum;
3. they are written into the file, and the journal is removed.

Dying in step 1 or 2 leaves the old file. Dying in step 3 leaves a journal, from which `recover` finishes the step, and
through which a reader sees the new file already.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from studyrun.errors import TraceError
from studyrun.trace.atomic import sync_folder

PAGE = 4096
Pages = Mapping[int, bytes | bytearray]

_MAGIC = b"studyrun journal 1\n"
_HEADER = struct.Struct("<QQ")  # the size of the file, the number of pages
_INDEX = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_RUN = 256  # pages that go to the disk in one call
_SLACK = 2**26  # bytes that HDF5 may have reserved at the end without writing them


class Journal(NamedTuple):
    """The pages that a commit changes inside the old file, and the size of the file after it."""

    size: int
    pages: Pages


def journal_of(path: Path) -> Path:
    """Where the journal of a file lies, while there is one."""
    return path.with_name(path.name + ".journal")


def commit(path: Path, descriptor: int, pages: Pages, size: int) -> None:
    """Make the open file `size` bytes long with these pages changed.

    Raises `OSError` if that fails. Then either the old file stands, or the new one does by its journal.
    """
    end = os.fstat(descriptor).st_size
    inside = {index: page for index, page in pages.items() if index * PAGE < end}
    beyond = {index: page for index, page in pages.items() if index not in inside}
    try:
        _write_pages(descriptor, beyond)
        os.fsync(descriptor)
        _write_journal(path, Journal(size, inside))
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise
    _apply(path, descriptor, Journal(size, inside))


def recover(path: Path) -> None:
    """Finish the commit that a process died in, if there is one."""
    journal = read_journal(path)
    if journal is None:
        journal_of(path).unlink(missing_ok=True)
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        _apply(path, descriptor, journal)
    finally:
        os.close(descriptor)


def read_journal(path: Path) -> Journal | None:
    """The journal beside a file, None if there is no complete one.

    Raises `TraceError` if it is complete and cannot be of this file: nothing of it is to be believed, or written.
    """
    try:
        with journal_of(path).open("rb") as file:
            content = file.read((longest := _longest(path)) + 1)
    except FileNotFoundError:
        return None
    if len(content) > longest:
        raise TraceError(f"{journal_of(path)} is longer than a journal of {path.name} can be")
    body, checksum = content[: -_CHECKSUM.size], content[-_CHECKSUM.size :]
    if not body.startswith(_MAGIC) or checksum != _CHECKSUM.pack(zlib.crc32(body)):
        return None
    start, stride = len(_MAGIC) + _HEADER.size, _INDEX.size + PAGE
    size, count = _HEADER.unpack_from(body.ljust(start), len(_MAGIC))
    if len(body) != start + count * stride:
        raise TraceError(f"{journal_of(path)} says that it holds {count:,} pages, and has another length")
    places = range(start, len(body), stride)
    pages = {_INDEX.unpack_from(body, at)[0]: body[at + _INDEX.size : at + stride] for at in places}
    _check_reach(path, Journal(size, pages))
    return Journal(size, pages)


def _longest(path: Path) -> int:
    """How long a journal can be: it holds pages of the file as it is, each at most once."""
    pages = -(-os.stat(path).st_size // PAGE)
    return len(_MAGIC) + _HEADER.size + pages * (_INDEX.size + PAGE) + _CHECKSUM.size


def _check_reach(path: Path, journal: Journal) -> None:
    """A commit appends before it writes its journal, so that this changes only what is there already."""
    end = os.stat(path).st_size
    if any(index * PAGE >= end for index in journal.pages) or journal.size > end + _SLACK:
        raise TraceError(
            f"{journal_of(path)} reaches beyond the end of {path.name}; it is not the journal of this file"
        )


def _write_journal(path: Path, journal: Journal) -> None:
    """Write the journal under another name first, so that one of its own name is always complete."""
    entries = (_INDEX.pack(index) + page for index, page in journal.pages.items())
    body = _MAGIC + _HEADER.pack(journal.size, len(journal.pages)) + b"".join(entries)
    draft = journal_of(path).with_suffix(".draft")
    try:
        with draft.open("wb") as file:
            file.write(body + _CHECKSUM.pack(zlib.crc32(body)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(journal_of(path))
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _apply(path: Path, descriptor: int, journal: Journal) -> None:
    _write_pages(descriptor, journal.pages)
    os.ftruncate(descriptor, journal.size)
    os.fsync(descriptor)
    journal_of(path).unlink()


def _write_pages(descriptor: int, pages: Pages) -> None:
    for first, run in _runs(pages):
        rest, at = memoryview(run), first * PAGE
        while rest:  # a nearly full disk takes a part, and refuses the next
            written = os.pwrite(descriptor, rest, at)
            rest, at = rest[written:], at + written


def _runs(pages: Pages) -> Iterator[tuple[int, bytes]]:
    """Neighbouring pages together: the index of the first, and their bytes."""
    first, run = 0, list[bytes | bytearray]()
    for index in sorted(pages):
        if run and (index != first + len(run) or len(run) == _RUN):
            yield first, b"".join(run)
            run = []
        first = first if run else index
        run.append(pages[index])
    if run:
        yield first, b"".join(run)
