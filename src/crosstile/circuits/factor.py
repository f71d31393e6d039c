"""A crossbar's elimination, carried out and kept: what the kernels are called with, in which order.

A batch of arrays of one shape is worked on form by form (see :mod:`crosstile.circuits.dissection`), tiles and fronts side
by side on the threads of this process. BLAS is kept to one thread meanwhile, so that results do not depend on how
many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from crosstile.circuits import elimination, substitution
from crosstile.circuits.dissection import Block, Dissection, Structure, dissect
from crosstile.circuits.wires import Wires
from crosstile.parallel import in_chunks

FloatArray = npt.NDArray[np.float64]
_NONE3, _NONE4 = np.empty((0, 0, 0)), np.empty((0, 0, 0, 0))


def branch_conductances(wires: Wires) -> FloatArray:
    """Return (5,) siemens of each kind of branch: 0 for cells (given one by one) and for wires without resistance."""
    word, bit = wires.word_line_ohm, wires.bit_line_ohm
    ohms = (0.0, word, word + wires.driver_ohm, bit, bit + wires.sense_ohm)
    return np.array([1.0 / ohm if ohm > 0 else 0.0 for ohm in ohms])


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


class _OneBlasThread:
    """Keeps BLAS to one thread while anyone here is at work: they call it side by side."""

    def __init__(self) -> None:
        self.lock, self.users, self.limit = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        import scipy.linalg  # noqa: F401  the BLAS that compiled code calls; loaded before its threads are limited

        with self.lock:
            if self.users == 0:
                self.limit.enter_context(_threads().limit(limits=1, user_api="blas"))
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.limit.close()


one_blas_thread = _OneBlasThread()


def _side_by_side(units: int, work: Callable[[int, int], object], multiple: int = 1) -> None:
    in_chunks(units, lambda part: work(part.start, part.stop), size=max(multiple, 256), multiple=multiple)


@dataclass
class Factor:
    """The elimination of (arrays, rows, columns) cells.

    Sources and grounds are the network's fixed nodes. ``factors`` and ``inverses`` hold, for each form, f_ka and 1 / s_k;
    they are empty unless kept.
    """

    order: Dissection
    arrays: int
    coupling: FloatArray
    """(arrays, rows, columns) between each source and each ground: the effective conductance, siemens."""
    factors: list[FloatArray] = field(default_factory=list)
    inverses: list[FloatArray] = field(default_factory=list)

    @classmethod
    def of(cls, g_s: FloatArray, wires: Wires, *, keep: bool) -> Factor:
        """Eliminate every node of (arrays, rows, columns) cells; ``keep`` what voltages and derivatives need.

        The topology's mirror image (``same_side``) is the caller's business.
        """
        order = dissect(g_s.shape[1], g_s.shape[2], Structure.of(wires))
        constants, arrays = branch_conductances(wires), len(g_s)
        outs: list[FloatArray] = []
        factors: list[FloatArray] = []
        inverses: list[FloatArray] = []
        last_use = {child: n for n, block in enumerate(order.blocks) for child in block.children}
        with one_blas_thread:
            for number, block in enumerate(order.blocks):
                out, factor, inverse = _eliminate(block, g_s, constants, outs, keep=keep)
                outs.append(out)
                if keep:
                    factors.append(factor)
                    inverses.append(inverse)
                for child in set(block.children) - {-1}:
                    if last_use[child] == number:
                        outs[child] = _NONE4  # frees its memory
        ports = order.blocks[-1].ports
        coupling = outs[-1][:, 0, ports.free : ports.free + ports.sources, ports.free + ports.sources :]
        return cls(order, arrays, np.ascontiguousarray(coupling), factors, inverses)

    def voltages(
        self, sources: FloatArray, grounds: FloatArray, injected: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return voltages inside, and the currents that injected ones drive into the grounds.

        Args:
            sources, grounds: (arrays, rows, K) and (arrays, columns, K) volts. injected: (arrays, rows, columns, K)
            amperes taken from each word node and fed into the bit node below.

        Returns:
            word_v, bit_v (arrays, rows, columns, K) and currents (arrays, columns, K), without those of the sources.
        """
        count = sources.shape[2]
        fed: list[FloatArray] = [_NONE4] * len(self.order.blocks)
        reached = np.zeros((self.arrays, self.order.columns, count))
        with one_blas_thread:
            if injected is not None:
                fed, at_root = self._accumulate(injected)
                reached = at_root[:, 0, self.order.blocks[-1].ports.total - self.order.columns :]
            word_v = np.empty((self.arrays, self.order.rows, self.order.columns, count))
            bit_v = np.empty_like(word_v)
            ports = [
                np.empty((self.arrays, len(block.origin), block.ports.total, count)) for block in self.order.blocks
            ]
            ports[-1][:, 0] = np.concatenate([sources, grounds], axis=1)
            for number in reversed(range(len(self.order.blocks))):
                block, factor = self.order.blocks[number], self.factors[number]
                self._substitute(block, factor, fed[number], ports, number, word_v, bit_v)
                ports[number] = fed[number] = _NONE4
        return word_v, bit_v, reached

    def _substitute(
        self, block: Block, factor: FloatArray, fed: FloatArray, ports: list[FloatArray], number: int,
        word_v: FloatArray, bit_v: FloatArray,
    ) -> None:  # fmt: skip
        units, mine = self.arrays * len(block.origin), ports[number]
        if (p := block.program) is not None:
            _side_by_side(units, lambda low, high: substitution.substitute_tiles(
                low, high, p.start, p.neighbours, factor, fed, mine, block.origin, p.port_word, p.port_bit, word_v, bit_v,
            ))  # fmt: skip
            return
        left, right = (ports[child] for child in block.children)
        _side_by_side(units, lambda low, high: substitution.substitute_merges(
            low, high, factor, fed, mine, block.instance, *block.maps, left, right,
        ))  # fmt: skip

    def _accumulate(self, injected: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        fed: list[FloatArray] = []
        ports: list[FloatArray] = []
        for block, factor, inverse in zip(self.order.blocks, self.factors, self.inverses, strict=True):
            shape = self.arrays, len(block.origin)
            up = np.empty((*shape, block.ports.total, injected.shape[3]))
            kept = np.empty((*shape, block.pivots, injected.shape[3]))
            _accumulate(block, factor, inverse, injected, ports, kept, up)
            fed.append(kept)
            ports.append(up)
        return fed, ports[-1]

    def gradient(self, upstream: FloatArray) -> FloatArray:
        """Return (arrays, rows, columns) derivatives by the cells of sum(upstream * coupling)."""
        blocks = self.order.blocks
        root = blocks[-1].ports
        gradient = np.zeros((self.arrays, self.order.rows, self.order.columns))
        ports = [np.empty((self.arrays, len(b.origin), b.ports.total, b.ports.total)) for b in blocks]
        middle = root.sources
        ports[-1][:] = 0.0
        ports[-1][:, 0, :middle, middle:] = upstream
        ports[-1][:, 0, middle:, :middle] = upstream.swapaxes(1, 2)
        with one_blas_thread:
            for number in reversed(range(len(blocks))):
                _differentiate(blocks[number], self.factors[number], ports, number, gradient)
                ports[number] = _NONE4
        return gradient


def _eliminate(
    block: Block, g_s: FloatArray, constants: FloatArray, outs: list[FloatArray], *, keep: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    shape = len(g_s), len(block.origin)
    units, n = shape[0] * shape[1], block.pivots + block.ports.total
    out = np.empty((*shape, block.ports.total, block.ports.total))
    inverse = np.empty((*shape, block.pivots)) if keep else _NONE3
    if (p := block.program) is not None:
        factor = np.empty((*shape, len(p.slots))) if keep else _NONE3
        _side_by_side(units, lambda low, high: elimination.eliminate_tiles(
            low, high, g_s, constants, block.origin, p.branch_kind, p.branch_cell, p.branch_slot, p.slots_total, p.start,
            p.slots, p.pair_start, p.pairs, p.port_slots, out, factor, inverse,
        ), elimination.LANES)  # fmt: skip
        return out, factor, inverse
    factor = np.empty((*shape, block.pivots, n)) if keep else _NONE4
    left, right = (outs[child] for child in block.children)
    free_end = block.pivots + block.ports.free
    _side_by_side(units, lambda low, high: elimination.eliminate_merges(
        low, high, left, right, block.instance, *block.maps, block.pivots, free_end, free_end + block.ports.sources,
        out, factor, inverse,
    ))  # fmt: skip
    return out, factor, inverse


def _accumulate(
    block: Block, factor: FloatArray, inverse: FloatArray, injected: FloatArray, ports: list[FloatArray],
    kept: FloatArray, up: FloatArray,
) -> None:  # fmt: skip
    units = up.shape[0] * up.shape[1]
    if (p := block.program) is not None:
        _side_by_side(units, lambda low, high: substitution.accumulate_tiles(
            low, high, p.start, p.neighbours, factor, inverse, injected, block.origin, p.port_word, p.port_bit, kept, up,
        ))  # fmt: skip
        return
    left, right = (ports[child] for child in block.children)
    _side_by_side(units, lambda low, high: substitution.accumulate_merges(
        low, high, factor, inverse, left, right, block.instance, *block.maps, kept, up,
    ))  # fmt: skip


def _differentiate(
    block: Block, factor: FloatArray, ports: list[FloatArray], number: int, gradient: FloatArray
) -> None:
    units, mine = ports[number].shape[0] * ports[number].shape[1], ports[number]
    if (p := block.program) is not None:
        _side_by_side(units, lambda low, high: substitution.differentiate_tiles(
            low, high, p.slots_total, p.start, p.slots, p.pair_start, p.pairs, p.port_slots, factor, mine, block.origin,
            p.branch_kind, p.branch_cell, p.branch_slot, gradient,
        ))  # fmt: skip
        return
    left, right = (ports[child] for child in block.children)
    _side_by_side(units, lambda low, high: substitution.differentiate_merges(
        low, high, factor, mine, block.instance, *block.maps, left, right,
    ))  # fmt: skip
