"""A run followed by its files: each message once, half-written lines later, from where the following began."""

from __future__ import annotations

import json
from pathlib import Path

from studyrun.engine.events import Silent
from studyrun.launch.follow import Follower


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.moved: list[tuple[str, int, float]] = []

    def say(self, text: str, level: str = "info") -> None:
        self.said.append((text, level))

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        self.moved.append((arm, step, fraction))


def append(folder: Path, text: str) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write(text)


def line(message: str, level: str = "info") -> str:
    return json.dumps({"message": message, "level": level}) + "\n"


def test_messages_come_once_each_and_whole(tmp_path: Path) -> None:
    heard, half = Heard(), line("a fork")
    append(tmp_path, line("from before"))
    follower = Follower(tmp_path)
    append(tmp_path, line("it starts") + '{"event": "without words"}\n' + "no JSON\n" + half[:9])
    follower.poll(heard)
    assert heard.said == [("it starts", "info")]
    append(tmp_path, half[9:] + line("it diverged", "warning"))
    follower.poll(heard)
    follower.poll(heard)
    assert heard.said == [("it starts", "info"), ("a fork", "info"), ("it diverged", "warning")]


def test_a_running_arm_moves_and_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    heard, folder = Heard(), tmp_path / "later"
    follower = Follower(folder)
    follower.poll(heard)
    folder.mkdir()
    append(folder, line("here it is"))
    status = {"state": "running", "arm": "exit", "step": 40, "fraction": 0.4}
    (folder / "status.json").write_text(json.dumps(status))
    follower.poll(heard)
    (folder / "status.json").write_text(json.dumps({**status, "state": "complete"}))
    follower.poll(heard)
    assert heard.said == [("here it is", "info")]
    assert heard.moved == [("exit", 40, 0.4)]
