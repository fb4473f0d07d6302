"""Roll-out: a component called again and again on what it gave, as a forecast made of steps.

first: any value; step: a node whose main output is of the kind of its main input. values: what each step gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.torch import Component, Context, Rows


class Rollout(Component):
    """Options: `RolloutConfig`."""

    def roll(self, ctx: Context, first: Rows, step: Any) -> dict[str, Rows]:
        """first: B values. values: `steps` of them for each row, the first step's first.

        Raises ValueError where `step` needs more than its main input, or gives a list.
        """
        counts = [int(n) for n in ctx.option("steps", self.config.steps)]
        made: list[list[Any]] = [[] for _ in counts]
        rows = Rows(first.data, first.offsets)
        for turn in range(max(counts, default=0)):
            ctx.check()
            found = step.main(ctx, rows, turn)
            rows = found if isinstance(found, Rows) else Rows(found)
            if rows.counts is not None:
                raise ValueError("`step` gives a list, not one value; leave its own `steps` away")
            for values, value, count in zip(made, rows, counts):
                if turn < count:
                    values.append(value)
            rows = Rows(rows.data, rows.offsets)
        return {"values": ctx.lists(made)}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Any]:
        """Rows for tests: texts that a stand-in for a node makes longer."""
        return {"first": Rows([f"row {row}" for row in rows]), "step": _Longer()}


class _Longer:
    """Stands in for a node in tests: a text becomes a longer one."""

    def to(self, device: Any, dtype: Any) -> _Longer:
        return self

    def main(self, ctx: Context, rows: Rows, turn: int) -> Rows:
        return ctx.rows([f"{text} and {turn}" for text in rows])
