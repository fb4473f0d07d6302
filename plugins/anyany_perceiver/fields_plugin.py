"""Cards of namespace `fields`: fields over the Earth and their forecasts. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Card, hookimpl
from anyany_perceiver.aurora_card import AURORA


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [AURORA]
