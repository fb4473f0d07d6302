"""Rows: the one structure on an edge. Packed or dense tensors, or a list of objects, one row for each present value.

Shape suffixes: B rows, T total ragged length, N longest length. Source: DESIGN section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

Key = tuple[int, ...]


class Rows:
    """B values of one port, in order.

    data:    a list of B objects (text, media, tensors of unlike shapes); or a dense tensor [B, ...]; or, with
             `offsets` (B + 1 ints on the CPU), a packed tensor [T, ...] ragged along its first axis.
    counts:  for a list port, how many consecutive rows belong to each row of the call; None otherwise.
             An optional output uses counts of 0 and 1: absent is zero rows.
    keys:    who each row is: (item, index in the outermost list, ...). Set by the engine.
    Slices are views; nothing is copied unless rows are reordered.
    """

    __slots__ = ("counts", "data", "keys", "offsets")

    def __init__(self, data: Any, offsets: Sequence[int] | None = None, *, counts: Sequence[int] | None = None,
                 keys: Sequence[Key] | None = None) -> None:  # fmt: skip
        self.data = data
        self.offsets = offsets
        self.counts = counts
        self.keys = keys

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.offsets is not None else len(self.data)

    def __getitem__(self, index: int) -> Any:
        if self.offsets is None:
            return self.data[index]
        index = range(len(self))[index]
        return self.data[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if isinstance(self.data, torch.Tensor):
            layout = "packed" if self.offsets is not None else "dense"
            return f"Rows({len(self)} {layout} {tuple(self.data.shape)} {self.data.dtype} {self.data.device})"
        return f"Rows({len(self)} objects)"

    def list(self) -> list[Any]:
        """The B values as a list (views of the packed tensor)."""
        return self.data if isinstance(self.data, list) else [self[i] for i in range(len(self))]

    @property
    def lengths(self) -> list[int]:
        """Length of each row along its first axis (text: characters)."""
        if self.offsets is not None:
            return [b - a for a, b in zip(self.offsets, self.offsets[1:])]
        if isinstance(self.data, torch.Tensor):
            return [self.data.shape[1] if self.data.dim() > 1 else 1] * len(self)
        return [len(v) if hasattr(v, "__len__") else 1 for v in self.data]

    def dense(self) -> torch.Tensor:
        """[B, ...]: all rows of one shape. Raises ValueError naming the shapes when they differ."""
        if isinstance(self.data, torch.Tensor):
            if self.offsets is None:
                return self.data
            lengths = self.lengths
            if lengths and min(lengths) == max(lengths):
                return self.data.unflatten(0, (len(lengths), lengths[0]))
            raise ValueError(f"rows have lengths {min(lengths, default=0)} to {max(lengths, default=0)}, not one")
        shapes = {tuple(v.shape) for v in self.data}
        if len(shapes) > 1:
            raise ValueError(f"rows have shapes {sorted(shapes)}, not one")
        return torch.stack(self.data)

    def padded(self, value: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """([B, N, ...] padded on the right with `value`, [B, N] bool mask that is true on real positions)."""
        rows = self.list()
        lengths = torch.tensor([r.shape[0] for r in rows])
        width = int(lengths.max()) if len(rows) else 0
        mask = torch.arange(width)[None, :] < lengths[:, None]
        if not rows:
            raise ValueError("no rows to pad")
        if bool((lengths == width).all()):
            return self.dense(), mask.to(rows[0].device)
        out = rows[0].new_full((len(rows), width, *rows[0].shape[1:]), value)
        for i, row in enumerate(rows):
            out[i, : row.shape[0]] = row
        return out, mask.to(out.device)

    def packed(self) -> tuple[torch.Tensor, list[int]]:
        """([T, ...], B + 1 offsets): all rows end to end, for attention over variable lengths."""
        if self.offsets is not None:
            return self.data, list(self.offsets)
        if isinstance(self.data, torch.Tensor):
            n = self.data.shape[1]
            return self.data.flatten(0, 1), [i * n for i in range(len(self) + 1)]
        offsets = [0]
        for row in self.data:
            offsets.append(offsets[-1] + row.shape[0])
        return torch.cat(self.data), offsets

    def groups(self) -> list[list[Any]]:
        """For a list port: the values of each row of the call."""
        if self.counts is None:
            return [[v] for v in self]
        out, at = [], 0
        for n in self.counts:
            out.append([self[i] for i in range(at, at + n)])
            at += n
        return out

    def select(self, indices: Sequence[int]) -> Rows:
        """The rows at `indices`; a contiguous run is a view, anything else a gather. `counts` are dropped."""
        keys = None if self.keys is None else [self.keys[i] for i in indices]
        if not isinstance(self.data, torch.Tensor):
            return Rows([self.data[i] for i in indices], keys=keys)
        first, n = (indices[0], len(indices)) if len(indices) else (0, 0)
        run = all(v == first + i for i, v in enumerate(indices))
        if self.offsets is None:
            data = self.data[first : first + n] if run else self.data[torch.as_tensor(indices, device=self.data.device)]
            return Rows(data, keys=keys)
        if run:
            offsets = self.offsets[first : first + n + 1]
            return Rows(self.data[offsets[0] : offsets[-1]], [o - offsets[0] for o in offsets], keys=keys)
        return Rows([self[i] for i in indices], keys=keys)

    def to(self, device: Any = None, dtype: Any = None) -> Rows:
        """Moved to `device` and, for floating tensors, `dtype`; this very object when nothing changes."""
        if isinstance(self.data, torch.Tensor):
            moved = _move(self.data, device, dtype)
            return self if moved is self.data else Rows(moved, self.offsets, counts=self.counts, keys=self.keys)
        if not any(isinstance(v, torch.Tensor) for v in self.data):
            return self
        values = [_move(v, device, dtype) if isinstance(v, torch.Tensor) else v for v in self.data]
        if all(a is b for a, b in zip(values, self.data)):
            return self
        return Rows(values, counts=self.counts, keys=self.keys)

    @staticmethod
    def cat(parts: Sequence[Rows]) -> Rows:
        """All rows of several, in order; one part is returned as it is. Tensor layouts are kept where they agree."""
        if len(parts) == 1:
            return parts[0]
        keys = [k for p in parts for k in p.keys] if all(p.keys is not None for p in parts) else None
        parts = [p for p in parts if len(p)] or list(parts[:1])
        tensors = all(isinstance(p.data, torch.Tensor) for p in parts)
        if tensors and all(p.offsets is None and p.data.shape[1:] == parts[0].data.shape[1:] for p in parts):
            return Rows(torch.cat([p.data for p in parts]), keys=keys)
        if tensors and all(p.offsets is not None for p in parts):
            offsets, at = [0], 0
            for p in parts:
                offsets += [at + o for o in p.offsets[1:]]
                at = offsets[-1]
            return Rows(torch.cat([p.data for p in parts]), offsets, keys=keys)
        return Rows([v for p in parts for v in p.list()], keys=keys)


def _move(tensor: torch.Tensor, device: Any, dtype: Any) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
