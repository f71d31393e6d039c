"""The wires of a crossbar, as a circuit: what lies between a voltage source, a cell and ground.

    V_i -(driver + word segment)- w[i,0] -(word segment)- w[i,1] - ... - w[i,N-1]          word line i, open at its end
    w[i,j] -(cell g_ij)- b[i,j]                                                            cell
    b[0,j] -(bit segment)- b[1,j] - ... - b[M-1,j] -(bit segment + sense)- 0 V             bit line j, open at its top

Node w[i,j] lies on word line i above cell (i, j), node b[i,j] below it on bit line j. The output I_j is the current
that bit line j delivers into ground (a virtual ground of a sense amplifier).

Topologies:

``standard``            as above: driven before column 0, sensed below row M-1.
``same_side``           sensed above row 0 instead: cell (0, 0) lies next to both the driver and the sense amplifier.
``driven_both_sides``   the same voltage is applied behind column N-1, too, by a driver and segment of its own.
``sensed_both_sides``   bit lines are grounded at both ends, each behind segment and sense; I_j is the sum of both.
``source_line``         1T1R read through source lines that run along the word lines (gates all on): the source line is the
                        driven row wire, so ``word_line_ohm`` is its resistance and the network is the standard one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from crosstile.errors import UsageError

Topology = Literal["standard", "same_side", "driven_both_sides", "sensed_both_sides", "source_line"]
TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)


@dataclass(frozen=True)
class Wires:
    """Resistances of a crossbar's wires in ohms; 0 (an ideal wire) and infinity (a broken one) are exact.

    Raises:
        UsageError: a resistance is negative or NaN, or the topology is not known.
    """

    word_line_ohm: float
    """One segment of a word line, from a cell to the next, and from the driver to the first cell."""
    bit_line_ohm: float
    """One segment of a bit line, from a cell to the next, and from the last cell to the sense amplifier."""
    driver_ohm: float = 0.0
    """Output resistance of a word-line driver."""
    sense_ohm: float = 0.0
    """Input resistance of a sense amplifier."""
    topology: Topology = "standard"

    def __post_init__(self) -> None:
        for name in ("word_line_ohm", "bit_line_ohm", "driver_ohm", "sense_ohm"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value < 0:
                raise UsageError(
                    f"{name}: a resistance of 0 ohm or more (infinity is allowed) is wanted, found {value!r}."
                )
            object.__setattr__(self, name, float(value))
        if self.topology not in TOPOLOGIES:
            raise UsageError(f"topology: {self.topology!r} is not known; allowed are {', '.join(TOPOLOGIES)}.")

    @property
    def ideal(self) -> bool:
        """True when nothing has resistance: the effective conductance is the cells' own."""
        return self.word_line_ohm == self.bit_line_ohm == self.driver_ohm == self.sense_ohm == 0.0
