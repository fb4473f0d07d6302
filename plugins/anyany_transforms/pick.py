"""Pick: one value of a list, the first, the last, or by its number.

values: a list of any one kind; value: the one taken, absent where the list is too short.
"""

from __future__ import annotations

from anyany.api.torch import Component, Context, Rows


class Pick(Component):
    """Options: `PickConfig`."""

    def pick(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        """values: B lists. value: one value a list, or none."""
        fixed = {"first": 0, "last": -1}.get(self.config.which)
        numbers = ctx.option("index", self.config.index) if fixed is None else [fixed] * len(ctx.keys)
        taken = [group[i] if -len(group) <= i < len(group) else None for group, i in zip(values.groups(), numbers)]
        return {"value": ctx.maybe(taken)}
