"""VQ-AR: pictures as a sentence of codes (Esser et al. 2021, arXiv 2012.09841), GPT-2 on VQGAN's tokens.

Takes a class (or features [N,D]); gives image [3,H,W] in 0..1 and tokens [L], row by row; without the autoencoder
tokens alone. Suffixes: R rows, L tokens, C width, Z channels of a code, S side of the map, V codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from anyany.api.torch import Build, Context
from anyany_image_heads.autoencoder import VqAutoencoder
from anyany_image_heads.guided_decoder import decoded
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown


class VqAr(Head):
    """Options: `VqArConfig`. One token a step, whatever `steps` says; guidance 1 is none."""

    STEPS, GUIDANCE = 1, 2.0

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.length = config.side**2
        self.model = nn.Module()
        self.model.gpt = GPT2LMHeadModel(GPT2Config(
            vocab_size=config.codes, n_positions=self.length + 2, n_embd=config.width, n_layer=config.layers,
            n_head=config.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=None,
        ))  # fmt: skip
        if self.wide:
            self.features = FeatureCondition(self.wide, config.width)
        else:
            self.model.class_emb = nn.Embedding(self.classes + 1, config.width)
        if config.autoencoder:
            self.vae = VqAutoencoder(config)

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)

    def null_C(self) -> torch.Tensor:
        return self.model.class_emb.weight[-1]

    # drawing ---------------------------------------------------------------------------------------------------------
    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        c = self.config
        null = None if batch.null_RC is None else batch.null_RC[:, None]
        ids_RL = decoded(self.model.gpt, batch.cond_RC[:, None], null, batch.guidance_R, self.length, batch.words,
                         (c.temperature, c.top_k, c.top_p), batch.ctx.check)  # fmt: skip
        if self.vae is None:
            return {"tokens": ids_RL}
        return {"image": shown(self.vae.decode(ids_RL.unflatten(1, (c.side, c.side)))), "tokens": ids_RL}

    # training --------------------------------------------------------------------------------------------------------
    def side(self) -> int:
        return self.config.side * (1 if self.vae is None else self.vae.factor)

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: cross-entropy of every token after those before it."""
        if self.vae is None:
            raise ValueError(f"{self.build.node} has no autoencoder to make tokens of pictures with")
        with torch.no_grad():
            ids_BL = self.vae.encode(pixels_B3SS).flatten(1)
        return F.cross_entropy(self.logits(cond_BC, ids_BL).transpose(1, 2), ids_BL, reduction="none").mean(1)

    def logits(self, cond_BC: torch.Tensor, ids_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,V] float32: what each token should be, from the condition and the tokens before it."""
        said = self.model.gpt.get_input_embeddings()(ids_BL[:, :-1])
        return self.model.gpt(inputs_embeds=torch.cat([cond_BC[:, None], said], 1)).logits.float()

    def probe(self, call: str) -> Callable[[], Any]:
        """All tokens of one picture once, without guidance, on meta."""
        cond = torch.empty(1, self.config.width, device="meta")
        ids = torch.zeros(1, self.length, dtype=torch.long, device="meta")

        def one_picture() -> torch.Tensor:
            with torch.device("meta"):
                return self.logits(cond, ids)

        one_picture.__doc__ = f"{self.length} tokens"
        return one_picture
