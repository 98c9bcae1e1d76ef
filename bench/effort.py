"""Pure: how much to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """``rounds``: turns of each contestant. ``quick``: a look, not a measurement."""

    rounds: int
    quick: bool

    @property
    def load_seconds(self) -> int:
        """Of one turn under load."""
        return 1 if self.quick else 2

    @property
    def samples(self) -> int:
        """Of a thing that is done one at a time, such as an activation."""
        return 10 if self.quick else 15 * self.rounds

    @property
    def idle_seconds(self) -> float:
        """Of one turn of doing nothing."""
        return 5.0 if self.quick else 12.0

    @property
    def thrash_requests(self) -> int:
        """Of one turn with many more models than fit, where each may take a second."""
        return 300 if self.quick else 3000

    @property
    def thrash_rounds(self) -> int:
        """Such a turn takes a minute."""
        return 1 if self.quick else min(3, self.rounds)
