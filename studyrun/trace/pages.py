"""A file as h5py takes it in place of a path, whose changes stay in memory until they are committed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from studyrun.trace.journal import PAGE, Journal, commit


class PagedFile(io.RawIOBase):
    """What is on the disk, with changed pages over it. A journal's pages show the file as its commit leaves it."""

    def __init__(self, path: Path, descriptor: int, journal: Journal | None = None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._valid = os.fstat(descriptor).st_size  # how much of what is on the disk still counts
        self._size = self._valid if journal is None else journal.size
        self._pages = {} if journal is None else {index: bytearray(page) for index, page in journal.pages.items()}
        self._position = 0
        self._dirty = False

    def readable(self) -> bool:
        """Bytes can be read."""
        return True

    def writable(self) -> bool:
        """Bytes can be written, in memory at first."""
        return True

    def seekable(self) -> bool:
        """There is a position."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, and return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = offset + origin[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the changed pages, else from the disk; what was never written is zero."""
        view = memoryview(buffer).cast("B")
        self._read_disk(view, self._position)
        for index, within, part in _cut(self._position, len(view)):
            if index in self._pages:
                view[part] = self._pages[index][within]
        self._position += len(view)
        return len(view)

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Change pages in memory."""
        view = memoryview(data).cast("B")
        for index, within, part in _cut(self._position, len(view)):
            self._page(index)[within] = view[part]
        self._position += len(view)
        self._size = max(self._size, self._position)
        self._dirty = True
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Make the file end at `size`."""
        size = self._position if size is None else size
        self._dirty = self._dirty or size != self._size
        self._size, self._valid = size, min(self._valid, size)
        self._pages = {index: page for index, page in self._pages.items() if index * PAGE < size}
        return size

    @property
    def waiting(self) -> int:
        """How many bytes a commit would write; 0 where nothing has changed."""
        return max(1, len(self._pages) * PAGE) if self._dirty else 0

    def commit(self) -> None:
        """Bring the changes to the disk, all or none. Raises `OSError` if that fails; they are kept to try again."""
        if self._dirty:
            commit(self.path, self._descriptor, self._pages, self._size)
            self._pages, self._valid, self._dirty = {}, self._size, False

    def close(self) -> None:
        """Forget what was not committed, and close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _page(self, index: int) -> bytearray:
        if index not in self._pages:
            self._pages[index] = bytearray(PAGE)
            self._read_disk(memoryview(self._pages[index]), index * PAGE)
        return self._pages[index]

    def _read_disk(self, view: memoryview, start: int) -> None:
        wanted = max(0, min(len(view), self._valid - start))
        data = os.pread(self._descriptor, wanted, start) if wanted else b""
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))


def _cut(start: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """A stretch of the file page by page: the page's index, the places within it, and those within the stretch."""
    done = 0
    while done < length:
        index, offset = divmod(start + done, PAGE)
        part = min(PAGE - offset, length - done)
        yield index, slice(offset, offset + part), slice(done, done + part)
        done += part
