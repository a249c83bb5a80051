from __future__ import annotations

from typing import Any

from studyrun.plugin import Carry, Firing, Moment, Trigger


class Soon(Trigger):
    """Fires after so many steps, whatever the probes say."""

    after: int = 3

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Any]:
        raise NotImplementedError
