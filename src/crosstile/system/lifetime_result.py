"""The result of a lifetime study, as it is written to ``lifetime.json``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import AwareDatetime

from crosstile.study.result_parts import Amount, Count, DataInfo, Section, Share, Versions

FORMAT: Final = "crosstile-lifetime/1"


class CycleFigure(Section):
    """How often a cell may be written."""

    cycles: Amount | None
    """``null``: without limit."""
    used: Amount
    source: str
    tag: str


class WearFigure(Section):
    """Writes of the cell that is written most (or of all alike, levelled) in a second, and how long it stands that."""

    reload_hz: Amount
    refresh_hz: Amount
    training_hz: Amount
    levelling: Literal["none", "ideal"]
    writes: Amount
    """Over the years of the study."""
    lifetime_years: Amount | None
    """``null``: without limit."""


class RefreshPoint(Section):
    """Refreshing at one temperature."""

    temperature_k: Amount
    interval_s: Amount
    bound: Literal["found", "longer", "shorter"]
    """longer, shorter: the weights keep longer (less long) than ``interval_s``, beyond which nothing is known."""
    energy_j: Amount
    """Of one refresh."""
    duration_s: Amount
    power_w: Amount | None
    """Mean; ``null`` where refreshing cannot keep up."""
    time_share: Amount | None
    writes_hz: Amount | None
    wear: WearFigure | None
    """With reloading, this refreshing and training together; ``null`` where refreshing cannot keep up."""


class LifetimeAccuracy(Section):
    """Accuracy over programmed chips in one case."""

    case: str
    mean: Share
    ci95: tuple[float, float]
    per_trial: tuple[float, ...]


class LifetimeResult(Section):
    """A network on a chip over years."""

    format: Literal["crosstile-lifetime/1"] = FORMAT
    created: AwareDatetime
    command: str
    model: str
    chip: str
    chip_notes: str
    cell: str
    technology: str
    years: Amount
    rate_hz: Amount
    continuous: bool
    """Whether the rate is all that the schedule gives."""
    batch_size: Count
    arrays: Count
    arrays_used: Count
    fits: bool
    cycles: CycleFigure
    loss: Amount
    """Share of the window after which weights are refreshed."""
    refresh: tuple[RefreshPoint, ...]
    data: DataInfo | None
    trials: Count
    seed: int
    digital: float | None
    """Accuracy in floating point."""
    ageing: tuple[LifetimeAccuracy, ...]
    """At the first temperature."""
    faults: tuple[float, float] | None
    """Rates of cells stuck on and off where stuck cells were studied."""
    stuck: tuple[LifetimeAccuracy, ...]
    notes: tuple[str, ...]
    versions: Versions

    def to_json(self) -> str:
        """Return the text of ``lifetime.json``."""
        return self.model_dump_json(indent=1) + "\n"
