"""A value that any recorded channel crosses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from studyrun.plugin import Carry, Channel, ComponentError, Context, Field, Firing, Moment, Trigger, model_validator


class Threshold(Trigger):
    """Fires when a recorded channel goes above or below a value.

    Checked at the steps at which its probe measures. A channel with further dimensions needs `select`, one label for
    each of them. A fork at a value of the curvature counts as the arm's onset t* of the edge of stability where this
    is the largest eigenvalue, `above`, at the very threshold of the arm's optimizer.
    """

    probe: str
    """The label of the probe."""
    channel: str
    """The channel."""
    above: float | None = None
    """Fire at values ≥ this."""
    below: float | None = None
    """Fire at values ≤ this."""
    select: dict[str, int | str] = {}
    """For each further dimension of the channel, the label to look at, as in `{group: inlier}`."""
    after_step: Annotated[int, Field(ge=0)] = 0
    """Only later than this step."""

    @model_validator(mode="after")
    def _one_side(self) -> Threshold:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of `above` and `below`")
        return self

    def watches(self) -> Sequence[str]:
        return (self.probe,)

    def check_context(self, context: Context, channels: Mapping[str, Mapping[str, Channel]]) -> None:
        known = channels[self.probe]
        if self.channel not in known:
            raise ComponentError(
                f"trigger threshold: probe {self.probe!r} records {', '.join(known)}, not {self.channel!r}"
            )
        self._place(known[self.channel])

    def _place(self, channel: Channel) -> tuple[int, ...]:
        """The index that `select` names in one reading of `channel`."""
        place = []
        for dim in channel.dims:
            labels: list[int | str] = list(dim.labels)
            if self.select.get(dim.name) not in labels:
                raise ComponentError(
                    f"trigger threshold: channel {self.channel!r} has the dimension {dim.name!r}; "
                    f"`select` must name one of {', '.join(map(str, labels[:12]))}"
                )
            place.append(labels.index(self.select[dim.name]))
        return tuple(place)

    def check(self, moment: Moment, carry: Carry) -> tuple[Firing | None, Carry]:
        reading = moment.reading(self.probe)
        if reading is None or moment.step <= self.after_step:
            return None, carry
        channel = moment.channels(self.probe)[self.channel]
        place = self._place(channel)
        value = float(reading[self.channel][place])
        edge, sign, fired = (
            (self.above, "≥", value >= self.above) if self.above is not None else (self.below, "≤", value <= self.below)  # type: ignore[operator]
        )
        seen = f"{self.probe}.{self.channel} = {value:.6g}"
        rose = self.above is not None and not any(place)
        quantity = channel.standard_name if rose else ""
        firing = Firing(value, float(edge or 0), f"{seen} {sign} {edge:.6g}", quantity)
        return (firing if fired else None), f"last {seen}"

    def unfired(self, carry: Carry) -> str:
        return carry or f"probe {self.probe!r} was never due after step {self.after_step}"
