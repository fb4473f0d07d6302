"""Counter-hash noise: every number is a pure function of (seed, item, node, call, place, step, index).

So an item's noise never depends on its batch, on order or on device. The hash is a 32-bit mix (lowbias32, two rounds
over a keyed counter) carried out in int64 tensors, which every device computes exactly alike.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

_MASK = 0xFFFFFFFF


def _word(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: torch.Tensor) -> torch.Tensor:
    """lowbias32 on int64 tensors holding 32-bit words (constants from Chris Wellons' hash prospector)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


class Noise:
    """The noise of one run. `items` maps an item's number in the batch to its identity (id string)."""

    def __init__(self, seed: int, items: Sequence[str] | None = None) -> None:
        self.seed = seed
        self.items = items
        self._cache: dict[tuple[object, ...], tuple[int, int]] = {}

    def _row(self, key: tuple[int, ...], where: str, step: int) -> tuple[int, int]:
        item = self.items[key[0]] if self.items is not None and key else str(key[:1])
        known = (item, key[1:], where, step)
        words = self._cache.get(known)
        if words is None:
            if len(self._cache) > 65536:
                self._cache.clear()
            h = _word(f"{self.seed}|{item}|{where}|{','.join(map(str, key[1:]))}|{step}")
            words = self._cache[known] = (h & _MASK, h >> 32)
        return words

    def _bits(self, keys: Sequence[tuple[int, ...]], n: int, where: str, step: int, device: torch.device,
              stream: int) -> torch.Tensor:  # fmt: skip
        """[B, n] int64 tensor of independent 32-bit words."""
        words = torch.tensor([self._row(k, where, step) for k in keys], dtype=torch.int64, device=device).reshape(-1, 2)
        index = torch.arange(n, dtype=torch.int64, device=device)[None, :]
        low = _mix((index + stream * 0x9E3779B9 + words[:, :1]) & _MASK)
        return _mix((low ^ words[:, 1:]) & _MASK)

    def uniform(self, keys: Sequence[tuple[int, ...]], shape: Sequence[int], where: str, step: int = 0,
                device: torch.device | str = "cpu", stream: int = 0) -> torch.Tensor:  # fmt: skip
        """[B, *shape] float32 strictly between 0 and 1 (23 bits each: with 24 the largest would round to 1)."""
        bits = self._bits(keys, math.prod(shape), where, step, torch.device(device), stream) >> 9
        return ((bits.to(torch.float32) + 0.5) * 2.0**-23).reshape(len(keys), *shape)

    def normal(self, keys: Sequence[tuple[int, ...]], shape: Sequence[int], where: str, step: int = 0,
               device: torch.device | str = "cpu") -> torch.Tensor:  # fmt: skip
        """[B, *shape] standard normal float32, by Box and Muller from two hashed uniforms."""
        a = self.uniform(keys, shape, where, step, device, 1)
        b = self.uniform(keys, shape, where, step, device, 2)
        return torch.sqrt(-2.0 * torch.log(a)) * torch.cos((2.0 * math.pi) * b)
