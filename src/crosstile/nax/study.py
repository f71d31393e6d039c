"""The whole job: tables, effects, search, the found network and its baselines, each trained and measured alike.

Baselines, by name:

    homogeneous    the found kernels on arrays of one size, each size of the space; *best* is the one with the lowest EDAP
    3 x 3          the network with 3 x 3 kernels throughout, on arrays of the size that the chip is described with
    random         random search with shared weights at the same number of passes (:mod:`crosstile.nax.search`)

Every network is trained from its first weights for as many epochs, with the errors of its own arrays, and mapped to them.
What is finished is kept in the folder ``parts`` and taken up again by the same job.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosstile.errors import UsageError
from crosstile.nax.derive import Measured, load_network, measure, train_architecture
from crosstile.nax.nonideal import Effect, Effects, fit_effects
from crosstile.nax.options import SearchOptions
from crosstile.nax.search import Candidate, Kind, Search, SearchEpoch
from crosstile.nax.space import Architecture, NaxSpace
from crosstile.nax.tables import CostTables
from crosstile.study.resume import fingerprint
from crosstile.study.stages import Progress
from crosstile.training.checkpoint import saved_bytes, write_file

BASELINES = ("homogeneous", "3x3", "random")
FOUND, RANDOM, SMALL = "found", "random search", "3 x 3"
_LIMIT = 64 * 2**20


@dataclass(frozen=True, eq=False)
class NaxData:
    """Images and labels of a job."""

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    calibration: Tensor
    text: str


@dataclass(frozen=True)
class Searched:
    """What remains of a search."""

    chosen: Architecture
    candidates: tuple[Candidate, ...]
    history: tuple[SearchEpoch, ...]
    passes: int
    reference_edap: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "chosen": self.chosen.as_dict(),
            "candidates": [
                {"architecture": c.architecture.as_dict(), "loss": c.loss, "ln_edap": c.ln_edap}
                for c in self.candidates
            ],
            "history": [dataclasses.asdict(record) for record in self.history],
            "passes": self.passes,
            "reference_edap_jsm2": self.reference_edap,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Searched:
        """Return what :meth:`as_dict` wrote."""
        candidates = tuple(
            Candidate(Architecture.from_dict(c["architecture"]), c["loss"], c["ln_edap"]) for c in data["candidates"]
        )
        history = tuple(SearchEpoch(**record) for record in data["history"])
        chosen = Architecture.from_dict(data["chosen"])
        return cls(chosen, candidates, history, data["passes"], data["reference_edap_jsm2"])


@dataclass(frozen=True, eq=False)
class NaxStudy:
    """The outcome of a job."""

    space: NaxSpace
    options: SearchOptions
    data: str
    effects: Effects
    search: Searched
    random: Searched | None
    designs: dict[str, Measured]
    """By name; the found one first."""
    network: nn.Module
    """The found network, trained."""

    @property
    def found(self) -> Measured:
        """The found network on its chip."""
        return self.designs[FOUND]

    @property
    def best_homogeneous(self) -> tuple[str, Measured] | None:
        """The found kernels on arrays of the one size with the lowest EDAP."""
        one = [(name, d) for name, d in self.designs.items() if name.startswith("all ")]
        return min(one, key=lambda pair: pair[1].cost.edap_jsm2, default=None)

    def objective(self, design: Measured) -> float:
        """Return the cross-entropy on chip 0 plus lam ln(EDAP / EDAP of the found)."""
        return design.loss + self.options.lam * math.log(
            design.cost.edap_in_parts_jsm2 / self.found.cost.edap_in_parts_jsm2
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        s, misses = self.space, self.effects.misses_db
        return {
            "chip": s.chip.name,
            "space": {
                "kernels": list(s.kernels), "arrays": list(s.arrays), "family": s.family, "width": s.width, "blocks": s.blocks,
                "skips": s.skips, "image": list(s.image), "classes": s.classes, "size": s.size,
            },
            "options": dataclasses.asdict(self.options),
            "data": self.data,
            "effects": {
                "layers": {
                    slot.name: [[e.as_dict() for e in row] for row in rows]
                    for slot, rows in zip(s.slots, self.effects.slots, strict=True)
                },
                "snr_miss_db": {"median": statistics.median(misses), "lowest": min(misses), "highest": max(misses)},
            },
            "search": self.search.as_dict(),
            "random": None if self.random is None else self.random.as_dict(),
            "designs": {name: d.as_dict() | {"objective": self.objective(d)} for name, d in self.designs.items()},
            "torch": torch.__version__,
        }  # fmt: skip


class _Parts:
    """Finished parts of a job in a folder, each tied to everything that it depends on."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key

    def path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name

    def load(self, name: str) -> Any:
        """Return a part, or None where there is none of this job."""
        path = self.path(f"{name}.json")
        if path is None or not path.is_file() or path.stat().st_size > _LIMIT:
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data.get("part") if isinstance(data, dict) and data.get("key") == self.key else None

    def save(self, name: str, part: object) -> None:
        path = self.path(f"{name}.json")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps({"key": self.key, "part": part}).encode())


def run_nax(
    space: NaxSpace,
    data: NaxData,
    options: SearchOptions,
    *,
    baselines: Sequence[str] = BASELINES,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> NaxStudy:
    """Search, train what was found and the baselines, and measure all of them on chips.

    Args:
        baselines: some of ``BASELINES``. folder: where parts of the job are kept, and looked for.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    for name in baselines:
        if name not in BASELINES:
            raise UsageError(f"--baselines: {name!r} is none of {', '.join(BASELINES)}.")
    space.check()
    options.check()
    return _Job(space, data, options, folder, progress or Progress()).run(tuple(baselines))


class _Job:
    def __init__(
        self, space: NaxSpace, data: NaxData, options: SearchOptions, folder: Path | None, progress: Progress
    ) -> None:
        from crosstile import __version__

        self.space, self.data, self.options, self.progress = space, data, options, progress
        self.tables = CostTables(space)
        searched = dataclasses.replace(options, trials=1)
        key = fingerprint(
            (space.chip.model_dump_json(), repr(dataclasses.replace(space, chip=None)), repr(searched), __version__,  # type: ignore[arg-type]
             torch.__version__),
            (*data.train, data.calibration),
        )  # fmt: skip
        self.parts = _Parts(None if folder is None else folder / "parts", key)
        self.how = fingerprint((options.trials,), data.held_out)
        """What accuracies depend on beyond the networks: more chips or samples need no new training."""
        self.effects = self._effects()
        self.done: list[Measured] = []

    def run(self, baselines: tuple[str, ...]) -> NaxStudy:
        found = self._search("gradient")
        designs = {FOUND: self._measured(FOUND, found.chosen)}
        network = self._network
        if "homogeneous" in baselines:
            for size in self.space.arrays:
                designs[f"all {size}"] = self._measured(f"all {size}", found.chosen.with_arrays(size))
        if "3x3" in baselines and 3 in self.space.kernels:
            designs[SMALL] = self._measured(SMALL, self.space.reference)
        other = None
        if "random" in baselines:
            other = self._search("random")
            designs[RANDOM] = self._measured(RANDOM, other.chosen)
        return NaxStudy(self.space, self.options, self.data.text, self.effects, found, other, designs, network)

    def _effects(self) -> Effects:
        kept = self.parts.load("effects")
        if kept is None:
            count = len(
                {(s.channels, s.outputs, s.linear, k, x) for s in self.space.slots for k in s.kernels for x in s.arrays}
            )
            self.progress.stage("what arrays do to layers", count)
            found = fit_effects(self.space, seed=self.options.seed, progress=lambda _: self.progress.advance())
            kept = [[[e.as_dict() for e in row] for row in rows] for rows in found.slots]
            self.parts.save("effects", kept)
        return Effects(tuple(tuple(tuple(Effect(**e) for e in row) for row in rows) for rows in kept))

    def _search(self, kind: Kind) -> Searched:
        name = f"search-{kind}"
        kept = self.parts.load(name)
        if kept is not None:
            return Searched.from_dict(kept)
        checkpoint = self.parts.path(f"{name}.pt")
        if checkpoint is not None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
        search = Search(self.space, self.tables, self.effects, self.data.train, self.options, kind, self.progress)
        resume = checkpoint is not None and checkpoint.is_file() and _belongs(checkpoint, search.key)
        found = search.run(checkpoint, resume=resume)
        kept_of = Searched(found.chosen, found.candidates, found.history, found.passes, found.reference_edap)
        self.parts.save(name, kept_of.as_dict())
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        return kept_of

    def _measured(self, name: str, architecture: Architecture) -> Measured:
        known = next((design for design in self.done if design.architecture == architecture), None)
        found = known or self._trained(name, architecture)
        self.done.append(found)
        return found

    def _trained(self, name: str, architecture: Architecture) -> Measured:
        stem, own = name.replace(" ", "-"), architecture.as_dict()
        path, kept = self.parts.path(f"{stem}.pt"), self.parts.load(f"{stem}-weights")
        if kept == own and path is not None and path.is_file():
            network = load_network(self.space, architecture, path)
        else:
            network = train_architecture(
                self.space, architecture, self.effects, self.data.train, self.options, self.progress
            )
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, saved_bytes(network.state_dict()))
            self.parts.save(f"{stem}-weights", own)
        if name == FOUND:
            self._network = network
        measured = self.parts.load(stem)
        if measured is not None and (measured["how"], measured["found"]["architecture"]) == (self.how, own):
            return Measured.from_dict(measured["found"])
        edap = self.tables.edap(architecture)
        found = measure(
            self.space,
            architecture,
            network,
            self.data.held_out,
            self.data.calibration,
            self.options,
            edap,
            self.progress,
        )
        self.parts.save(stem, {"how": self.how, "found": found.as_dict()})
        return found


def _belongs(checkpoint: Path, key: str) -> bool:
    from crosstile.errors import CrosstileError
    from crosstile.training.checkpoint import load_checkpoint

    try:
        load_checkpoint(checkpoint, key)
    except CrosstileError:
        return False
    return True


def nax_data(
    name: str,
    *,
    data_dir: Path | None = None,
    download: bool = True,
    hold_out: int | None = None,
    samples: int | None = None,
    train_samples: int | None = None,
) -> tuple[NaxData, tuple[int, int], int]:
    """Return a data set cut for a job, its (channels, side) and its number of classes.

    Raises:
        CrosstileError: there is no such data set, or its inputs are no square images.
    """
    from crosstile.datasets import load_dataset
    from crosstile.training.data import split

    data = load_dataset(name, data_dir=data_dir, download=download)
    cut = split(data, hold_out=hold_out, samples=samples, train_samples=train_samples)
    shape = tuple(cut.x.shape[1:])
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 8:
        raise UsageError(
            f"--data {name}: square images of at least 8 pixels are wanted, found samples of shape {shape}."
        )
    found = NaxData((cut.x, cut.y), cut.held_out, cut.calibration, cut.text)
    return found, (shape[0], shape[1]), int(data.num_classes)
