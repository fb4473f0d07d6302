"""Context: what a component's method gets beside its rows: results, noise, per-item options, streaming, cancelling.

Source: DESIGN sections 4 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from anyany.engine.noise import Noise
from anyany.engine.rows import Rows


class Cancelled(Exception):
    """Raised inside a component when the run is being stopped."""


class Context:
    """One call of one node over B rows.

    keys: who each row is. device, dtype: where the component lives. options: per-item options, one mapping a row.
    node, call: names for noise and messages.
    """

    __slots__ = ("_emit", "_note", "_stop", "call", "device", "dtype", "keys", "node", "noise", "options")

    def __init__(self, *, node: str, call: str, keys: Sequence[tuple[int, ...]], noise: Noise,
                 device: torch.device, dtype: torch.dtype, options: Sequence[Mapping[str, Any]] | None = None,
                 emit: Callable[[int, str], None] | None = None,
                 stop: Callable[[], bool] | None = None,
                 note: Callable[[int, str], None] | None = None) -> None:  # fmt: skip
        self.node, self.call, self.keys, self.noise = node, call, keys, noise
        self.device, self.dtype, self.options = device, dtype, options
        self._emit, self._stop, self._note = emit, stop, note

    def within(self, part: str, device: torch.device, dtype: torch.dtype) -> Context:
        """The same rows for another component that this one calls, with noise of its own and no per-item options."""
        return Context(node=f"{self.node}/{part}", call=self.call, keys=self.keys, noise=self.noise, device=device,
                       dtype=dtype, emit=self._emit, stop=self._stop, note=self._note)  # fmt: skip

    # results -----------------------------------------------------------------------------------------------------
    def rows(self, data: Any, lengths: Sequence[int] | None = None) -> Rows:
        """One value a row: a dense tensor [B, ...], a list of B objects, or a packed tensor [T, ...] with lengths."""
        if lengths is None:
            return Rows(data)
        offsets = [0]
        for n in lengths:
            offsets.append(offsets[-1] + int(n))
        return Rows(data, offsets)

    def lists(self, groups: Sequence[Sequence[Any]]) -> Rows:
        """For a `K*` output: the list of values of each row."""
        return Rows([v for g in groups for v in g], counts=[len(g) for g in groups])

    def maybe(self, values: Sequence[Any]) -> Rows:
        """For a `K?` output: a value or None (absent) for each row."""
        return Rows([v for v in values if v is not None], counts=[int(v is not None) for v in values])

    # options -----------------------------------------------------------------------------------------------------
    def option(self, name: str, default: Any) -> list[Any]:
        """The option's value for each row: the item's own `with` where it gives one, else `default`."""
        if self.options is None:
            return [default] * len(self.keys)
        return [o.get(name, default) for o in self.options]

    # noise -------------------------------------------------------------------------------------------------------
    def normal(self, shape: Sequence[int], step: int = 0) -> torch.Tensor:
        """[B, *shape] standard normal float32, a pure function of (seed, item, node, call, place, step, index)."""
        return self.noise.normal(self.keys, shape, f"{self.node}.{self.call}", step, self.device)

    def uniform(self, shape: Sequence[int], step: int = 0) -> torch.Tensor:
        """[B, *shape] uniform float32 in the open interval (0, 1), with the same keys as `normal`."""
        return self.noise.uniform(self.keys, shape, f"{self.node}.{self.call}", step, self.device)

    def noise_words(self) -> torch.Tensor:
        """[B, 2] words of the rows, for the decode loop's own counter noise (`gumbel_from`)."""
        return self.noise.words(self.keys, f"{self.node}.{self.call}", self.device)

    # talking back ------------------------------------------------------------------------------------------------
    def emit(self, row: int, text: str) -> None:
        """Stream a piece of text of row `row` to whoever watches."""
        if self._emit is not None:
            self._emit(row, text)

    def note(self, row: int, text: str) -> None:
        """Remark something of row `row` that its user should know, though nothing failed; told with its result."""
        if self._note is not None:
            self._note(row, text)

    @property
    def streaming(self) -> bool:
        """True when somebody watches `emit`."""
        return self._emit is not None

    def check(self) -> None:
        """Raise `Cancelled` when the run is being stopped; call it once a step of a long loop."""
        if self._stop is not None and self._stop():
            raise Cancelled
