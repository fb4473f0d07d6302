"""Cards of namespace `tokenizers`: media as tokens or latents, and back. Torch-free.

Declared by family in the `*_cards.py` files; implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl
from anyany_tokenizers import frequency_cards, seed_cards, vq_cards


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [*vq_cards.CARDS, *seed_cards.CARDS, *frequency_cards.CARDS]
