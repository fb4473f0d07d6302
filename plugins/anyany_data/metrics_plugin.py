"""Cards of namespace `metrics`: how what was made is measured against what was wanted. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Call, Card, Config, Port, card, hookimpl, option


class ExactMatchConfig(Config):
    """When two texts count as the same."""

    strict: bool = option(False, doc="tell case and surrounding space apart")


EXACT_MATCH = card(
    "metrics/exact-match",
    role="metric",
    about="1 where two texts are the same, else 0.",
    config=ExactMatchConfig,
    calls={
        "measure": Call(
            takes={"found": Port("text"), "wanted": Port("text|message")},
            gives={"match": Port("metric", doc="1 or 0")},
        )
    },
    weights=False,
    tiny={},
    impl="anyany_data.exact_match:ExactMatch",
)
CLOSENESS = card(
    "metrics/mean-squared-error",
    role="metric",
    about="Mean squared difference of two pictures, features or embeddings of one shape.",
    calls={
        "measure": Call(
            takes={
                "found": Port("image|features|embedding|latent"),
                "wanted": Port("image|features|embedding|latent"),
            },
            gives={"error": Port("metric", doc="0 or more")},
        )
    },
    weights=False,
    tiny={},
    impl="anyany_data.mean_squared_error:MeanSquaredError",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [EXACT_MATCH, CLOSENESS]
