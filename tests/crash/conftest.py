"""The server that kills, and the runs that nobody killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.harness import COMMON, STUDIES, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each study carried out by a process that nobody killed."""
    folder = tmp_path_factory.mktemp("whole")
    for name, optimizer in STUDIES.items():
        study = folder / f"{name}.yaml"
        study.write_text(COMMON + optimizer)
        done = server.carry_out("run", str(study), "--out", str(folder / name))
        assert done["code"] == 0, server.said
    return {name: folder / name for name in STUDIES}
