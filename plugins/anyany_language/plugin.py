"""Cards of namespace `language`: language models as backbones. Torch-free.

Declarations are in the `*_cards.py` files, implementations in the files beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl
from anyany_language import causal_cards, sequence_cards, tagged_cards, text_cards, transfusion_cards


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [
        *causal_cards.CARDS,
        *sequence_cards.CARDS,
        *text_cards.CARDS,
        *transfusion_cards.CARDS,
        *tagged_cards.CARDS,
    ]
