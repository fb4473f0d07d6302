"""What the conformance kit works on: a card with options, its component built once, and the cases to call it with.

A case is a call, values for its ports, and which of its optional ports are fed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyany.api.v1 import Call, Card


@dataclass(kw_only=True)
class Subject:
    """The component under test. options: a preset's name or a mapping; calls: which to run (None: all)."""

    card: Card
    options: Mapping[str, Any] | str | None = None
    calls: Sequence[str] | None = None
    tolerance: float
    _kept: dict[Any, Any] = field(default_factory=dict)

    def bench(self, *, larger: bool = False) -> Any:
        from anyany.testing.harness import bench

        return self._once(("bench", larger), lambda: bench(self.card, self.options, larger=larger))

    def built(self, *, larger: bool = False, dtype: str = "float32") -> Any:
        return self._once(("built", larger, dtype), lambda: self.bench(larger=larger).build(dtype=dtype))

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def cases(self, *, larger: bool = False) -> Iterator[tuple[str, Call, Any]]:
        """(name, call, making) of every call to run: with all ports fed and with only the required ones.

        Where every port may be left out they are alternatives, and each is fed alone.
        """
        bench = self.bench(larger=larger)
        for name, call in bench.calls.items():
            if self.calls is not None and name not in self.calls:
                continue
            even = bool(call.batching.group_by)
            for fed in _feedings(call):
                yield name, call, bench.making(even=even, fed=fed)


def _feedings(call: Call) -> list[frozenset[str] | None]:
    """Which optional ports to feed, case by case; None is all of them."""
    optional = [name for name, port in call.takes.items() if port.optional]
    if not optional:
        return [None]
    if len(optional) == len(call.takes):
        return [frozenset((name,)) for name in optional]
    return [None, frozenset()]


_last: list[Subject] = []


def subject_of(card: Card, options: Any, calls: Any, tolerance: float) -> Subject:
    """The subject of the last call where it is the same one: check by check, a component is built once."""
    if _last and (_last[0].card, _last[0].options, _last[0].calls) == (card, options, calls):
        _last[0].tolerance = tolerance
    else:
        _last[:] = [Subject(card=card, options=options, calls=calls, tolerance=tolerance)]
    return _last[0]
