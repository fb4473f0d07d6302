"""Actions for edges whose kind does not fit: another port, a part of the message, a component that converts.

Only names of installed components are proposed; nothing is imported.
"""

from __future__ import annotations

from anyany.api.v1 import Port
from anyany.kinds.compat import a, fits
from anyany.spec.wires import Check, Feed, NodeState

CONVERT = {
    ("image", "features"): ("vision/vit", "vision/clip"),
    ("image", "embedding"): ("vision/clip", "vision/vit"),
    ("image", "tokens"): ("tokenizers/vq",),
    ("image", "latent"): ("tokenizers/kl-vae",),
    ("audio", "features"): ("audio/whisper-encoder",),
    ("video", "image"): ("video/frames",),
    ("video", "features"): ("video/frames",),
    ("text", "features"): ("language/text-encoder", "vision/clip"),
    ("text", "embedding"): ("vision/clip",),
    ("features", "image"): ("image_heads/diffusion",),
    ("embedding", "image"): ("image_heads/diffusion",),
    ("features", "audio"): ("audio/diffusion",),
    ("features", "video"): ("video/diffusion",),
    ("features", "text"): ("language/causal-lm",),
    ("image", "text"): ("language/causal-lm",),
    ("audio", "text"): ("audio/whisper",),
}
"""(what is there, what is wanted) -> components that make one of the other, best first."""


def for_mismatch(check: Check, state: NodeState, name: str, port: Port, feed: Feed) -> str:
    """The best action for a feed that does not fit a port."""
    wire = feed.wire
    if wire.is_message:
        part = next((k for k in port.kinds if k in check.parts), None)
        if part is not None:
            return f"write `{feed.label}.{part}`"
    other = _other_output(check, port, feed)
    if other is not None:
        return f"write `{other}`"
    fitting = _other_port(state, name, feed)
    if fitting is not None:
        return f"feed port `{fitting}`: `in: {{{fitting}: {feed.label}}}`"
    names = set(check.registry.names())
    start, good = _start(feed), wire.kinds[0] if wire.kinds else ""
    for kind in (*port.kinds, *port.native):
        for component in CONVERT.get((good, kind), ()):
            if component in names:
                return f"insert a component between them, such as `{{use: {component}, in: {start}}}`"
    return f"insert a component that makes {a(port.kinds)} of {a((good,)) if good else 'this'}"


def _start(feed: Feed) -> str:
    return feed.label if not feed.label.startswith("[") else "…"


def _other_output(check: Check, port: Port, feed: Feed) -> str | None:
    """Another output of the producing node that fits."""
    if feed.form != "output":
        return None
    for name, wire in check.nodes[feed.name].gives.items():
        if name != feed.port and wire.kinds and fits(port.kinds, wire.kinds):
            return f"{feed.name}.{name}"
    return None


def _other_port(state: NodeState, name: str, feed: Feed) -> str | None:
    """Another port of the taking call that the feed fits and that nothing feeds."""
    assert state.call is not None
    for other, port in state.call.takes.items():
        if (
            other != name
            and other not in state.raw.ports
            and port.kinds != ("any",)
            and fits(port.kinds, feed.wire.kinds)
        ):
            return other
    return None
