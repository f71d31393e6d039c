"""The result of a thermal study, as it is written to ``thermal.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, ValidationError

from crosstile.errors import CrosstileError
from crosstile.specs.thermal import ThermalSpec
from crosstile.study.result_parts import Amount, Count, DataInfo, Section, Share, Versions

FORMAT: Final = "crosstile-thermal/1"
_MAX_BYTES: Final = 200_000_000


class HeatAccuracy(Section):
    """Accuracy over programmed chips."""

    mean: Share
    ci95: tuple[float, float]
    per_trial: tuple[float, ...]


class HeatPoint(Section):
    """One remedy in air of one temperature, in the steady state."""

    remedy: str
    """Names joined by ``+``, or ``none``."""
    ambient_k: Amount
    peak_k: Amount
    """Hottest cell of the thermal grid."""
    mean_k: Amount
    """Mean of the tiles."""
    hottest_array_k: Amount
    coolest_array_k: Amount
    power_w: Amount
    leakage_w: Amount
    tiles_k: tuple[tuple[float | None, ...], ...]
    """(rows, columns) of the floorplan; ``null`` for sites without a tile."""
    accuracy: HeatAccuracy | None
    recovered: float | None
    """Share of what heat takes (from ``cool`` to ``none`` in the same air) that the remedy brings back; ``null`` where it takes
    less than two standard deviations of an accuracy on so many samples."""


class LayerSensitivity(Section):
    """How much one layer's warmth changes the network's scores."""

    layer: str
    per_kelvin: Amount
    """Root mean square change of the scores over their standard deviation."""


class ThermalResult(Section):
    """A network on a chip in its package, over temperatures of the air and remedies."""

    format: Literal["crosstile-thermal/1"] = FORMAT
    created: AwareDatetime
    command: str
    model: str
    chip: str
    chip_notes: str
    data: DataInfo | None
    trials: Count
    seed: int
    time_s: float | None
    rate_hz: Amount
    schedule: str
    tiles: Count
    arrays: Count
    die_area_m2: Amount
    time_constant_s: Amount
    """Slowest of the package, from the end of the spreader that is described."""
    thermal: ThermalSpec
    digital: float | None
    """Accuracy in floating point."""
    cool: HeatAccuracy | None
    """Accuracy of the chips at the temperature that the chip is described for."""
    sensitivity: tuple[LayerSensitivity, ...]
    points: tuple[HeatPoint, ...]
    notes: tuple[str, ...]
    versions: Versions

    def to_json(self) -> str:
        """Return the text of ``thermal.json``."""
        return self.model_dump_json(indent=1) + "\n"

    @staticmethod
    def from_json(path: Path) -> ThermalResult:
        """Read a ``thermal.json``.

        Raises:
            CrosstileError: it cannot be read or is no thermal study.
        """
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise CrosstileError(f"{path}: larger than {_MAX_BYTES // 1_000_000} MB; this is no thermal study.")
            return ThermalResult.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise CrosstileError(f"{path}: no result of crosstile thermal: {place}: {first['msg']}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise CrosstileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None

    def at(self, remedy: str, ambient_k: float) -> HeatPoint:
        """Return one point; KeyError where there is none."""
        for point in self.points:
            if point.remedy == remedy and point.ambient_k == ambient_k:
                return point
        raise KeyError((remedy, ambient_k))
