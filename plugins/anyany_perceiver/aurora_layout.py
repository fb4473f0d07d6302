"""Names of older Aurora files: variables joined in one tensor, and a `net.` before everything, as the released ones.

Joined kernels hold a variable a slice; joined heads hold the variables in turn, row by row.
"""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Layout, relayout


def as_named(stores: Any, config: Any) -> Any:
    """A store with the names of today's release, whichever layout the file has."""
    store = relayout(stores, (Layout(r"net\.(.*)", r"\1"),))
    surf, both, atmos = config.surf, (*config.surf, *config.static), config.atmos
    rules = [
        Layout(r"encoder\.surf_token_embeds\.weight", _each("encoder.surf_token_embeds.weights.{}", both), axis=1),
        Layout(r"encoder\.atmos_token_embeds\.weight", _each("encoder.atmos_token_embeds.weights.{}", atmos), axis=1),
    ]
    for group, names in (("surf", surf), ("atmos", atmos)):
        for kind in ("weight", "bias"):
            into = _each(f"decoder.{group}_heads.{{}}.{kind}", names)
            rules.append(Layout(rf"decoder\.{group}_head\.{kind}", into, in_turn=True))
    # The levels' norms of the wave model.
    rules.append(Layout(r"(.*)\.([kq])_ln\.(\w+)", r"\1.ln_\2.\3"))
    return relayout(store, rules)


def _each(form: str, names: Any) -> tuple[str, ...]:
    return tuple(form.format(name) for name in names)
