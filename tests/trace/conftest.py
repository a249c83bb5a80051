"""What the tests of the trace share: a small writer, a full disk, and readers in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oracles.small_trace import small_writer

from studyrun.trace.writer import TraceWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.h5"


@pytest.fixture
def writer(path: Path) -> Iterator[TraceWriter]:
    made = small_writer(path)
    yield made
    made.close()


@pytest.fixture
def apart() -> Callable[[str], Any]:
    """Run code in another process with warnings as errors, and give back what it leaves in `result`."""

    def run(code: str) -> Any:
        script = f"import json, warnings\nwarnings.simplefilter('error')\n{code}\nprint(json.dumps(result))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("a small file system cannot be mounted here (that takes root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
