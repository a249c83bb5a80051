"""SIGINT, SIGTERM, SIGUSR1 at any moment: once, a checkpoint and an exit of 130; twice, an end at once; no loss."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
from crash.harness import COMMON, PARTS, STUDIES, Server, assert_same_runs
from crash.test_kill import next_command

from studyrun.trace.reader import open_run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ENDLESS = '''\
"""A probe of minutes."""

from pathlib import Path
from time import sleep

from studyrun.plugin import Channel, Probe


class Endless(Probe):
    """Waits at step 8 while there is a file of the name `endless`."""

    def channels(self, context):
        """One number."""
        return (Channel("nothing", long_name="nothing", symbol="0", units="1"),)

    def measure(self, snapshot, carry):
        """Wait."""
        while snapshot.step == 8 and Path("HERE/endless").exists():
            Path("HERE/waiting").touch()
            sleep(0.01)
        return {"nothing": 0.0}, carry
'''
LETTERS = '''\
"""Letters without end."""

from pathlib import Path

from studyrun.plugin import Figure


class Letters(Figure):
    """Measures one text after another until somebody interrupts it."""

    def draw(self, ensemble, canvas):
        (panel,) = canvas.axes()
        for count in range(10**9):
            text = panel.text(0.5, 0.5, f"letter {count}")
            text.get_window_extent(canvas.figure.canvas.get_renderer())
            text.remove()
            if count == 20:
                Path("HERE/waiting").touch()
'''


def stop_and_resume(
    server: Server, study: Path, whole: Path, folder: Path, signals: list[tuple[int, float | str]]
) -> int:
    """Carry it out, send the signals, resume, hold it against the whole run; the first command's exit code."""
    ended = server.carry_out("run", str(study), "--out", str(folder), signals=signals)
    begun = (folder / "study.yaml").exists()
    assert ended["code"] in (0, 130) or (ended["code"] in (-s for s in SIGNALS) and not begun), server.said
    if ended["code"] == 130 and begun:
        status = folder / "status.json"  # which comes after the study
        assert not status.exists() or json.loads(status.read_text())["state"] == "interrupted"
        assert f"next: studyrun resume {folder}" in server.said
        assert "Traceback" not in server.said
    if ended["code"] != 0:
        assert server.carry_out(*next_command(study, folder))["code"] == 0, server.said
    assert_same_runs(whole, folder)
    return int(ended["code"])


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("times", [1, 2])
def test_stopped_at_a_random_moment_it_ends_bit_for_bit(
    server: Server, whole, tmp_path: Path, number: signal.Signals, times: int
) -> None:
    chance = random.Random(number * 10 + times)
    length = json.loads((whole["momentum"] / "status.json").read_text())["seconds"]
    signals = [(number, chance.uniform(0.1, 0.8) * length), (number, chance.uniform(0.0, 0.02))][:times]
    stop_and_resume(server, whole["momentum"].with_name("momentum.yaml"), whole["momentum"], tmp_path / "run", signals)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_two_hundred_stops_lose_nothing(server: Server, whole, tmp_path: Path, part: int) -> None:
    chance, codes = random.Random(4 + part), []
    for trial in range(200 // len(PARTS)):
        name = chance.choice(list(STUDIES))
        length = json.loads((whole[name] / "status.json").read_text())["seconds"]
        later = [(chance.choice(SIGNALS), chance.uniform(0.0, 0.05)) for _ in range(chance.randrange(4))]
        signals = [(chance.choice(SIGNALS), chance.uniform(0.0, length)), *later]
        study = whole[name].with_name(f"{name}.yaml")
        codes.append(stop_and_resume(server, study, whole[name], tmp_path / f"run{trial}", signals))
    (tmp_path / "codes.json").write_text(json.dumps({str(code): codes.count(code) for code in set(codes)}))
    assert codes.count(130) > 100 // len(PARTS)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_in_a_probe_of_minutes_the_second_request_stops_at_once(
    server: Server, tmp_path: Path, second: signal.Signals
) -> None:
    plugin = tmp_path / "plugins" / "probes" / "endless.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(ENDLESS.replace("HERE", str(tmp_path)))
    study, folder, whole = tmp_path / "study.yaml", tmp_path / "run", tmp_path / "whole"
    study.write_text(COMMON.replace("steps: 60", "steps: 12").partition("branches:")[0] + STUDIES["momentum"])
    study.write_text(study.read_text().replace("  - loss\n", "  - loss\n  - endless\n"))
    assert server.carry_out("run", str(study), "--out", str(whole))["code"] == 0, server.said
    (tmp_path / "endless").touch()
    signals = [(signal.SIGUSR1, str(tmp_path / "waiting")), (signal.SIGUSR1, 0.1), (second, 0.2), (second, 0.2)]
    ended = server.carry_out("run", str(study), "--out", str(folder), signals=signals)
    assert ended["code"] == 130, server.said
    assert len(open_run(folder)["baseline"]["loss"].step) == 9
    assert "stopping after this step, with a checkpoint; once more to stop at once" in server.said
    (tmp_path / "endless").unlink()
    assert server.carry_out("resume", str(folder))["code"] == 0, server.said
    assert_same_runs(whole, folder)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_report_that_is_stopped_leaves_the_older_one(server: Server, tmp_path: Path, number: signal.Signals) -> None:
    """The request arrives in matplotlib's text, which often makes an error of its own of it."""
    folder, figure, study = tmp_path / "run", tmp_path / "plugins" / "figures" / "letters.py", tmp_path / "study.yaml"
    figure.parent.mkdir(parents=True)
    figure.write_text(LETTERS.replace("HERE", str(tmp_path)))
    study.write_text(COMMON.replace("steps: 60", "steps: 8").partition("branches:")[0] + STUDIES["momentum"])
    study.write_text(study.read_text() + "figures: [letters]\n")
    assert server.carry_out("run", str(study), "--out", str(folder))["code"] == 0, server.said
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("the older one")
    ended = server.carry_out("report", str(folder), signals=[(number, str(tmp_path / "waiting"))])
    assert ended["code"] == 130, server.said
    assert f"interrupted; {folder / 'report'} is as it was before" in server.said
    assert "Traceback" not in server.said
    assert (folder / "report" / "index.html").read_text() == "the older one"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
