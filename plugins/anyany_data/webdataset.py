"""Records from tar shards in WebDataset's layout, read at random by the places of their members.

`a/0001.png`, `a/0001.txt` and `a/0001.json` make one record: fields `png`, `txt`, and those of the JSON object.
Media are unpacked to memory and given as files in a temporary folder.
"""

from __future__ import annotations

import glob
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from anyany.api.torch import Build, Component, Context, Rows

TEXTS = ("txt", "text", "caption")
Member = tuple[str, int, int]


class WebDataset(Component):
    """Options: `WebDatasetConfig`. Raises ValueError where no shard is found or one is no tar file."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.base = Path(build.assets.folder or ".")
        self._scratch = tempfile.TemporaryDirectory(prefix="webdataset-")
        self.folder = Path(self._scratch.name)
        self._index: list[dict[str, Member]] | None = None

    @property
    def index(self) -> list[dict[str, Member]]:
        """For each record, its fields: shard, place of the bytes, how many."""
        if self._index is None:
            shards = [s for pattern in self.config.shards for s in sorted(glob.glob(str(self.base / pattern)))]
            if not shards:
                raise ValueError(f"no shard matches {', '.join(self.config.shards) or 'nothing'}; give `shards`")
            self._index = [record for shard in shards for record in _records(shard)]
        return self._index

    def __len__(self) -> int:
        return len(self.index)

    def record(self, index: int) -> dict[str, Any]:
        """The fields of a record: texts as text, JSON objects as their fields, everything else as a file's path."""
        found: dict[str, Any] = {}
        for field, (shard, at, size) in self.index[index].items():
            with open(shard, "rb") as file:
                file.seek(at)
                data = file.read(size)
            if field in TEXTS:
                found[field] = data.decode("utf-8")
            elif field == "json":
                found.update(json.loads(data))
            elif field == "cls":
                found[field] = int(data)
            else:
                path = self.folder / f"{index}.{field}"
                path.write_bytes(data)
                found[field] = str(path)
        return found

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record, as JSON."""
        return {"record": ctx.rows([json.dumps(self.record(0))] * len(ctx.keys))}


def _records(shard: str) -> list[dict[str, Member]]:
    found: dict[str, dict[str, Member]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, field = name.partition(".")
                found.setdefault(f"{folder}/{stem}", {})[field.lower()] = (shard, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(f"{shard} is no uncompressed tar file: {error}") from None
    return list(found.values())
