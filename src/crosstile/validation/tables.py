"""The validation as tables of at most 80 columns, and one macro in full."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from crosstile.validation.calibrate import median
from crosstile.validation.silicon import Published, Silicon
from crosstile.validation.study import Row, Validation


def number(value: float) -> str:
    """Return a figure with three digits, whole from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def percent(error: float | None) -> str:
    """Return a signed error in whole per cent."""
    return "-" if error is None else f"{100 * error:+.0f}%"


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _mark(value: float, provenance: str | None) -> str:
    return number(value) + ("*" if provenance == "second-hand" else " ")


def efficiency_table(result: Validation) -> Table:
    """Return TOPS/W: published, ours, the error, and what one constant a class makes of it."""
    table = _table(
        "TOPS/W (* second-hand)", ["macro"], ["nm", "kind", "published", "ours", "error", "calibrated", "left out"]
    )
    for row, found in zip(result.rows, result.calibrated, strict=True):
        mark = "" if found.left_out_from == "class" else "!"
        table.add_row(
            row.name, f"{row.node_m * 1e9:.0f}", row.kind, _mark(row.tops_per_w_published, row.tops_per_w_provenance),
            number(row.tops_per_w), percent(row.error), percent(found.error_calibrated),
            percent(found.error_left_out) + mark,
        )  # fmt: skip
    return table


def density_table(result: Validation) -> Table:
    """Return TOPS/mm2 of the macros that publish it, or an area."""
    table = _table("TOPS/mm2 (* second-hand)", ["macro"], ["nm", "kind", "published", "ours", "error"])
    for row in result.rows:
        if row.tops_per_mm2_published is not None:
            table.add_row(
                row.name, f"{row.node_m * 1e9:.0f}", row.kind,
                _mark(row.tops_per_mm2_published, row.tops_per_mm2_provenance), number(row.tops_per_mm2),
                percent(row.density_error),
            )  # fmt: skip
    return table


def speed_table(result: Validation) -> Table | None:
    """Return TOPS of the macros whose clock is not an input; ``None`` when there is none."""
    table = _table("TOPS, clock predicted", ["macro"], ["published", "ours", "error"])
    for row in result.rows:
        if not row.clock_given and row.tops_published is not None:
            table.add_row(
                row.name, number(row.tops_published), number(row.tops), percent(row.tops / row.tops_published - 1)
            )
    return table if table.row_count else None


def class_table(result: Validation) -> Table:
    """Return the constant of each class, with the medians of the errors."""
    table = _table("Classes", ["class"], ["macros", "constant", "error", "calibrated", "left out"])
    for name, constant in result.constants.items():
        members = [found for found in result.calibrated if found.group == name]
        left_out = [abs(found.error_left_out) for found in members if found.error_left_out is not None]
        table.add_row(
            name, str(len(members)), f"{constant:.3g}", f"{100 * median([abs(f.error) for f in members]):.0f}%",
            f"{100 * median([abs(f.error_calibrated) for f in members]):.0f}%",
            f"{100 * median(left_out):.0f}%" if left_out else "-",
        )  # fmt: skip
    return table


def summary(result: Validation) -> list[str]:
    """Return the medians in sentences."""

    def both(efficiency: float | None, energy: float | None) -> str:
        if efficiency is None or energy is None:
            return "cannot be had from one macro"
        return f"{100 * efficiency:.0f}% in TOPS/W, {100 * energy:.0f}% in energy"

    lines = [
        f"Median |error| of {len(result.rows)} macros, uncalibrated: {both(result.median_error, result.median_energy_error)}.",
        f"Ours over published: geometric mean {result.bias:.2f}, geometric standard deviation {result.spread:.2f}; "
        f"{result.within_twice} of {len(result.rows)} within a factor of two.",
        f"Calibrated with {len(result.constants)} constants, one a class, each macro among those it is fitted to: "
        f"{both(result.median_error_calibrated, result.median_energy_error_calibrated)}. This is no prediction.",
        "Each macro left out of its class's constant: "
        f"{both(result.median_error_left_out, result.median_energy_error_left_out)}.",
    ]
    if any(found.left_out_from == "all" for found in result.calibrated):
        lines.append("! The only macro of its class: left out, its constant is that of all the others.")
    if result.median_density_error is not None:
        counted = sum(row.density_error is not None for row in result.rows)
        lines.append(f"TOPS/mm2, {counted} macros, never calibrated: {100 * result.median_density_error:.0f}%.")
    return lines


def macro_lines(macro: Silicon, row: Row) -> list[str]:
    """Return one macro in full: what is published of it and where, what our energy is made of, what is assumed."""
    figures = [(key, figure) for key, figure in macro.published if isinstance(figure, Published)]
    lines = [
        f"{key}: {figure.value:g} ({figure.conditions}; {figure.provenance}: {figure.source})"
        for key, figure in figures
    ]
    shares = ", ".join(f"{name} {100 * share:.0f}%" for name, share in row.energy_share.items())
    lines.append(f"ours: {number(row.tops_per_w)} TOPS/W, {number(row.tops_per_mm2)} TOPS/mm2, {number(row.tops)} TOPS")
    lines.append(f"energy by component: {shares}")
    for name, figure in macro.published.energy_share.items():
        lines.append(
            f"published of {name}: {100 * figure.value:.0f}% ({figure.conditions}; {figure.provenance}: {figure.source})"
        )
    return [*lines, *(f"assumed: {text}" for text in macro.assumed)]
