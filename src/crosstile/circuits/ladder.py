"""Two wires with a cell between them at every row: a column whose source line runs along its bit line.

    V -(driver + segment)- b[0] -(segment)- b[1] - ... - b[M-1]                 driven line, open at its end
    b[i] -(cell g_i)- s[i]                                                      cell and its transistor
    s[0] -(segment)- s[1] - ... - s[M-1] -(segment + sense)- 0 V                sensed line (or 0 V next to s[0])

Columns share nothing. From the first row to the last, what lies behind row i is known by the couplings among V, the
ground O, b[i] and s[i]; going on by a row adds two segments and eliminates b[i] and s[i], as in
:mod:`crosstile.circuits.elimination` without a subtraction. The work is linear in rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crosstile.circuits.elimination import jit


@jit
def _inverse(total: Any) -> Any:
    return 1.0 / total if total > 0.0 else 0.0


@jit
def solve_ladders(
    low: int, high: int, g: Any, transistor: Any, array: Any, read_v: float, drive: float, along_drive: float,
    sense: float, along_sense: float, same_side: bool, currents: Any, drive_v: Any, sense_v: Any,
) -> None:  # fmt: skip
    """Solve all columns for patterns ``low`` to ``high``.

    Args:
        g: (arrays, rows, columns) siemens. transistor: (patterns, rows) siemens in series. array: (patterns,) which array.
        drive, sense: conductance of the line's end including its first segment; along_drive, along_sense: of a segment;
        an infinite one joins its nodes. currents: (patterns, columns) amperes, written. drive_v, sense_v: (patterns,
        rows, columns) volts, written, or empty.
    """
    rows, columns = g.shape[1], g.shape[2]
    keep = drive_v.size > 0
    share_b, share_s = np.zeros((rows, 3)), np.zeros((rows, 3))
    b_is_v, s_is_o = np.isinf(drive), np.isinf(sense)
    for pattern in range(low, high):
        for column in range(columns):
            # couplings among source v, ground o, and the present nodes b and s
            vb, vs, ob, os, bs, vo = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            if not b_is_v:
                vb = drive
            if same_side and not s_is_o:
                os = sense
            for row in range(rows):
                cell, gate = g[array[pattern], row, column], transistor[pattern, row]
                if cell == 0.0 or gate == 0.0:
                    cell = 0.0
                elif not np.isinf(gate):
                    cell = cell * (gate / (cell + gate))
                if b_is_v and s_is_o:
                    vo += cell
                    continue
                if b_is_v:
                    vs += cell
                elif s_is_o:
                    ob += cell
                else:
                    bs += cell
                last = row == rows - 1
                if last and not same_side and not s_is_o:
                    os += sense
                # b's neighbours: v, o, s and the next b, by ``on``
                on = 0.0 if last else along_drive
                went, bt = False, 0.0
                if not b_is_v and (last or not np.isinf(on)):
                    part = _inverse(vb + ob + bs + on)
                    fv, fs, fn = vb * part, bs * part, on * part
                    share_b[row, 0], share_b[row, 1], share_b[row, 2] = fv, fs, fn
                    vo += fv * ob
                    vs += fv * bs
                    os += ob * fs
                    vb, ob, bt = fv * on, ob * fn, fs * on  # now of the next b; bt: it and the present s
                    went = True
                # s's neighbours: v, o, the present or next b (coupled by bt or bs), and the next s
                on = 0.0 if last else along_sense
                if not s_is_o and (last or not np.isinf(on)):
                    across = bt if went else bs
                    part = _inverse(vs + os + across + on)
                    fv, fb, fn = vs * part, across * part, on * part
                    share_s[row, 0], share_s[row, 1], share_s[row, 2] = fv, fb, fn
                    vo += fv * os
                    vb += fv * across
                    ob += os * fb
                    vs, os, bs = fv * on, os * fn, fb * on
                elif went:
                    bs = bt
            currents[pattern, column] = read_v * vo
            if not keep:
                continue
            b, s = 0.0, 0.0  # of the next row
            for row in range(rows - 1, -1, -1):
                last = row == rows - 1
                eliminated_b = not b_is_v and (last or not np.isinf(along_drive))
                eliminated_s = not s_is_o and (last or not np.isinf(along_sense))
                if s_is_o:
                    s = 0.0
                elif eliminated_s:
                    s = share_s[row, 0] * read_v + share_s[row, 1] * b + share_s[row, 2] * s
                if b_is_v:
                    b = read_v
                elif eliminated_b:
                    b = share_b[row, 0] * read_v + share_b[row, 1] * s + share_b[row, 2] * b
                drive_v[pattern, row, column], sense_v[pattern, row, column] = b, s
