"""kill -9 at random moments: what is left opens, goes on, and ends as if nothing had been."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from crash.harness import EVERY, PARTS, STUDIES, Server, assert_same_runs, last_steps


def kill_and_resume(
    server: Server, study: Path, whole: Path, folder: Path, chance: random.Random, kills: int
) -> Counter[str]:
    """Kill the run, and what resumes it, `kills` times at random moments, then let it end; the phases killed in."""
    length = json.loads((whole / "status.json").read_text())["seconds"]
    phases: Counter[str] = Counter()
    while True:
        before, marked = last_steps(folder), _events(folder)
        kill = [(signal.SIGKILL, _moment(chance, folder, length))] if phases.total() < kills else []
        ended = server.carry_out(*next_command(study, folder), signals=kill)
        _assert_little_was_lost(folder, before, marked)
        if ended["code"] != -9:
            assert ended["code"] == 0, server.said
            break
        phases[ended["phase"]] += 1
    assert_same_runs(whole, folder)
    return phases


def _moment(chance: random.Random, folder: Path, length: float) -> float | str:
    """Mostly once the run has begun; at times while it starts; at times as a fork is written, which is short."""
    fork = folder / "checkpoints" / "fork-exit.pt"
    choice = chance.random()
    if choice < 0.1:
        return chance.uniform(0.0, 0.3)
    return str(fork) if choice < 0.2 and not fork.exists() else f"+{chance.uniform(0.0, length)}"


def next_command(study: Path, folder: Path) -> tuple[str, ...]:
    """Go on with what is there. A run that was killed before its study was written has recorded nothing."""
    if (folder / "study.yaml").exists():
        return ("resume", str(folder))
    for path in folder.iterdir() if folder.exists() else ():
        assert path.name == "run.lock" or path.name.endswith(".tmp"), path
        path.unlink()
    if folder.exists():
        folder.rmdir()
    return ("run", str(study), "--out", str(folder))


def _events(folder: Path) -> int:
    path = folder / "events.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def _assert_little_was_lost(folder: Path, before: dict[str, int], marked: int) -> None:
    """Each arm went on at a step no further back than the checkpoints lie apart from its last row."""
    path = folder / "events.jsonl"
    for line in path.read_text().splitlines()[marked:] if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "arm" and event["arm"] in before:
            assert event["step"] >= before[event["arm"]] - EVERY
            return


@pytest.mark.parametrize("name", STUDIES)
def test_killed_at_random_moments_it_ends_bit_for_bit(server: Server, whole, tmp_path: Path, name: str) -> None:
    study = whole[name].with_name(f"{name}.yaml")
    kill_and_resume(server, study, whole[name], tmp_path / "run", random.Random(name), kills=6)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_two_hundred_kills_lose_nothing(server: Server, whole, tmp_path: Path, part: int) -> None:
    chance, phases, trials = random.Random(part), Counter[str](), 0
    while phases.total() < 200 // len(PARTS):
        name = chance.choice(list(STUDIES))
        folder = tmp_path / f"run{trials}"
        study = whole[name].with_name(f"{name}.yaml")
        phases += kill_and_resume(server, study, whole[name], folder, chance, kills=chance.randint(1, 8))
        trials += 1
    (tmp_path / "phases.json").write_text(json.dumps({"kills": phases.total(), "runs": trials, **phases}))
    assert {"training", "probing", "writing the trace"} <= set(phases)
