"""Cards of namespace `perceiver`: Perceiver and Perceiver IO. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl
from anyany_perceiver import input_cards, query_cards, system_cards


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [*input_cards.CARDS, *query_cards.CARDS, *system_cards.CARDS]
