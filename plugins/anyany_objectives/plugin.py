"""Cards of namespace `objectives`: what training minimises. Torch-free.

An objective gives `loss`, a number a row, and metrics to report. Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl
from anyany_objectives import batch_cards, pair_cards


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [*pair_cards.CARDS, *batch_cards.CARDS]
