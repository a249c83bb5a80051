from __future__ import annotations

from studyrun.plugin import Canvas, Ensemble, Figure


class Panel(Figure):
    """One panel."""

    rows: int = 1

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        raise NotImplementedError
