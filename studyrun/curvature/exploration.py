"""The search for what the pairs found may hide, by random vectors drawn once they are known."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import pad

from studyrun.curvature.explored import explored
from studyrun.curvature.gaussian import random_directions
from studyrun.curvature.search import Search
from studyrun.curvature.sounding import SPENT, Rest, Sounding, apart, margin


@dataclass
class Exploration(Search):
    """A search that can sound: set the pairs aside, draw a vector, and follow it until the doubt is small.

    Where an eigenvalue lies close below the pairs, it is converged and set aside with them, so that the gap is that
    below both. An eigenvalue that comes to light calls for another sounding, with what it is to be set aside.
    """

    accepted_doubt: float = 0.01
    _beside: int = 0
    """How many pairs beyond those wanted are set aside: 1 where one lies close."""
    _sounding: Sounding | None = None
    _level: float = inf
    _settled: float = inf

    @property
    def _tracked(self) -> int:
        beside = self._beside if self._sounding is None else 0
        return min(self.wanted + beside, self.space.size)

    def explore(self) -> bool:
        """Sound, and say whether this has to be repeated with what was found."""
        if self.space.full or self._left <= 0 or not bool(self.converged.all()):
            return False
        following = self.ritz.values[self.wanted :]
        if len(following) and self._crowds(float(following[0])):
            self._beside = 1
            self.run()
        self._settled = self._total
        if not self._sound():
            return False
        self.run()
        again = self._conclude()
        self._sounding = None
        return again

    def _sound(self) -> bool:
        """Set the pairs aside and draw a vector. False: there was no room for it."""
        drawn = random_directions(self.operator, 1, self.generator)
        if self._left <= 0 or not self._expand(drawn, 0.0):
            return False
        aside = pad(self.ritz.rotation[:, : self.wanted + self._beside], (0, 0, 0, 1))
        self._sounding = Sounding(aside, self.space.coordinates(drawn)[:, 0])
        self._best, self._idle, self.doubt, self.evidence = None, 0, inf, None
        return True

    def _look_further(self) -> bool:
        if self._sounding is None or self._surprised(rest := self._sounding.rest(self.space)):
            return False
        self._level = self._gap(rest)
        if self._level == -inf:
            ritz, residual = self.ritz, self.residual(self.wanted)
            self._level = float(ritz.values[self.wanted - 1]) + SPENT * margin(ritz, self.wanted, residual)
        self.doubt, direction = rest.doubt(self._level)
        return self.doubt > self.accepted_doubt and not self._stalled() and self._expand(direction, 0.0)

    def _conclude(self) -> bool:
        """Keep the evidence, or say that something came to light that calls for another sounding."""
        if self._sounding is None or self.space.full:
            return False
        rest = self._sounding.rest(self.space)
        if self._surprised(rest):
            self._beside |= self._crowds(rest.highest)
            self.doubt = inf
            return True
        if self.doubt < 1 and (level := self._gap(rest)) > -inf:
            self.evidence = explored(self._sounding, rest, level, self.doubt)
        return False

    def _gap(self, rest: Rest) -> float:
        assert self._sounding is not None
        held = self._sounding.held
        return rest.level(self.ritz, held, self.residual(held))

    def _surprised(self, rest: Rest) -> bool:
        """Whether the pairs are no longer those set aside, or one lies close that was not."""
        found = self._total - self._settled > margin(self.ritz, self.wanted, self.residual(self.wanted))
        return found or self._crowds(rest.highest)

    def _crowds(self, value: float) -> bool:
        """Whether this lies so close below the pairs that it ought to be set aside with them."""
        lowest = float(self.ritz.values[self.wanted - 1])
        return self.guard > 0 and not self._beside and value > lowest - apart(self.ritz, self.wanted)

    @property
    def _total(self) -> float:
        return float(self.ritz.values[: self.wanted].sum())

    def _kept(self) -> Tensor:
        kept: Tensor = super()._kept()
        if self._sounding is None:
            return kept
        kept = torch.linalg.qr(torch.cat([kept, self._sounding.keep(self.space, self._level)], dim=1)).Q
        self._sounding = self._sounding.restarted(self.space, kept)
        return kept
