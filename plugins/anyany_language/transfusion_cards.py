"""Card of Transfusion. Torch-free; the implementation is `transfusion.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Facts, Port, card, json, option, tensor, var
from anyany_language.causal_cards import LanguageModelConfig


class TransfusionConfig(LanguageModelConfig):
    """A language model that also denoises patches; the defaults of generation are the paper's."""

    channels: int | None = option(None, low=1, doc="latent channels (solved when not given)")
    patch: int = option(2, low=1, doc="side of a patch in cells of the latent")
    size: tuple[int, int] = option((32, 32), low=1, doc="rows and columns of the latents that are produced")
    begin: str = option("<image>", doc="the token before a picture")
    end: str = option("</image>", doc="the token behind it")
    steps: int = option(250, per_item=True, low=1, high=1000, doc="denoising steps")
    guidance: float = option(3.0, per_item=True, low=0.0, doc="classifier-free guidance (1: none)")
    schedule: str = option(
        "squaredcos_cap_v2", choices=("squaredcos_cap_v2", "linear", "scaled_linear"), doc="noise levels, 1000 of them"
    )
    bound: float = option(4.0, low=0.0, doc="denoising keeps the clean latent it sees within +- this (0: does not)")
    weigh: float = option(5.0, low=0.0, doc="training: weight of the pictures' loss beside the text's")
    drop: float = option(0.1, low=0.0, high=1.0, doc="training: how often the prompt is left out, for guidance")

    def __post_init__(self) -> None:
        if self.size[0] % self.patch or self.size[1] % self.patch:
            raise ValueError(f"size {self.size[0]} x {self.size[1]} does not divide into patches of {self.patch}")
        strange = [k for k in (*(self.produce or ()), *self.most) if k != "image"]
        if strange:
            raise ValueError(f"Transfusion produces text and image, not {strange[0]}")


def transfusion_calls(config: Any, facts: Any) -> dict[str, Call]:
    channels = config.channels or var("channels")

    def latent(doc: str, kind: str = "latent", **more: Any) -> Port:
        return Port(kind, "C H W", C=channels, doc=doc, **more)

    takes = {
        "message": Port("message", doc="text with pictures at their places; turns make a conversation"),
        "image": latent("the latent of each picture", "latent?", per="message"),
    }
    target = {
        "target": Port("message", native=("image",), doc="the reply to be learned"),
        "target_image": latent("the latent of each picture of it, in order", "latent*?"),
    }
    return {
        "generate": Call(
            takes=takes,
            gives={
                "reply": Port("message", open=True, doc="text and, at their places, the pictures"),
                "text": Port("text", doc="the text of the reply alone"),
                "image": latent("the latent of each picture", "latent*", per="reply", space="of:image"),
            },
            teach="learn",
            batching=Batching(max_rows=16, cost="length"),
        ),
        "learn": Call(
            takes={**takes, **target},
            gives={
                "loss": Port("loss", doc="of the text, plus `weigh` times that of the pictures"),
                "text_loss": Port("metric", doc="mean cross-entropy of the target's words"),
                "image_loss": Port("metric", doc="mean squared error of the noise in its pictures"),
            },
            batching=Batching(max_rows=32),
        ),
    }


def _preset(width: int, layers: int, heads: int, mlp: int) -> dict[str, Any]:
    return {"width": width, "layers": layers, "heads": heads, "mlp": mlp, "vocab": 32000, "channels": 8}


TRANSFUSION = card(
    "language/transfusion",
    role="backbone",
    about="One transformer that predicts the next word and denoises pictures, whose patches see each other.",
    source="Transfusion (Zhou et al. 2024, arXiv 2408.11039)",
    config=TransfusionConfig,
    calls=transfusion_calls,
    facts=Facts(width=[json("hidden_size"), tensor("*embed_tokens.weight", axis=1)]),
    presets={"0.16b": _preset(768, 16, 12, 2048), "0.37b": _preset(1024, 24, 16, 2816),
             "0.76b": _preset(1536, 24, 24, 4096), "1.4b": _preset(2048, 24, 16, 5632),
             "7b": _preset(4096, 32, 32, 11008)},
    tiny={"width": 32, "layers": 2, "heads": 4, "context": 512, "max_new_tokens": 12, "size": (4, 4), "steps": 4},
    impl="anyany_language.transfusion:Transfusion",
)  # fmt: skip

CARDS = [TRANSFUSION]
