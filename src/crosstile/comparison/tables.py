"""A comparison in the terminal: one line for each set of arrays, and what the knobs bring."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from crosstile.comparison.result import Comparison, DesignResult, gains
from crosstile.units import format_quantity


def share_text(share: float) -> str:
    """Return a share of rows such as 1/4."""
    inverse = 1 / share
    return f"1/{inverse:.0f}" if share < 1 and abs(inverse - round(inverse)) < 1e-9 else f"{share:g}"


def accuracy_with_interval(one: DesignResult) -> str:
    """Return the accuracy and the half width of its interval, in per cent."""
    half = 50 * (one.ci95[1] - one.ci95[0])
    return f"{100 * one.accuracy:.1f} ±{half:.1f}"


def grouped(result: Comparison) -> list[dict[str, DesignResult]]:
    """Return the designs of the same arrays together, by their references."""
    groups: dict[tuple[object, ...], dict[str, DesignResult]] = {}
    for one in result.designs:
        groups.setdefault((one.device, one.rows, one.cell_bits, one.active_share), {})[one.references] = one
    return list(groups.values())


def design_tables(result: Comparison) -> tuple[Table, Table]:
    """Return accuracy and cost, and errors of sums; one line for all references of the same arrays."""
    kinds = list(dict.fromkeys(one.references for one in result.designs))
    title = Text(
        f"Accuracy in per cent: {result.model.name} on {result.data.samples} samples of {result.data.name}, "
        f"{result.trials} chips; digital {100 * result.digital:.1f}, quantised {100 * result.quantised:.1f}"
    )
    accuracy, errors = _table(title), _table(Text("Wrong codes in per cent, and sense margin"))
    for table in (accuracy, errors):
        table.add_column("device", no_wrap=True)
        for name in ("rows", "b", "act"):
            table.add_column(name, justify="right", no_wrap=True)
        for kind in kinds:
            table.add_column(kind, justify="right", no_wrap=True)
    for table, names in ((accuracy, ("energy", "latency")), (errors, ("margin\nsteps", "area"))):
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
    for group in grouped(result):
        one = next(iter(group.values()))
        arrays = (Text(one.device), str(one.rows), str(one.cell_bits), share_text(one.active_share))
        accuracy.add_row(
            *arrays, *(accuracy_with_interval(group[kind]).replace(" ", "") if kind in group else "-" for kind in kinds),
            format_quantity(one.energy_j, "J", 3), format_quantity(one.latency_s, "s", 3),
        )  # fmt: skip
        errors.add_row(
            *arrays, *(f"{100 * group[kind].wrong_codes:.3g}" if kind in group else "-" for kind in kinds),
            "-" if one.margin_steps is None else f"{one.margin_steps:.2f}",
            format_quantity(one.area_m2, "m2", 3),
        )  # fmt: skip
    return accuracy, errors


def _table(title: Text) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def gain_table(result: Comparison) -> Table:
    """Return the most that each knob brings to each device."""
    table = _table(Text("The most that a knob brings, in points"))
    for name in ("device", "knob"):
        table.add_column(name)
    for name in ("gain", "from %", "to %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("where")
    for gain in gains(result):
        b, a = gain.before, gain.after
        where = f"{b.rows} rows, {b.cell_bits} b"
        if b.references == a.references:
            where += f", {b.references}, {share_text(a.active_share)} of the rows"
        else:
            where += f", {share_text(b.active_share)} of the rows"
        table.add_row(
            Text(gain.device), gain.knob, f"{100 * gain.gain:+.2f}", f"{100 * b.accuracy:.1f}",
            f"{100 * a.accuracy:.1f}", where,
        )  # fmt: skip
    return table
