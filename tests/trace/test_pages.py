"""A file in pages behaves as a file: the same bytes after the same calls, before and after a commit."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studyrun.trace.pages import PagedFile

places = st.integers(0, 12_000)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), places, st.integers(1, 9000)),
        st.tuples(st.just("read"), places, st.integers(0, 9000)),
        st.tuples(st.just("truncate"), places, st.just(0)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), operations)
def test_it_is_a_file(first, calls):
    """Against BytesIO; a file that is cut and grows again holds what HDF5 never reads, so it is filled at once."""
    content = os.urandom(first)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        truth, pages = io.BytesIO(content), PagedFile(path, os.open(path, os.O_RDWR))
        for call, place, length in calls:
            apply(truth, pages, call, place, length)
        whole = truth.getvalue()
        assert pages.seek(0, os.SEEK_END) == len(whole)
        pages.seek(0)
        assert pages.read(len(whole)) == whole
        pages.commit()
        assert pages.waiting == 0
        assert path.read_bytes() == whole
        pages.close()


def apply(truth, pages, call, place, length):
    end = len(truth.getvalue())
    if call == "write":
        start = min(place, end)
        data = os.urandom(length)
        for file in (truth, pages):
            file.seek(start)
            file.write(data)
    elif call == "read":
        start = min(place, end)
        length = min(length, end - start)
        truth.seek(start)
        pages.seek(start)
        assert pages.read(length) == truth.read(length)
        assert pages.tell() == start + length
    elif call == "truncate":
        for file in (truth, pages):
            file.truncate(min(place, end))
    else:
        pages.commit()


def test_nothing_is_on_the_disk_before_the_commit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    pages = PagedFile(path, os.open(path, os.O_RDWR))
    pages.write(b"new and longer")
    assert (path.read_bytes(), pages.waiting) == (b"old", 4096)
    pages.commit()
    assert path.read_bytes() == b"new and longer"
    pages.seek(0)
    pages.write(b"forgotten")
    pages.close()
    assert path.read_bytes() == b"new and longer"


def test_truncating_alone_is_committed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    pages = PagedFile(path, os.open(path, os.O_RDWR))
    pages.truncate(5000)
    assert pages.waiting > 0
    pages.commit()
    assert path.stat().st_size == 5000


@pytest.mark.parametrize(("whence", "expected"), [(os.SEEK_SET, 2), (os.SEEK_CUR, 6), (os.SEEK_END, 12)])
def test_seek_counts_from_where_it_is_told(tmp_path, whence, expected):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    with PagedFile(path, os.open(path, os.O_RDONLY)) as pages:
        pages.seek(4)
        assert pages.seek(2, whence) == expected
        assert (pages.readable(), pages.writable(), pages.seekable()) == (True, True, True)
