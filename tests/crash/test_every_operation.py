"""Death at a chosen operation on the file system, a write being left half done: one after another, not by chance."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from crash.harness import COMMON, PARTS, STUDIES, Server, assert_same_runs, last_steps
from crash.test_kill import next_command

SELDOM = 1e9
"""Seconds between writes of how a run stands: else how many operations there are would depend on the clock."""
SHORT = COMMON.replace("steps: 60", "steps: 14").replace("step: 20", "step: 4").replace("step: 40", "step: 9")
SHORT = SHORT.replace("step: 33", "step: 6").replace("every: 15, seconds: 0.2, keep: 30", "every: 3, keep: 6")


@pytest.fixture(scope="module")
def short(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A study of a second, what it leaves, and how many operations it takes."""
    folder = tmp_path_factory.mktemp("short")
    study = folder / "short.yaml"
    study.write_text(SHORT + STUDIES["momentum"])
    done = server.carry_out("run", str(study), "--out", str(folder / "whole"), status=SELDOM)
    assert done["code"] == 0, server.said
    return study, folder / "whole", done["operations"]


def die_at(server: Server, study: Path, whole: Path, folder: Path, operation: int) -> str:
    """Die there, resume, and hold the outcome against the whole run's; the phase it died in."""
    ended = server.carry_out("run", str(study), "--out", str(folder), operation=operation, status=SELDOM)
    assert ended["code"] == -9, server.said
    last_steps(folder)  # whatever is there can be read
    done = server.carry_out(*next_command(study, folder))
    assert done["code"] == 0, f"operation {operation}: {server.said}"
    assert_same_runs(whole, folder)
    left = [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", ".draft", ".journal", ".lock"))]
    assert not left
    return str(ended["phase"])


def test_death_at_any_of_some_operations_loses_nothing(server: Server, short, tmp_path: Path) -> None:
    study, whole, operations = short
    assert operations > 200
    chance = random.Random(1)
    for operation in sorted(chance.sample(range(1, operations + 1), 6)):
        die_at(server, study, whole, tmp_path / f"run{operation}", operation)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_death_at_every_single_operation_loses_nothing(server: Server, short, tmp_path: Path, part: int) -> None:
    study, whole, operations = short
    phases: Counter[str] = Counter()
    for operation in range(1 + part, operations + 1, len(PARTS)):
        phases[die_at(server, study, whole, tmp_path / f"run{operation}", operation)] += 1
    (tmp_path / "phases.json").write_text(json.dumps({"operations": operations, **phases}))
    assert {"forking", "checkpointing", "writing the trace", "writing status and events"} <= set(phases)


def test_death_while_resuming_is_one_more_death(server: Server, short, tmp_path: Path) -> None:
    study, whole, operations = short
    folder, chance = tmp_path / "run", random.Random(2)
    ended = server.carry_out("run", str(study), "--out", str(folder), operation=operations // 3, status=SELDOM)
    assert ended["code"] == -9
    for _ in range(4):
        ended = server.carry_out(*next_command(study, folder), operation=chance.randint(1, operations // 4))
        assert ended["code"] == -9
    assert server.carry_out(*next_command(study, folder))["code"] == 0, server.said
    assert_same_runs(whole, folder)


@pytest.mark.parametrize("there", [True, False], ids=["over an older report", "the first report"])
def test_a_report_that_dies_leaves_the_older_one_or_none_and_touches_nothing_else(
    server: Server, short, tmp_path: Path, there: bool
) -> None:
    """Both renames of the swap, and a sample of everything before, by their operations."""
    folder = tmp_path / "run"
    study = short[0].with_name("drawn.yaml")
    study.write_text(short[0].read_text() + "figures: [loss]\n")
    assert server.carry_out("run", str(study), "--out", str(folder))["code"] == 0
    record = _hashes(folder)
    operations = server.carry_out("report", str(folder))["operations"]
    page = (folder / "report" / "index.html").read_bytes()
    if not there:
        shutil.rmtree(folder / "report")
    for operation in [random.Random(3).randrange(1, operations - 6), *range(operations - 4, operations)]:
        ended = server.carry_out("report", str(folder), operation=operation)
        assert (ended["code"], ended["phase"]) in ((-9, "reporting"), (-9, "ending"), (0, ended["phase"]))
        assert _hashes(folder) == record
    assert server.carry_out("report", str(folder))["code"] == 0, server.said
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert (folder / "report" / "index.html").read_bytes() == page


def _hashes(folder: Path) -> dict[str, str]:
    """What was recorded, the report left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and "report" not in str(path.relative_to(folder))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
