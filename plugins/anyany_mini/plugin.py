"""Cards of namespace `mini`: none, for the miniature world is made of the other families' components.

The namespace gives `bundle:mini/NAME`, the weights shipped in `weights/NAME`. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """No component of its own."""
    return []
