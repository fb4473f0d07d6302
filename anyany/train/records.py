"""Records of a stage as items of its graph, in an order that is a function of (seed, stage, position).

A source is a component of role `source`: `record(index)` gives a mapping from field to value (paths, texts, arrays, as
in a line of `--items`), `len(source)` how many there are; one without a length is endless. `folder` is where relative
paths start.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anyany.engine.build import implementation
from anyany.engine.coerce import default_values, make_item
from anyany.engine.component import Assets, Build
from anyany.engine.items import Item
from anyany.spec.graph import Graph
from anyany.spec.stages import DataSource, Part
from anyany.train.errors import TrainError


class Records:
    """The records of one source as items of one graph."""

    def __init__(self, part: Part, name: str, seed: int) -> None:
        self.part, self.name, self.seed = part, name, seed
        self.source = open_source(part.data, part.graph)
        self.length = self._length()
        if self.length == 0:
            raise TrainError("E708", f"{part.data.card.name} gives no records", "check its path")
        self.folder = str(getattr(self.source, "folder", None) or part.graph.folder)
        self._defaults = default_values(part.graph)
        self._order: tuple[int, np.ndarray] | None = None

    def _length(self) -> int | None:
        if not hasattr(self.source, "__len__"):
            return None
        try:
            return len(self.source)
        except Exception as error:  # a source of anyone's
            raise TrainError("E708", f"{self.part.data.card.name}: {error}", "check the options of `data`") from error

    def index(self, position: int) -> int:
        """The record at a position of the endless stream: every epoch is a permutation of its own."""
        if self.length is None:
            return position
        epoch, at = divmod(position, self.length)
        if self._order is None or self._order[0] != epoch:
            words = [self.seed, zlib.crc32(self.name.encode()), epoch]
            self._order = (epoch, np.random.default_rng(words).permutation(self.length))
        return int(self._order[1][at])

    def items(self, positions: Sequence[int]) -> tuple[list[Item], list[int]]:
        """The items at these positions, named after them (so that noise differs), and which records they are."""
        indices = [self.index(p) for p in positions]
        return [self.item(i, str(p)) for i, p in zip(indices, positions)], indices

    def item(self, index: int, id: str) -> Item:
        """One record as an item."""
        try:
            record = self.source.record(index)
        except Exception as error:  # a source of anyone's: fewer records than it tells, a file cut short, ...
            told = f"record {index} of {self.part.data.card.name}: {type(error).__name__}: {error}"
            raise TrainError("E708", told, "mend the data, or the options of `data`") from error
        if not isinstance(record, Mapping):
            raise TrainError("E708", f"record {index} is a {type(record).__name__}, not a mapping of fields",
                             "mend the source")  # fmt: skip
        raw = {name: record[f] for name, f in self.part.feeds.items() if record.get(f) is not None}
        return make_item(self.part.graph, raw, id, base_dir=self.folder, defaults=self._defaults, line=index)

    def check(self, count: int = 16) -> None:
        """The first records have every field that is fed, of its kind. Raises TrainError E708 before any step."""
        for index in range(min(count, self.length or count)):
            item = self.item(index, f"record {index}")
            if item.failure is not None:
                told = item.failure.message.replace("the item gives no", "it gives no")
                for name, field in self.part.feeds.items():
                    told = told.replace(repr(name), f"field `{field}`")
                raise TrainError("E708", f"record {index} of {self.part.data.card.name}: {told}",
                                 "mend the data, or the kinds under `fields`")  # fmt: skip


def open_source(data: DataSource, graph: Graph) -> Any:
    """The source component; relative paths in its options start at the spec's folder."""
    node = graph.nodes["data"]
    kind: Any = implementation(node)
    build = Build(node="data", sizes={}, facts={}, assets=Assets(Path(graph.folder)))
    try:
        return kind(data.config, build)
    except Exception as error:  # a source of anyone's
        help = getattr(error, "help", "") or "check the options of `data`"
        raise TrainError("E708", f"{data.card.name}: {error}", help, "train.data") from None
