"""First: of two values the first that is present, where two branches meet again.

a, b: any one kind, either may be absent; value: of the same kind.
"""

from __future__ import annotations

from anyany.api.torch import Component, Context, Rows


class First(Component):
    """No options."""

    def first(self, ctx: Context, a: Rows | None = None, b: Rows | None = None) -> dict[str, Rows]:
        """B rows of what is present. Raises ValueError where neither is."""
        found = b if a is None else a
        if found is None:
            raise ValueError(f"neither `a` nor `b` of {self.build.node} is present")
        return {"value": Rows(found.data, found.offsets)}
