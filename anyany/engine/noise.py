"""Counter-hash noise: every number is a pure function of (seed, item, node, call, place, step, index).

So an item's noise never depends on its batch, on order or on device. The hash mixes 32-bit words held in int64
tensors, which every device computes exactly alike; the step may be a tensor, so that it lives inside a CUDA graph.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
Key = tuple[int, ...]


def _mix(x: torch.Tensor) -> torch.Tensor:
    """lowbias32 on int64 tensors holding 32-bit words (constants from Chris Wellons' hash prospector)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform_from(words: torch.Tensor, n: int, step: int | torch.Tensor = 0, stream: int = 0) -> torch.Tensor:
    """[B, n] float32 strictly between 0 and 1 from [B, 2] row words, for one step (int, or a 0-d int64 tensor).

    23 bits each: with 24 the largest value would round to 1. The step enters through its own mixed word, so that
    (index, step) pairs never coincide.
    """
    index = torch.arange(n, dtype=torch.int64, device=words.device)[None, :]
    step_word = _mix((torch.as_tensor(step, dtype=torch.int64, device=words.device) * _GOLDEN + stream) & _MASK)
    row = _mix((words[:, :1] + step_word) & _MASK)
    bits = _mix((_mix((index + row) & _MASK) ^ words[:, 1:] ^ step_word) & _MASK) >> 9
    return (bits.to(torch.float32) + 0.5) * 2.0**-23


def gumbel_from(words: torch.Tensor, n: int, step: int | torch.Tensor = 0) -> torch.Tensor:
    """[B, n] Gumbel noise: argmax(logits / T + gumbel) draws from softmax(logits / T)."""
    return -torch.log(-torch.log(uniform_from(words, n, step)))


class Noise:
    """The noise of one run. `items` maps an item's number in the batch to its identity (id string)."""

    def __init__(self, seed: int, items: Sequence[str] | None = None) -> None:
        self.seed = seed
        self.items = items
        self._known: dict[tuple[object, ...], tuple[int, int]] = {}

    def _word(self, key: Key, where: str) -> tuple[int, int]:
        item = self.items[key[0]] if self.items is not None and key else ",".join(map(str, key[:1]))
        name = (item, key[1:], where)
        words = self._known.get(name)
        if words is None:
            text = f"{self.seed}|{where}|{','.join(map(str, key[1:]))}|{item}"
            h = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            if len(self._known) > 65536:
                self._known.clear()
            words = self._known[name] = (h & _MASK, h >> 32)
        return words

    def words(self, keys: Sequence[Key], where: str, device: torch.device | str = "cpu") -> torch.Tensor:
        """[B, 2] int64 tensor: the two 32-bit words of each row, for `uniform_from` and `gumbel_from`."""
        return torch.tensor([self._word(k, where) for k in keys], dtype=torch.int64, device=device).reshape(-1, 2)

    def uniform(self, keys: Sequence[Key], shape: Sequence[int], where: str, step: int = 0,
                device: torch.device | str = "cpu") -> torch.Tensor:  # fmt: skip
        """[B, *shape] float32 strictly between 0 and 1."""
        flat = uniform_from(self.words(keys, where, device), math.prod(shape), step)
        return flat.reshape(len(keys), *shape)

    def normal(self, keys: Sequence[Key], shape: Sequence[int], where: str, step: int = 0,
               device: torch.device | str = "cpu") -> torch.Tensor:  # fmt: skip
        """[B, *shape] standard normal float32, by Box and Muller from two streams of uniforms."""
        words, n = self.words(keys, where, device), math.prod(shape)
        radius = torch.sqrt(-2.0 * torch.log(uniform_from(words, n, step, 1)))
        return (radius * torch.cos((2.0 * math.pi) * uniform_from(words, n, step, 2))).reshape(len(keys), *shape)
