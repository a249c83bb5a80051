"""Other processes, and what a run said."""

from __future__ import annotations

import json
import subprocess
import sys

from studyrun.engine.events import Silent


class Heard(Silent):
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, level: str = "info") -> None:
        self.lines.append(text)


class Sleeper:
    """A process that does nothing, until it is ended."""

    def __init__(self) -> None:
        code = "import json, sys, time; from studyrun.trace.process import identity; "
        code += "print(json.dumps(identity()), flush=True); time.sleep(120)"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.identity = json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
