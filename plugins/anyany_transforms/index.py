"""Index: embeddings of many files on disk, to be searched in later runs without reading the files again.

A folder with `keys.safetensors` ([N,D] float32 of unit length) and `names.json` (N names). Search is exact, by cosine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Build, Component, Context, Rows
from anyany_transforms.search import composed, nearest

KEYS, NAMES = "keys.safetensors", "names.json"


class Index(Component):
    """Options: `IndexConfig`. Without a folder the index lasts as long as the component."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self._kept: dict[str, torch.Tensor] = {}
        self._read: tuple[tuple[int, int], torch.Tensor, list[str]] | None = None

    @property
    def folder(self) -> Path | None:
        """Where the index lies."""
        return Path(self.config.folder) if self.config.folder else None

    def add(self, ctx: Context, keys: Rows, names: Rows) -> dict[str, Rows]:
        """keys, names: lists of equal length. count: how many were added; a known name's key is replaced."""
        added: dict[str, torch.Tensor] = {}
        told = []
        for known, words in zip(keys.groups(), names.groups()):
            if len(known) != len(words):
                raise ValueError(f"an index wants a name for each key; it got {len(words)} and {len(known)}")
            added.update({n: F.normalize(k.detach().float().cpu(), dim=-1) for n, k in zip(words, known)})
            told.append(str(len(words)))
        self._write(added)
        return {"count": ctx.rows(told)}

    def _write(self, added: dict[str, torch.Tensor]) -> None:
        old_ND, old = self.read(missing_is_empty=True)
        held = {**dict(zip(old, old_ND)), **added}
        widths = sorted({k.shape[0] for k in held.values()})
        if len(widths) > 1:
            raise ValueError(f"the index would hold keys {widths} wide: they come from different encoders")
        if self.folder is None:
            self._kept = held
        elif held:
            self._save(self.folder, held)

    def _save(self, folder: Path, held: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        drafts = {name: folder / f".{name}.{os.getpid()}" for name in (NAMES, KEYS)}
        drafts[NAMES].write_text(json.dumps(list(held)), "utf-8")
        save_file({"keys": torch.stack(list(held.values()))}, drafts[KEYS])
        # Names first: a search that meets new names with old keys sees unlike lengths and says so.
        for name, draft in drafts.items():
            draft.replace(folder / name)
        self._read = None

    def read(self, missing_is_empty: bool = False) -> tuple[torch.Tensor, list[str]]:
        """([N,D], N names); kept until the file changes. Raises ValueError where there is no index, or half of one."""
        if self.folder is None:
            keys = torch.stack(list(self._kept.values())) if self._kept else torch.zeros(0, 0)
            return keys, list(self._kept)
        path = self.folder / KEYS
        if not path.exists():
            if missing_is_empty:
                return torch.zeros(0, 0), []
            raise ValueError(f"there is no index in {self.folder}; make one with the call `add`")
        stamp = (path.stat().st_mtime_ns, path.stat().st_size)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, *_loaded(self.folder))
        return self._read[1], self._read[2]

    def find(self, ctx: Context, query: Rows) -> dict[str, Rows]:
        """query: a list of [D]. names: the best of the index, best first; scores: their cosines."""
        keys_ND, names = self.read()
        found: list[list[str]] = []
        scores = []
        for asked, top in zip(query.groups(), ctx.option("top", self.config.top)):
            order, near = nearest(composed(asked, self.config.how), keys_ND, int(top)) if names and asked else ([], [])
            found.append([names[i] for i in order])
            scores.append({names[i]: s for i, s in zip(order, near)})
        return {"names": ctx.lists(found), "scores": ctx.rows(scores)}


def _loaded(folder: Path) -> tuple[torch.Tensor, list[str]]:
    from safetensors.torch import load_file

    names = json.loads((folder / NAMES).read_text("utf-8"))
    keys_ND = load_file(folder / KEYS)["keys"]
    if len(names) != len(keys_ND):
        raise ValueError(f"the index in {folder} is broken: {len(names)} names, {len(keys_ND)} keys")
    return keys_ND, names
