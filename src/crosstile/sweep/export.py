"""Results of a sweep as Python objects, tables, CSV and Parquet."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstile.errors import CrosstileError, UsageError
from crosstile.files import write_all
from crosstile.sweep.plan import command
from crosstile.sweep.store import RECORDS, read_study, scan

if TYPE_CHECKING:
    from pandas import DataFrame

_FIRST = ("id", "variant", "measure", "chip_number", "seed", "status")


@dataclass(frozen=True)
class Sweep:
    """A sweep that was read back."""

    study: dict[str, Any]
    records: tuple[dict[str, Any], ...]
    """The last record of each trial, in the order of the study: variant, measure, chip."""
    torn: int
    """Damaged lines that were passed over."""

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row a trial: what it is, what was changed (by path), its figures (SI units), its error."""
        paths = _ordered(record["changes"] for record in self.records)
        names = _ordered(record["values"] for record in self.records)
        rows = []
        for record in self.records:
            row = {key: record[key] for key in _FIRST}
            row |= {path: record["changes"].get(path) for path in paths}
            row |= {name: record["values"].get(name) for name in names}
            row |= {"seconds": record["ran"]["seconds"], "host": record["ran"]["host"], "error": record["error"]}
            rows.append(row)
        return rows

    def frame(self) -> DataFrame:
        """Return :meth:`rows` as a data frame; needs pandas (``pip install 'crosstile[tables]'``)."""
        try:
            import pandas
        except ImportError:
            raise _missing("a data frame", "pandas") from None
        return pandas.DataFrame(self.rows())

    def variants(self) -> list[dict[str, Any]]:
        """Return one row a variant: changes, figures of cost, mean accuracy over its chips, how many trials failed."""
        found: dict[int, dict[str, Any]] = {}
        for record in self.records:
            row = found.setdefault(
                record["variant"], {"variant": record["variant"], "changes": record["changes"], "failed": 0}
            )
            row["failed"] += record["status"] == "failed"
            if record["measure"] == "cost":
                row |= record["values"]
            elif record["status"] == "done":
                row.setdefault("accuracies", []).append(record["values"]["accuracy"])
        for row in found.values():
            if "accuracies" in row:
                accuracies = row.pop("accuracies")
                row["accuracy"], row["chips"] = round(sum(accuracies) / len(accuracies), 12), len(accuracies)
        return [found[number] for number in sorted(found)]

    def find(self, name: str) -> dict[str, Any]:
        """Return the record of a trial by its id or the beginning of it."""
        found = [record for record in self.records if record["id"].startswith(name)]
        if len(found) != 1:
            what = "no trial" if not found else f"{len(found)} trials"
            raise UsageError(
                f"{what} of this sweep has an id that begins with {name!r}; see the column id of its table."
            )
        return found[0]


def load_sweep(directory: str | Path) -> Sweep:
    """Read a sweep, also while it runs.

    Raises:
        UsageError: the folder holds no sweep.
        OutputError: it cannot be read.
    """
    directory = Path(directory)
    study = read_study(directory)
    found: dict[str, dict[str, Any]] = {}
    torn = 0
    with _no_collector():
        for _, _, record in scan(directory / RECORDS):
            if record is None:
                torn += 1
            else:
                found[record["id"]] = record
    order = {"cost": 0, "accuracy": 1}
    records = sorted(found.values(), key=lambda r: (r["variant"], order[r["measure"]], r["chip_number"]))
    return Sweep(study, tuple(records), torn)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Pause the search for cycles, of which JSON has none: among ever more records it takes longer than reading them."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def export_csv(sweep: Sweep, path: Path) -> None:
    """Write :meth:`Sweep.rows` as CSV; numbers with all their digits, nothing for what a trial has not."""
    rows = sweep.rows()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else list(_FIRST), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    write_all({path: text.getvalue().encode()})


def export_parquet(sweep: Sweep, path: Path) -> None:
    """Write :meth:`Sweep.rows` as Parquet; needs pyarrow. A field that is varied over unlike values becomes text."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise _missing("Parquet", "pyarrow") from None
    rows = sweep.rows()
    columns = {}
    for name in list(rows[0]) if rows else list(_FIRST):
        values = [row[name] for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        elif len(kinds) > 1 or kinds & {list, dict}:
            values = [None if value is None else str(_plain(value)) for value in values]
        columns[name] = values
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    write_all({path: buffer.getvalue()})


def chip_yaml(record: dict[str, Any]) -> str:
    """Return the chip of a trial as YAML, with the command that repeats it in its first line."""
    import yaml

    if record["chip"] is None:
        raise UsageError(f"trial {record['id']}: its variant is no chip: {record['error']}")
    return f"# {command(record)}\n" + yaml.safe_dump(record["chip"], sort_keys=False, allow_unicode=True, width=120)


def _ordered(mappings: Any) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _plain(value: Any) -> Any:
    from crosstile.sweep.space import canonical

    return canonical(value) if isinstance(value, (dict, list, bool)) else value


def _missing(what: str, package: str) -> CrosstileError:
    return UsageError(f"{what} needs {package}: pip install 'crosstile[tables]'.")


__all__: Sequence[str] = ["Sweep", "chip_yaml", "export_csv", "export_parquet", "load_sweep"]
