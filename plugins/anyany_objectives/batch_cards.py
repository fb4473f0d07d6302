"""Cards of the objectives that compare rows with one another, or hold weights of their own. Torch-free.

Implementations: `contrastive.py`, `adversarial.py`, `self_distillation.py`, `probes.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, option, tensor, var
from anyany_objectives.pair_cards import TOGETHER, loss_call


class ContrastiveConfig(Config):
    """CLIP's loss."""

    temperature: float = option(0.07, low=1e-4, doc="what cosines are divided by, where no scale is fed")


def contrastive_calls(config: Any, facts: Any) -> dict[str, Call]:
    def side(doc: str) -> Port:
        return Port("embedding", "D", D=var("d"), doc=doc)

    takes = {"left": side("such as pictures"), "right": side("such as their captions"),
             "scale": Port("metric?", doc="what cosines are multiplied by, such as a learned one")}  # fmt: skip
    return loss_call(takes, accuracy="share of rows that are nearest to their own counterpart, both ways")


CONTRASTIVE = card(
    "objectives/contrastive",
    role="objective",
    about="CLIP's symmetric cross-entropy: each row belongs to its counterpart and to no other of the batch.",
    source="CLIP (Radford et al. 2021, arXiv 2103.00020)",
    config=ContrastiveConfig,
    calls=contrastive_calls,
    weights=False,
    impl="anyany_objectives.contrastive:Contrastive",
)


class AdversarialConfig(Config):
    """VQGAN's patch discriminator."""

    channels: int = option(64, low=1, doc="channels of the first layer")
    layers: int = option(3, low=1, doc="halving layers")
    kind: str = option("hinge", choices=("hinge", "vanilla"), doc="the discriminator's loss")
    weight: float = option(1.0, low=0, doc="of the generator's part")


ADVERSARIAL = card(
    "objectives/adversarial",
    role="objective",
    about="A patch discriminator learns to tell pictures from made ones, and what made them learns to fool it.",
    source="pix2pix (Isola et al. 2016, arXiv 1611.07004); VQGAN (Esser et al. 2021, arXiv 2012.09841)",
    config=AdversarialConfig,
    calls=loss_call(
        {"real": Port("image", channels=3, doc="pictures"), "fake": Port("image", channels=3, doc="made ones")},
        batching=Batching(max_rows=TOGETHER.max_rows, group_by=("H", "W")), generator="the generator's part",
        discriminator="the discriminator's part",
    ),
    tiny={"channels": 4, "layers": 1},
    impl="anyany_objectives.adversarial:Adversarial",
)  # fmt: skip


class SelfDistillationConfig(Config):
    """DINO's heads and loss."""

    inputs: int | None = option(None, low=1, doc="width of the embeddings (solved when not given)")
    hidden: int = option(2048, low=1, doc="width inside the head")
    bottleneck: int = option(256, low=1, doc="width before its last layer")
    prototypes: int = option(65536, low=2, doc="what is told apart")
    student: float = option(0.1, low=1e-4, doc="temperature of the student")
    teacher: float = option(0.04, low=1e-4, doc="temperature of the teacher")
    momentum: float = option(0.996, low=0, high=1, doc="how slowly the teacher's head follows the student's")
    centre: float = option(0.9, low=0, high=1, doc="how slowly the centre follows the teacher")
    global_size: int = option(224, low=1, doc="crops: side of the two large ones in pixels")
    local_size: int = option(96, low=1, doc="crops: side of the small ones")
    locals: int = option(8, low=0, doc="crops: how many small ones")
    scale: float = option(0.4, low=0.01, high=1, doc="crops: share of the picture above which are large ones")


def self_distillation_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = config.inputs or facts.known("inputs") or var("inputs", 768)

    def views(doc: str) -> Port:
        return Port("embedding*", "D", D=width, doc=doc)

    takes = {"student": views("embeddings of all crops, large ones first"), "teacher": views("of the large ones")}
    loss = loss_call(takes, entropy="of the teacher's answer, in nats: near 0 or near log(prototypes) is a collapse")
    crops = Call(
        takes={"image": Port("image", channels=3)},
        gives={"large": Port("image*", channels=3, doc="two large crops"),
               "all": Port("image*", channels=3, doc="the same, then the small ones")},
        batching=Batching(max_rows=TOGETHER.max_rows), parts=(),
    )  # fmt: skip
    return {**loss, "crops": crops}


SELF_DISTILLATION = card(
    "objectives/self-distillation",
    role="objective",
    about="DINO: a student's answer for every crop should be the teacher's for the large ones, centred and sharpened.",
    source="DINO (Caron et al. 2021, arXiv 2104.14294); facebookresearch/dino",
    config=SelfDistillationConfig,
    calls=self_distillation_calls,
    facts=Facts(inputs=[tensor("student.mlp.0.weight", axis=1)]),
    tiny={"hidden": 16, "bottleneck": 8, "prototypes": 12, "global_size": 16, "local_size": 8, "locals": 2},
    impl="anyany_objectives.self_distillation:SelfDistillation",
)


class ProbesConfig(Config):
    """Linear classifiers."""

    classes: tuple[int, ...] = option((10,), doc="how many classes each probe tells apart")
    inputs: int | None = option(None, low=1, doc="width of the features (solved when not given)")
    noise: float = option(0.0, low=0, doc="standard deviation of Gaussian noise on the features")

    def __post_init__(self) -> None:
        if not self.classes or any(not isinstance(c, int) or c < 2 for c in self.classes):
            raise ValueError(f"`classes` is a list of numbers from 2, one for each probe, not {self.classes!r}")


def probes_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = config.inputs or facts.known("inputs") or var("inputs", 768)
    wanted = Port("features", "N A", A=len(config.classes), doc="their classes by number; below 0: not asked")
    takes = {"features": Port("features", "N D", D=width, doc="what is read"), "wanted": wanted}
    return loss_call(takes, accuracy="share of what is asked that is right")


PROBES = card(
    "objectives/probes",
    role="objective",
    about="Linear probes: classes read from every position of features, so that they are in them.",
    source="Alain and Bengio 2016, arXiv 1610.01644",
    config=ProbesConfig,
    calls=probes_calls,
    facts=Facts(inputs=[tensor("probes.0.weight", axis=1)]),
    tiny={"classes": (3, 4)},
    impl="anyany_objectives.probes:Probes",
)

CARDS = [CONTRASTIVE, ADVERSARIAL, SELF_DISTILLATION, PROBES]
