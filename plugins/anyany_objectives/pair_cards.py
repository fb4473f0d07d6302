"""Cards of the objectives that compare what was found with what was wanted, row by row. Torch-free.

Implementations: `match_conditioning.py`, `vq.py`, `vae.py`, `next_scale.py`, `masked_diffusion.py`, `denoising.py`,
`prior.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Port, card, option, var

TOGETHER = Batching(max_rows=1 << 16)
"""Rows of a loss are never split: they are small, and some are compared with one another."""


def loss_call(takes: dict[str, Port], batching: Batching = TOGETHER, **metrics: str) -> dict[str, Call]:
    """One call `loss`; metrics: name -> what it says."""
    gives = {"loss": Port("loss"), **{name: Port("metric", doc=doc) for name, doc in metrics.items()}}
    return {"loss": Call(takes=takes, gives=gives, batching=batching)}


def sequence(doc: str, width: Any = None) -> Port:
    return Port("features", "N D", N=var("n"), D=width or var("d"), doc=doc)


class MatchConfig(Config):
    """How two sequences are compared."""

    distance: str = option("mse", choices=("mse", "l1", "cosine", "euclidean"),
                           doc="mean squared, mean absolute, 1 - cosine, or length of the gap (NExT-GPT)")  # fmt: skip


MATCH = card(
    "objectives/match-conditioning",
    role="objective",
    about="What a projection makes should be what a decoder's own text encoder makes of the caption.",
    source="NExT-GPT (Wu et al. 2024, arXiv 2309.05519)",
    config=MatchConfig,
    calls=loss_call({"found": sequence("what the projection makes"), "wanted": sequence("what is wanted")}),
    weights=False,
    impl="anyany_objectives.match_conditioning:MatchConditioning",
)


class VqConfig(Config):
    """The codebook's and the encoder's side of vector quantisation."""

    beta: float = option(0.25, low=0, doc="weight of the commitment, the encoder's side")
    legacy: bool = option(False, doc="beta weighs the codebook's side instead, as VQGAN was trained")


TENSORS = "features|latent|embedding"
VQ = card(
    "objectives/vq",
    role="objective",
    about="Codes move to vectors, and vectors to their codes.",
    source="VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937)",
    config=VqConfig,
    calls=loss_call({"vectors": Port(TENSORS, doc="before quantising"), "codes": Port(TENSORS, doc="their codes")}),
    weights=False,
    impl="anyany_objectives.vq:Vq",
)


class VaeConfig(Config):
    """Reconstruction and divergence."""

    kl: float = option(1e-6, low=0, doc="weight of the divergence (nats, summed over the latent)")
    reconstruction: str = option("l1", choices=("l1", "l2"), doc="how pictures are compared, a mean over pixels")


VAE = card(
    "objectives/vae",
    role="objective",
    about="A decoded picture should be the original, and the posterior near a unit Gaussian.",
    source="VAE (Kingma and Welling 2013, arXiv 1312.6114)",
    config=VaeConfig,
    calls=loss_call(
        {
            "mean": Port("latent", "C H W", doc="of the posterior"),
            "logvar": Port("latent", "C H W", doc="of the posterior"),
            "found": Port("image?", doc="the decoded picture"),
            "wanted": Port("image?", doc="the original"),
        },
        divergence="KL from a unit Gaussian, in nats",
    ),
    weights=False,
    impl="anyany_objectives.vae:Vae",
)


class NextScaleConfig(Config):
    """Cross-entropy of tokens."""

    smoothing: float = option(0.0, low=0, high=1, doc="label smoothing")


def next_scale_calls(config: Any, facts: Any) -> dict[str, Call]:
    vocab = var("vocab")
    takes = {
        "logits": Port("features", "N V", N=var("n"), V=vocab, doc="scores of every token of every scale"),
        "tokens": Port("tokens", "N", N=var("n"), vocab=vocab, doc="the tokens, coarse to fine"),
    }
    return loss_call(takes, accuracy="share of tokens that are the likeliest")


NEXT_SCALE = card(
    "objectives/next-scale",
    role="objective",
    about="Cross-entropy of all tokens of all scales, each scale predicted at once.",
    source="VAR (Tian et al. 2024, arXiv 2404.02905)",
    config=NextScaleConfig,
    calls=next_scale_calls,
    weights=False,
    impl="anyany_objectives.next_scale:NextScale",
)


def masked_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {
        "found": Port("features", "N D", N=var("n"), doc="predicted noise, or scores of tokens"),
        "wanted": Port("features|tokens", doc="the noise [N,D], or the tokens [N]"),
        "masked": Port("tokens", "N", N=var("n"), vocab=2, doc="1 where a position was masked"),
    }
    return loss_call(takes)


MASKED = card(
    "objectives/masked-diffusion",
    role="objective",
    about="The error at masked positions alone: of noise (MAR), or of tokens (MaskGIT).",
    source="MAR (Li et al. 2024, arXiv 2406.11838); MaskGIT (Chang et al. 2022, arXiv 2202.04200)",
    calls=masked_calls,
    weights=False,
    impl="anyany_objectives.masked_diffusion:MaskedDiffusion",
)


class DenoisingConfig(Config):
    """Mean squared error, weighted by the signal-to-noise ratio where that is given."""

    prediction: str = option("noise", choices=("noise", "sample", "velocity"), doc="what the network predicts")
    gamma: float = option(5.0, low=0, doc="the ratio above which the weight no longer grows (min-SNR)")


DENOISING = card(
    "objectives/denoising",
    role="objective",
    about="A diffusion model's loss: predicted and true noise, sample or velocity, with min-SNR weights.",
    source="DDPM (Ho et al. 2020, arXiv 2006.11239); min-SNR (Hang et al. 2023, arXiv 2303.09556)",
    config=DenoisingConfig,
    calls=loss_call(
        {
            "found": Port("latent|features|image", doc="what the network predicts"),
            "wanted": Port("latent|features|image", doc="what it should"),
            "snr": Port("metric?", doc="signal-to-noise ratio of the noised sample"),
        }
    ),
    weights=False,
    impl="anyany_objectives.denoising:Denoising",
)


class PriorConfig(Config):
    """Distance of embeddings."""

    normalise: bool = option(True, doc="compare directions: both are made unit vectors first")


def prior_calls(config: Any, facts: Any) -> dict[str, Call]:
    def port(doc: str) -> Port:
        return Port("embedding", "D", D=var("d"), doc=doc)

    takes = {"found": port("the prior's picture embedding"), "wanted": port("the picture's own")}
    return loss_call(takes, cosine="of the two")


PRIOR = card(
    "objectives/prior",
    role="objective",
    about="A prior predicts a picture's embedding from its caption: squared distance of the two.",
    source="DALL-E 2 (Ramesh et al. 2022, arXiv 2204.06125)",
    config=PriorConfig,
    calls=prior_calls,
    weights=False,
    impl="anyany_objectives.prior:Prior",
)

CARDS = [MATCH, VQ, VAE, NEXT_SCALE, MASKED, DENOISING, PRIOR]
