"""CLIP: pictures and texts in one space (Radford et al. 2021, arXiv 2103.00020), on transformers' CLIP towers.

image: patch features [N,D] of any layer, class token, embedding [E]; text, with pseudo-words at places: embedding [E].
Shape suffixes: B rows, C channels, S side, N patches, T tokens, D width, E shared width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, load_strict
from anyany_vision.clip_layout import LEFT, as_transformers
from anyany_vision.clip_text import Words, causal_mask
from anyany_vision.pictures import prepared


class Clip(Component):
    """Both towers, or one. Options: `ClipConfig`; a checkpoint's config.json overrides the sizes.

    Names are transformers': `vision_model.`, `visual_projection.`, `text_model.`, `text_projection.`, `logit_scale`.
    """

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        sizes = _sizes(config, build.assets.json("config.json") or {})
        self._eyes(config, build, sizes)
        if config.towers != "image":
            self._words(config, build, sizes)
        if config.towers == "both":
            self.logit_scale = nn.Parameter(torch.empty(()))

    def _eyes(self, config: Any, build: Build, sizes: Mapping[str, Any]) -> None:
        if config.towers == "text":
            return
        from transformers import CLIPVisionConfig, CLIPVisionModel

        vision = sizes["vision"]
        seen = build.assets.json("preprocessor_config.json") or {}
        self.mean, self.std = seen.get("image_mean", config.mean), seen.get("image_std", config.std)
        self.size, self.count = int(vision["image_size"]), int(vision["num_hidden_layers"])
        if self.size < int(vision["patch_size"]):
            raise ValueError(f"resolution {self.size} is smaller than a patch of {vision['patch_size']} pixels")
        self.depth = _depth(config.layer, self.count)
        self.vision_model = CLIPVisionModel(CLIPVisionConfig(**vision))
        shared = sizes["shared"] if config.projection else None
        self.visual_projection = None if shared is None else nn.Linear(vision["hidden_size"], shared, bias=False)

    def _words(self, config: Any, build: Build, sizes: Mapping[str, Any]) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        text = sizes["text"]
        self.text_model = CLIPTextModel(CLIPTextConfig(**text))
        self.text_projection = nn.Linear(text["hidden_size"], sizes["shared"], bias=False)
        self.words = Words(build.assets, int(text["vocab_size"]), int(text["max_position_embeddings"]))

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' or OpenAI's names, strictly; a tower that `towers` leaves out may be there."""
        left = [*LEFT]
        if self.config.towers == "image":
            left += ["text_model.*", "text_projection.*", "logit_scale"]
        if self.config.towers == "text":
            left += ["vision_model.*", "visual_projection.*", "logit_scale"]
        if not self.config.projection:
            left.append("visual_projection.*")
        load_strict(
            self, as_transformers(stores), ignores=left, skip=build.skip, dtype=build.dtype, device=build.device
        )

    # pictures ----------------------------------------------------------------------------------------------------
    def ready(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B,3,S,S] float32: pictures as the checkpoint's own preprocessing makes them."""
        return torch.stack([prepared(i, self.size, self.mean, self.std, self.config.fit) for i in images])

    def hidden(self, pixels_BCSS: torch.Tensor, blocks: int) -> list[torch.Tensor]:
        """[B,1+N,D] before the first block and after each of the first `blocks`, none of them normed."""
        tower = self.vision_model
        states = [tower.pre_layrnorm(tower.embeddings(pixels_BCSS))]
        for block in tower.encoder.layers[:blocks]:
            states.append(block(states[-1], attention_mask=None))
        return states

    def patches(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B,N,D] of the layer that `layer` names, with the class token before them where `keep_class` says so."""
        state = states[self.depth]
        return state if self.config.keep_class else state[:, 1:]

    def image(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [B,N,D]; cls: [B,D] normed; embedding: [B,E], not normalised."""
        states = self.hidden(self.ready(image.list()).to(ctx.device, ctx.dtype), self.count)
        cls_BD, shared_BE = self.pooled(states)
        out = {"patches": ctx.rows(self.patches(states)), "cls": ctx.rows(cls_BD)}
        return out if shared_BE is None else {**out, "embedding": ctx.rows(shared_BE)}

    def pooled(self, states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """([B,D] class token after the final norm, [B,E] its projection, None where there is none)."""
        cls_BD = self.vision_model.post_layernorm(states[-1][:, 0])
        return cls_BD, None if self.visual_projection is None else self.visual_projection(cls_BD)

    # texts -------------------------------------------------------------------------------------------------------
    def read(self, embeds: Sequence[torch.Tensor], ends: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """([B,T,D] normed states, [B,E] embeddings read at the place `ends` of each row); rows padded with zeros."""
        longest = max(e.shape[0] for e in embeds)
        rows_BTD = torch.stack([F.pad(e, (0, 0, 0, longest - e.shape[0])) for e in embeds])
        tower = self.text_model
        rows_BTD = rows_BTD + tower.embeddings.position_embedding.weight[:longest]
        mask = causal_mask(longest, rows_BTD)
        for block in tower.encoder.layers:
            rows_BTD = block(rows_BTD, attention_mask=mask)
        states_BTD = tower.final_layer_norm(rows_BTD)
        at_B = torch.tensor(list(ends), device=states_BTD.device)
        return states_BTD, self.text_projection(states_BTD[torch.arange(len(embeds), device=at_B.device), at_B])

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """[T,D] of token ids, without positions."""
        table = self.text_model.embeddings.token_embedding
        return table(torch.tensor(list(ids), dtype=torch.int64, device=table.weight.device))

    def text(self, ctx: Context, message: Rows, image: Rows | None = None) -> dict[str, Rows]:
        """message: B messages; image: pseudo-words [D] or [K,D] at the places of each.

        features: [T,D] per row, up to the end token; embedding: [B,E]. Raises ValueError beyond the context.
        """
        words = [None] * len(message) if image is None else image.groups()
        rows = [self.words.rows(m, w or (), self.embed) for m, w in zip(message.list(), words)]
        states_BTD, shared_BE = self.read(rows, [r.shape[0] - 1 for r in rows])
        features = [s[: r.shape[0]] for s, r in zip(states_BTD, rows)]
        return {"embedding": ctx.rows(shared_BE), "features": ctx.rows(features)}

    def both(self, ctx: Context, image: Rows, message: Rows) -> dict[str, Rows]:
        """How well picture and text of each row agree. similarity: [B] cosine x exp(logit_scale); both embeddings."""
        seen_BE = F.normalize(self.image(ctx, image)["embedding"].data, dim=-1)
        said_BE = F.normalize(self.text(ctx, message)["embedding"].data, dim=-1)
        score_B = (seen_BE * said_BE).sum(-1) * self.logit_scale.exp()
        return {"similarity": ctx.rows(score_B), "image": ctx.rows(seen_BE), "text": ctx.rows(said_BE)}


def _depth(layer: int, count: int) -> int:
    """`layer` as transformers counts hidden states (0: before the first block; -1: after the last) -> blocks run."""
    depth = layer if layer >= 0 else count + 1 + layer
    if not 0 <= depth <= count:
        raise ValueError(f"layer {layer} does not exist: this tower has {count} blocks")
    return depth


def _sizes(config: Any, card: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of both towers in transformers' words: the checkpoint's config.json, or the options."""
    flat = card if card.get("model_type") == "clip_vision_model" else None
    vision = card.get("vision_config") or flat or {
        "image_size": config.resolution, "patch_size": config.patch, "hidden_size": config.width,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads, "hidden_act": config.act,
        "intermediate_size": config.mlp or 4 * config.width, "layer_norm_eps": config.eps,
    }  # fmt: skip
    text = card.get("text_config") or {
        "vocab_size": config.vocab, "max_position_embeddings": config.context, "hidden_size": config.text_width,
        "num_hidden_layers": config.text_layers, "num_attention_heads": config.text_heads, "hidden_act": config.act,
        "intermediate_size": 4 * config.text_width, "layer_norm_eps": config.eps, "bos_token_id": config.vocab - 2,
        "eos_token_id": config.vocab - 1, "pad_token_id": config.vocab - 1,
    }  # fmt: skip
    shared = card.get("projection_dim") or vision.get("projection_dim") if card else config.shared
    return {"vision": _whole(vision, "CLIPVisionConfig"), "text": _whole(text, "CLIPTextConfig"), "shared": shared}


def _whole(sizes: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The sizes with transformers' defaults for those that config.json leaves out."""
    import transformers

    return dict(getattr(transformers, kind)(**sizes).to_dict())
