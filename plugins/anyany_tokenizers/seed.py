"""SEED-1 (Ge et al. 2023, arXiv 2307.08041) and SEED-2 (2310.01218): a picture as 32 codes, each after those before.

image -> tokens [N] -> features [L,D]: one row of CLIP's image embedding (SEED-2) or 77 of a text encoder (SEED-1).
Names: AILab-CVC/SEED. Suffixes: B rows, N queries, D width, K width of a code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_tokenizers.codebooks import GradientCodebook
from anyany_tokenizers.pixels import Fit, check_ids
from anyany_tokenizers.seed_parts import Block, EvaTower, causal_mask, official_query_former, query_former

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
DOWN = (256, 128, 32)
"""Widths of the MLP that the released SEED-2 decodes through."""


class Seed(Component):
    """Options: `SeedConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        c, (rows, width) = config, config.given
        self.width_given = build.facts.get("outputs") or width
        self.codes = build.facts.get("codes") or c.codes
        self.fit = Fit(size=c.resolution, unit=c.patch, how="stretch")
        self.visual_encoder = EvaTower(c)
        self.ln_vision = nn.LayerNorm(c.vision_width, eps=1e-5)
        self.query_tokens = nn.Parameter(torch.zeros(1, c.queries, c.width))
        self.Qformer = query_former(c, c.vision_width, c.layers)
        self.quantize = GradientCodebook(self.codes, c.code_dim)
        self.encode_task_layer = _two(c.width, c.width, c.code_dim)
        self.decode_task_layer = _two(c.code_dim, c.code_dim, c.width)
        self.reverse_tokens = None
        if c.version == 1:
            self._reverse(rows, c.reverse_layers or 4)
            self.pos_embed_text, self.blocks_text = self._blocks(4)
            self.distill_text_proj = nn.Linear(c.width, self.width_given)
        else:
            self.pos_embed, self.blocks = self._blocks(c.depth)
            self.pos_embed_image, self.blocks_image = self._blocks(c.depth)
            if c.branch == "qformer":
                self._reverse(rows, c.reverse_layers or c.layers)
                self.distill_image_proj = nn.Linear(c.width, self.width_given)
            else:
                a, b, last = DOWN
                self.image_down = nn.Sequential(
                    nn.Linear(c.width, a, bias=False), nn.ReLU(), nn.Linear(a, b, bias=False), nn.ReLU(),
                    nn.Linear(b, last, bias=False),
                )  # fmt: skip
                self.distill_image_proj = nn.Linear(c.queries * last, self.width_given)

    def _reverse(self, tokens: int, layers: int) -> None:
        self.reverse_tokens = nn.Parameter(torch.zeros(1, tokens, self.config.width))
        self.Reverse_Qformer = query_former(self.config, self.config.width, layers)

    def _blocks(self, depth: int) -> tuple[nn.Parameter, nn.ModuleList]:
        c = self.config
        made = nn.ModuleList(Block(c.width, c.block_heads, 4 * c.width) for _ in range(depth))
        return nn.Parameter(torch.zeros(1, c.queries, c.width)), made

    def rename(self, name: str) -> str | None:
        """The official names as this component's."""
        return official_query_former(name)

    # tensors -----------------------------------------------------------------------------------------------------
    def see(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,S,S] normalised -> [B,1+P,E] the tower's tokens, normed."""
        return self.ln_vision(self.visual_encoder(x_BCHW))

    def query(self, seen_BPE: torch.Tensor, queries: torch.Tensor | None = None, **more: Any) -> Any:
        """The causal Q-Former over the tower's tokens; transformers' output. queries: instead of its own."""
        own = self.query_tokens if queries is None else queries
        return self.Qformer(
            query_embeds=own.expand(len(seen_BPE), -1, -1), encoder_hidden_states=seen_BPE,
            attention_mask=causal_mask(own.shape[1], seen_BPE).expand(len(seen_BPE), -1, -1, -1), **more,
        )  # fmt: skip

    def vectors(self, seen_BPE: torch.Tensor) -> torch.Tensor:
        """[B,1+P,E] -> [B,N,K] before quantising."""
        return self.encode_task_layer(self.query(seen_BPE).last_hidden_state)

    def recovered(self, decoded_BND: torch.Tensor) -> torch.Tensor:
        """SEED-2 in training: decoded codes back to what the Q-Former gave, [B,N,D]."""
        return _through(self.blocks, decoded_BND + self.pos_embed)

    def spread(self, decoded_BND: torch.Tensor) -> torch.Tensor:
        """Decoded codes [B,N,D] through the blocks that lead to the conditioning."""
        if self.config.version == 1:
            return _through(self.blocks_text, decoded_BND + self.pos_embed_text)
        return _through(self.blocks_image, decoded_BND + self.pos_embed_image)

    def conditioning(self, codes_BNK: torch.Tensor) -> torch.Tensor:
        """Code vectors -> [B,L,D] for the diffusion model."""
        x_BND = self.spread(self.decode_task_layer(codes_BNK))
        if self.reverse_tokens is None:
            return self.distill_image_proj(self.image_down(x_BND).flatten(1))[:, None]
        read = self.Reverse_Qformer(
            query_embeds=self.reverse_tokens.expand(len(x_BND), -1, -1), encoder_hidden_states=x_BND
        ).last_hidden_state
        return (self.distill_text_proj if self.config.version == 1 else self.distill_image_proj)(read)

    # calls -------------------------------------------------------------------------------------------------------
    def _seen(self, ctx: Context, image: Rows) -> torch.Tensor:
        x_BCHW = (self.fit.batch(image.list(), ctx.device, torch.float32) + 1) / 2
        mean, std = (torch.tensor(v, device=ctx.device).view(3, 1, 1) for v in (MEAN, STD))
        return self.see(((x_BCHW - mean) / std).to(ctx.dtype))

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. tokens: [B,N]."""
        z_BNK = self.vectors(self._seen(ctx, image))
        return {"tokens": ctx.rows(self.quantize.search(z_BNK.flatten(0, 1)).view(z_BNK.shape[:2]))}

    def decode(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [N]. features: [B,L,D]; SEED-2: embedding [B,D]."""
        ids_BN = tokens.dense()
        check_ids(ids_BN, self.codes, self.build.node)
        if ids_BN.shape[1:] != (self.config.queries,):
            raise ValueError(f"{self.build.node} decodes {self.config.queries} tokens, not {ids_BN.shape[1]}")
        found_BLD = self.conditioning(F.embedding(ids_BN, self.quantize.table))
        given = {"features": ctx.rows(found_BLD)}
        return given if self.config.version == 1 else {**given, "embedding": ctx.rows(found_BLD[:, 0])}

    def loss(self, ctx: Context, image: Rows, wanted: Rows) -> dict[str, Rows]:
        """loss [B] of SEED-2 (see `losses`); SEED-1 has no recovery. wanted: B x [D], or [L,D] of a caption."""
        parts, ids_BN = self.losses(self._seen(ctx, image), wanted.dense().to(ctx.dtype))
        given = {name: ctx.rows(value.float()) for name, value in parts.items()}
        return {"loss": ctx.rows(sum(parts.values()).float()), "tokens": ctx.rows(ids_BN), **given}  # type: ignore[union-attr]

    def losses(self, seen_BPE: torch.Tensor, wanted: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """({codes, distance, recovery}: [B] each, weighed by 5, 0.5 and 2; tokens [B,N])."""
        asked_BND = self.query(seen_BPE).last_hidden_state
        z_BNK = self.encode_task_layer(asked_BND)
        found = self.quantize(z_BNK.flatten(0, 1))
        codes_BNK, rows = found.codes_MD.view(z_BNK.shape), len(z_BNK)
        apart = self.conditioning(codes_BNK).flatten(1) - wanted.flatten(1)
        cosine_B = seen_BPE.new_ones(rows)
        if self.config.version == 2:
            back_BND = self.recovered(self.decode_task_layer(codes_BNK))
            cosine_B = F.cosine_similarity(back_BND, asked_BND.detach(), dim=2).mean(1)
        parts = {
            "codes": 5 * found.loss_M.view(rows, -1).mean(1), "distance": 0.5 * apart.square().mean(1),
            "recovery": 2 * (1 - cosine_B),
        }  # fmt: skip
        return parts, found.ids_M.view(rows, -1)


def _two(width: int, inside: int, given: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inside), nn.Tanh(), nn.Linear(inside, given))


def _through(blocks: nn.ModuleList, x_BND: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        x_BND = block(x_BND)
    return x_BND
