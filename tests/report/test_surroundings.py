"""A report does not fail for its surroundings: backends, settings, folders and warnings of whoever calls for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = """
import sys, studyrun
from pathlib import Path
from studyrun.report import build_report
assert "matplotlib" not in sys.modules
print(build_report(Path({folder!r})).broken)
import os, matplotlib
print(os.environ["MPLBACKEND"], matplotlib.get_backend(auto_select=False))
"""
COMMAND = "import sys; sys.argv = ['studyrun', 'report', {folder!r}]; from studyrun.cli import main; main()"
NO_TEXT = b"font.family: Nope\n\xff\xfe is no text\n"
NONSENSE = b"font.family: Nope\ntext.usetex: True\nbackend: nonsense\nno.such.key: 3\n"


def carried_out(code: str, folder: Path, settings: bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder.parent / "matplotlibrc").write_bytes(settings)
    surroundings = {"MPLCONFIGDIR": "/proc/nowhere", "PYTHONWARNINGS": "error"} | environment
    return subprocess.run(
        [sys.executable, "-c", code.format(folder=str(folder))],
        cwd=folder.parent,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("backend", "settings"), [("module://nowhere.at_all", NO_TEXT), ("nonsense", NONSENSE)])
def test_a_command_draws_under_any_backend_and_any_settings(run_folder, backend: str, settings: bytes) -> None:
    folder = run_folder(branches=False, steps=20, study={"figures": ["loss"]})
    done = carried_out(COMMAND, folder, settings, MPLBACKEND=backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "report" / "figures" / "loss.png").is_file()


def test_so_does_python_and_what_was_asked_for_stays_asked_for(run_folder) -> None:
    folder = run_folder(branches=False, steps=20, study={"figures": ["loss"]})
    done = carried_out(PYTHON, folder, NONSENSE, MPLBACKEND="svg")
    assert done.stdout == "()\nsvg svg\n", done.stderr
    unknown = carried_out(PYTHON.replace("print(os", "print() #"), folder, NONSENSE, MPLBACKEND="nonsense")
    assert unknown.stdout == "()\n\n", unknown.stderr


def test_a_figure_that_changes_matplotlibs_settings_changes_no_other(run_folder, tmp_path, monkeypatch) -> None:
    from matplotlib import rcParams

    from studyrun.report import build_report

    own = tmp_path / "own" / "figures" / "dark.py"
    own.parent.mkdir(parents=True)
    own.write_text(DARK)
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(tmp_path / "own"))
    folder = run_folder(branches=False, steps=20, study={"figures": ["loss"]})
    build_report(folder)
    alone = (folder / "report" / "figures" / "loss.png").read_bytes()
    (folder / "study.yaml").write_text((folder / "study.yaml").read_text().replace("- loss\n", "- dark\n- loss\n"))
    size = rcParams["font.size"]
    result = build_report(folder)
    assert result.figures == ("dark", "loss")
    assert (folder / "report" / "figures" / "loss.png").read_bytes() == alone
    assert rcParams["font.size"] == size
    page = (folder / "report" / "index.html").read_text()
    assert "figure dark: UserWarning: look twice" in page
    assert "The font has no sign for 猫: boxes stand for them" in page


DARK = '''
import warnings
import matplotlib.style
from studyrun.plugin import Figure

class Dark(Figure):
    """A figure in a style of its own."""

    def draw(self, ensemble, canvas):
        matplotlib.style.use("dark_background")
        matplotlib.rcParams["font.size"] = 30
        (panel,) = canvas.axes()
        panel.plot([1, 2], [3, 4], label="猫")
        panel.set_title("猫")
        warnings.warn("look twice")
        return "dark"
'''
