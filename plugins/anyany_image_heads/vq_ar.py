"""VQ-AR: pictures as a sentence of codes (Esser et al. 2021, arXiv 2012.09841), GPT-2 on VQGAN's tokens.

Takes a class (or features [N,D]: their mean, or LlamaGen's prefix, Sun et al. 2024, arXiv 2406.06525); gives image
[3,H,W] in 0..1 and tokens [L], row by row; without the autoencoder tokens alone, which it then learns from too.
Suffixes: B R rows, P prefix, L tokens, C width, PC prefix side by side, D features, V codes, M = B·L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from anyany.api.torch import Build, Context, Rows
from anyany_image_heads.autoencoder import VqAutoencoder
from anyany_image_heads.guided_decoder import decoded
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown


class FeaturePrefix(nn.Module):
    """Features [n,D], n up to P, as P vectors side by side [PC]: projected, and what is missing taken from `null`."""

    def __init__(self, width: int, inside: int, count: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inside)
        self.null = nn.Parameter(torch.empty(count, width))

    def forward(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        rows = [v if v.dim() > 1 else v[None] for v in values]
        return self.proj(torch.stack([torch.cat([v, self.null[len(v) :].to(v)]) for v in rows])).flatten(1)


class VqAr(Head):
    """Options: `VqArConfig`. One token a step, whatever `steps` says; guidance 1 is none."""

    STEPS, GUIDANCE = 1, 2.0

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.length, self.prefix = config.side**2, config.prefix or 1
        if config.prefix and not self.wide:
            raise ValueError(f"{build.node} is conditioned on classes, one vector each; leave out `prefix`")
        self.model = nn.Module()
        self.model.gpt = GPT2LMHeadModel(GPT2Config(
            vocab_size=config.codes, n_positions=self.length + self.prefix + 1, n_embd=config.width,
            n_layer=config.layers, n_head=config.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own in one kernel
        ))  # fmt: skip
        if self.wide:
            wide, inside = self.wide, config.width
            self.features = (
                FeaturePrefix(wide, inside, config.prefix) if config.prefix else FeatureCondition(wide, inside)
            )
        else:
            self.model.class_emb = nn.Embedding(self.classes + 1, config.width)
        if config.autoencoder:
            self.vae = VqAutoencoder(config)

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)

    def null_C(self) -> torch.Tensor:
        return self.model.class_emb.weight[-1]

    def vectors(self, values: Sequence[Any], ctx: Context) -> torch.Tensor:
        """[B,PC]. Raises ValueError for more features than the prefix takes, too."""
        for value in values if self.config.prefix else ():
            if isinstance(value, torch.Tensor) and value.dim() == 2 and len(value) > self.prefix:
                raise ValueError(
                    f"the prefix of {self.build.node} takes up to {self.prefix} features, not {len(value)}"
                )
        return super().vectors(values, ctx)

    def prompt(self, cond_BPC: torch.Tensor) -> torch.Tensor:
        """[B,P,C]: what stands before the tokens."""
        return cond_BPC.unflatten(1, (self.prefix, -1))

    # drawing ---------------------------------------------------------------------------------------------------------
    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        c = self.config
        null = None if batch.null_RC is None else self.prompt(batch.null_RC)
        ids_RL = decoded(self.model.gpt, self.prompt(batch.cond_RC), null, batch.guidance_R, self.length, batch.words,
                         (c.temperature, c.top_k, c.top_p), batch.ctx.check)  # fmt: skip
        if self.vae is None:
            return {"tokens": ids_RL}
        return {"image": shown(self.vae.decode(ids_RL.unflatten(1, (c.side, c.side)))), "tokens": ids_RL}

    # training --------------------------------------------------------------------------------------------------------
    def side(self) -> int:
        return self.config.side * (1 if self.vae is None else self.vae.factor)

    def loss(self, ctx: Context, cond: Rows, image: Rows | None = None, tokens: Rows | None = None) -> dict[str, Rows]:
        """cond as in `image`; image: B pictures, or without the autoencoder tokens: B x [L]. loss: [B]."""
        if tokens is None:
            assert image is not None, "one of the two is a port"
            return super().loss(ctx, cond, image)
        return {"loss": ctx.rows(self.apart(self.dropped(ctx, cond), self.given(tokens)))}

    def given(self, tokens: Rows) -> torch.Tensor:
        """[B,L]. Raises ValueError for tokens that are no picture of this head."""
        for ids in tokens:
            if ids.shape != (self.length,) or ids.is_floating_point():
                raise ValueError(f"{self.build.node} learns pictures of {self.length} whole numbers, not "
                                 f"{ids.dtype} of shape {list(ids.shape)}")  # fmt: skip
            if not ids.is_meta and (int(ids.min()) < 0 or int(ids.max()) >= self.config.codes):
                raise ValueError(f"{self.build.node} has {self.config.codes} codes, and a token is {int(ids.min())} or "
                                 f"{int(ids.max())}; give it the tokenizer's `codes`")  # fmt: skip
        return tokens.dense().long()

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: of the tokens that the autoencoder makes of the pictures."""
        if self.vae is None:
            raise ValueError(f"{self.build.node} has no autoencoder to make tokens of pictures with")
        with torch.no_grad():
            ids_BL = self.vae.encode(pixels_B3SS).flatten(1)
        return self.apart(cond_BC, ids_BL)

    def apart(self, cond_BPC: torch.Tensor, ids_BL: torch.Tensor) -> torch.Tensor:
        """[B]: cross-entropy of every token after those before it."""
        logits_MV = self.logits(cond_BPC, ids_BL).flatten(0, 1)
        return F.cross_entropy(logits_MV, ids_BL.flatten(), reduction="none").view(ids_BL.shape).mean(1)

    def logits(self, cond_BPC: torch.Tensor, ids_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,V] float32: what each token should be, from the condition and the tokens before it."""
        said = self.model.gpt.get_input_embeddings()(ids_BL[:, :-1])
        read = torch.cat([self.prompt(cond_BPC), said], 1)
        return self.model.gpt(inputs_embeds=read, logits_to_keep=self.length, use_cache=False).logits.float()

    def probe(self, call: str) -> Callable[[], Any]:
        """All tokens of one picture once, without guidance, on meta."""
        cond = torch.empty(1, self.prefix * self.config.width, device="meta")
        ids = torch.zeros(1, self.length, dtype=torch.long, device="meta")

        def one_picture() -> torch.Tensor:
            with torch.device("meta"):
                return self.logits(cond, ids)

        one_picture.__doc__ = f"{self.length} tokens"
        return one_picture
