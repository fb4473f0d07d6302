"""BEiT-3 as a component: image, text or both become features; with a head, an answer, a caption, a class or vectors.

Names: the official ones of each fine-tuned release, `beit3.` for the trunk. Suffixes as in `multiway_layers.py`, and
P contrastive width, K classes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, to_float
from anyany_language.multiway_layers import EPS, Sizes, Trunk
from anyany_language.pieces import word_pieces

NORMLESS = ("vqa", "classify")


class Pooler(nn.Module):
    """Norm, linear, tanh on the first position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.dense = nn.LayerNorm(dim, eps=EPS), nn.Linear(dim, dim)

    def forward(self, x_BSD: torch.Tensor) -> torch.Tensor:
        return self.dense(self.norm(x_BSD[:, 0])).tanh()


class PairHead(nn.Module):
    """NLVR2: norm, linear, norm, GELU, linear."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.dense1 = nn.LayerNorm(4 * dim, eps=EPS), nn.Linear(4 * dim, 2 * dim)
        self.norm2, self.dense2 = nn.LayerNorm(2 * dim, eps=EPS), nn.Linear(2 * dim, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense2(F.gelu(self.norm2(self.dense1(self.norm1(x)))))


class Multiway(Component):
    """Options: `MultiwayConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        dim, head = config.width, config.head
        self.beit3 = Trunk(Sizes(
            resolution=config.resolution, patch=config.patch, width=dim, layers=config.layers, heads=config.heads,
            mlp=config.mlp or 4 * dim, vocab=config.vocab, positions=config.positions, norm=head not in NORMLESS,
        ))  # fmt: skip
        self.words = word_pieces(build.assets, config.vocab, config.positions - 2)
        if head == "retrieval":
            self.language_head, self.vision_head = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
            self.logit_scale = nn.Parameter(torch.empty(()))
        elif head == "vqa":
            self.pooler = Pooler(dim)
            inner = 2 * dim
            self.head = nn.Sequential(nn.Linear(dim, inner), nn.LayerNorm(inner, eps=EPS), nn.GELU(),
                                      nn.Linear(inner, config.classes))  # fmt: skip
        elif head == "pair":
            self.head = PairHead(dim, config.classes)
        elif head == "caption":
            self.mlm_head = nn.Linear(dim, config.vocab)
        elif head == "classify":
            self.fc_norm, self.head = nn.LayerNorm(dim, eps=EPS), nn.Linear(dim, config.classes)

    def rename(self, name: str) -> str:
        """A trunk alone has no prefix."""
        bare = name.split(".")[0] in ("encoder", "text_embed", "vision_embed")
        return f"beit3.{name}" if bare else name

    # tensors -----------------------------------------------------------------------------------------------------
    def image_vectors(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,P] unit vectors of the class token."""
        return F.normalize(self.vision_head(self.beit3(pixels_BCHW)[:, 0]), dim=-1)

    def text_vectors(self, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,P] unit vectors of the first word."""
        return F.normalize(self.language_head(self.beit3(None, ids_BL, real_BL)[:, 0]), dim=-1)

    def answer_logits(self, pixels: torch.Tensor, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,K] over the answers."""
        return self.head(self.pooler(self.beit3(pixels, ids_BL, real_BL)))

    def pair_logits(self, first: torch.Tensor, second: torch.Tensor, ids_BL: torch.Tensor,
                    real_BL: torch.Tensor) -> torch.Tensor:  # fmt: skip
        """[B,K] for two pictures under one text."""
        both = self.beit3(torch.cat([first, second]), ids_BL.repeat(2, 1), real_BL.repeat(2, 1))
        split = both.shape[1] - ids_BL.shape[1]
        first_2B, word_2B = both[:, 0], both[:, split]
        return self.head(torch.cat(torch.cat([first_2B, word_2B], -1).chunk(2), -1))

    def caption_logits(self, pixels: torch.Tensor, ids_BL: torch.Tensor, real_BL: torch.Tensor) -> torch.Tensor:
        """[B,L,V] on the text positions."""
        both = self.beit3(pixels, ids_BL, real_BL, causal=True)
        return self.mlm_head(both[:, -ids_BL.shape[1] :])

    def class_logits(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,K]: the mean of the patches, normed, projected."""
        return self.head(self.fc_norm(self.beit3(pixels_BCHW)[:, 1:].mean(1)))

    def probe(self, call: str) -> Callable[[], Any]:
        """A pass over a picture, 64 words, or both, as the call has them; on the meta device."""
        device, size = self.beit3.text_embed.weight.device, self.config.resolution
        image = torch.empty(1, 3, size, size, device=device)
        text = torch.empty(1, 64, dtype=torch.int64, device=device), torch.ones(1, 64, device=device)
        passes: dict[str, Callable[[], Any]] = {
            "image": lambda: self.image_vectors(image), "text": lambda: self.text_vectors(*text),
            "answer": lambda: self.answer_logits(image, *text), "classify": lambda: self.class_logits(image),
            "judge": lambda: self.pair_logits(image, image, *text), "encode": lambda: self.beit3(image, *text),
            "caption": lambda: self.caption_logits(image, *text),
        }  # fmt: skip

        def one_pass() -> None:
            passes[call]()

        told = {"image": "a picture", "classify": "a picture", "text": "64 words", "judge": "two pictures + 64 words"}
        one_pass.__doc__ = told.get(call, "a picture + 64 words")
        return one_pass

    # calls -------------------------------------------------------------------------------------------------------
    def pixels(self, ctx: Context, images: Rows) -> torch.Tensor:
        """[B,3,S,S], bicubic, normalised by 0.5 (classification: by ImageNet's figures)."""
        size, ready = self.config.resolution, []
        for image in images:
            x = to_float(image).to(ctx.device, torch.float32)[None]
            if x.shape[-2:] != (size, size):
                x = F.interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
            ready.append(x)
        classify = self.config.head == "classify"
        mean = torch.tensor((0.485, 0.456, 0.406) if classify else (0.5,) * 3, device=ctx.device).view(1, 3, 1, 1)
        std = torch.tensor((0.229, 0.224, 0.225) if classify else (0.5,) * 3, device=ctx.device).view(1, 3, 1, 1)
        return ((torch.cat(ready) - mean) / std).to(ctx.dtype)

    def encode(self, ctx: Context, image: Rows | None = None, text: Rows | None = None) -> dict[str, Rows]:
        """features: B x [N + L,D], image positions before words. Raises ValueError without either."""
        if image is None and text is None:
            raise ValueError("multiway encodes an image, a text, or both; neither was given")
        pixels = None if image is None else self.pixels(ctx, image)
        ids, real = (None, None) if text is None else self.words.batch(text.list(), ctx.device)
        out_BSD = self.beit3(pixels, ids, real)
        if real is None:
            return {"features": ctx.rows(out_BSD)}
        lengths = (out_BSD.shape[1] - real.shape[1] + real.sum(1)).tolist()
        return {"features": ctx.rows([row[:n] for row, n in zip(out_BSD, lengths)])}

    def image(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """embedding: [B,P] of pictures, for retrieval."""
        return {"embedding": ctx.rows(self.image_vectors(self.pixels(ctx, image)))}

    def text(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """embedding: [B,P] of texts, for retrieval."""
        return {"embedding": ctx.rows(self.text_vectors(*self.words.batch(text.list(), ctx.device)))}

    def answer(self, ctx: Context, image: Rows, text: Rows) -> dict[str, Rows]:
        """label and scores of the answers to a question about a picture."""
        return self._named(ctx, self.answer_logits(self.pixels(ctx, image), *self.words.batch(text.list(), ctx.device)))

    def judge(self, ctx: Context, first: Rows, second: Rows, text: Rows) -> dict[str, Rows]:
        """label and scores: whether a text is true of two pictures."""
        ids, real = self.words.batch(text.list(), ctx.device)
        return self._named(ctx, self.pair_logits(self.pixels(ctx, first), self.pixels(ctx, second), ids, real))

    def classify(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """label and scores of a picture."""
        return self._named(ctx, self.class_logits(self.pixels(ctx, image)))

    def caption(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """text: what a picture shows; a masked word stands at the end and is filled, one by one, greedily."""
        pixels, words = self.pixels(ctx, image), self.words
        ids = torch.full((len(image), 1), words.begin, device=ctx.device)
        over = torch.zeros(len(image), dtype=torch.bool, device=ctx.device)
        for _ in range(min(self.config.max_new_tokens, self.config.positions - 4)):
            ctx.check()
            asked = torch.cat([ids, torch.full_like(ids[:, :1], words.mask)], 1)
            best = self.caption_logits(pixels, asked, torch.ones_like(asked, dtype=torch.bool))[:, -1].argmax(-1)
            best = torch.where(over, torch.full_like(best, words.end), best)
            over, ids = over | (best == words.end), torch.cat([ids, best[:, None]], 1)
            if bool(over.all()):
                break
        return {"text": ctx.rows([words.text(row) for row in ids[:, 1:].tolist()])}

    def _named(self, ctx: Context, logits_BK: torch.Tensor) -> dict[str, Rows]:
        names = list(self.config.names) or [str(i) for i in range(self.config.classes)]
        chances = logits_BK.float().softmax(-1)
        top = chances.topk(min(5, chances.shape[1]))
        scores = [{names[i]: v for i, v in zip(ids, vs)} for ids, vs in zip(top.indices.tolist(), top.values.tolist())]
        return {"label": ctx.rows([next(iter(s)) for s in scores]), "scores": ctx.rows(scores)}
