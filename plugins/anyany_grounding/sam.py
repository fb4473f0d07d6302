"""SAM: a picture is embedded once; boxes, points and prompt tokens then cut masks out of it, on transformers' SAM.

Kirillov et al. 2023, arXiv 2304.02643. Prompt tokens as in NExT-Chat (arXiv 2311.04498).
Suffixes: B rows, S side of the input, G side of the embedding, D width of prompts, P prompts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Build, Component, Context, OnImage, Rows, load_strict, on_image, to_uint8
from anyany_grounding import examples
from anyany_grounding.coordinates import Size, size_of
from anyany_grounding.sam_layout import LEFT, as_transformers, sizes_of

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Sam(Component):
    """Options: `SamConfig`; a checkpoint's config.json overrides the sizes. Names: transformers', or the authors'."""

    def __init__(self, config: Any, build: Build) -> None:
        from transformers.models.sam import modeling_sam as sam

        super().__init__(config, build)
        sizes = sizes_of(config, build.assets.json("config.json") or {})
        self.side, self.grid = sizes.vision_config.image_size, sizes.prompt_encoder_config.image_embedding_size
        self.vision_encoder = sam.SamVisionEncoder(sizes.vision_config)
        self.prompt_encoder = sam.SamPromptEncoder(sizes)
        self.mask_decoder = sam.SamMaskDecoder(sizes.mask_decoder_config)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under transformers' names or the authors' (NExT-Chat: `#sam.model.`), strictly."""
        load_strict(self, as_transformers(stores), ignores=LEFT, skip=build.skip, dtype=build.dtype,
                    device=build.device)  # fmt: skip

    # pictures ----------------------------------------------------------------------------------------------------
    def frame(self, size: Size) -> tuple[Size, Size]:
        """(the picture's size within the input, where it begins): longest side S, the rest padded."""
        scale = self.side / max(size)
        width, height = (max(1, int(length * scale + 0.5)) for length in size)
        if self.config.fit == "corner":
            return (width, height), (0, 0)
        return (width, height), ((self.side - width) // 2, (self.side - height) // 2)

    def ready(self, image: torch.Tensor) -> torch.Tensor:
        """[3,S,S] float32 of a picture: resized, normalised, then padded with zeros."""
        if image.is_meta:  # counting FLOPs: shapes alone
            return torch.empty(3, self.side, self.side, device="meta")
        (width, height), (left, top) = self.frame(size_of(image))
        pixels = (_resized(image, (width, height)).float() - _column(MEAN)) / _column(STD)
        return F.pad(pixels, (left, self.side - width - left, top, self.side - height - top))

    def embedding(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B,D,G,G]."""
        found: torch.Tensor = self.vision_encoder(pixels_B3SS).last_hidden_state
        return found

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. features [B,G*G,D], row by row."""
        pixels = torch.stack([self.ready(one) for one in image.list()]).to(ctx.device, ctx.dtype)
        return {"features": ctx.rows(self.embedding(pixels).flatten(2).transpose(1, 2).contiguous())}

    # prompts -----------------------------------------------------------------------------------------------------
    def positions(self) -> torch.Tensor:
        """[1,D,G,G]: where each place of the embedding lies."""
        table = self.prompt_encoder.shared_embedding
        steps = (torch.arange(self.grid, device=table.positional_embedding.device).float() + 0.5) / self.grid
        places = torch.stack([steps.expand(self.grid, -1), steps[:, None].expand(-1, self.grid)], -1)
        return table(places).permute(2, 0, 1)[None]

    def box_tokens(self, boxes_P4: torch.Tensor) -> torch.Tensor:
        """[P,2,D] of boxes in pixels of the input."""
        found: torch.Tensor = self.prompt_encoder._embed_boxes(boxes_P4[None])[0]
        return found

    def point_tokens(self, points_N2: torch.Tensor, pad: bool) -> torch.Tensor:
        """[1,N,D] of points in pixels of the input, all of them inside the mask; `pad` where no box comes with them."""
        labels = torch.ones(1, 1, len(points_N2), device=points_N2.device)
        found: torch.Tensor = self.prompt_encoder._embed_points(points_N2[None, None], labels, pad=pad)[0]
        return found

    def logits(self, map_1DGG: torch.Tensor, tokens_PTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """([P,S,S] mask logits on the input, [P] predicted IoU) of P prompts of T tokens on one picture."""
        dense = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(map_1DGG)
        masks, scores = self.mask_decoder(
            image_embeddings=map_1DGG, image_positional_embeddings=self.positions().to(map_1DGG.dtype),
            sparse_prompt_embeddings=tokens_PTD[None].to(map_1DGG.dtype), dense_prompt_embeddings=dense,
            multimask_output=False,
        )  # fmt: skip
        large = F.interpolate(masks[0].float(), (self.side, self.side), mode="bilinear", align_corners=False)
        return large[:, 0], scores[0, :, 0].float()

    def segment(
        self, ctx: Context, features: Rows, image: Rows, prompt: Rows | None = None, box: Rows | None = None,
        points: Rows | None = None,
    ) -> dict[str, Rows]:  # fmt: skip
        """features: what `encode` gave of the same picture; prompt: tokens [P,k*D]; box: [P,4]; points: [N,2].

        mask [H,W]: the union of what was cut for each prompt; scores: the predicted IoU of each.
        Raises ValueError where there is no prompt, or where prompts and boxes are not as many.
        """
        masks, scores = [], []
        for i, (x_ND, picture) in enumerate(zip(features.list(), image.list())):
            given = [None if rows is None else rows[i] for rows in (prompt, box, points)]
            tokens_PTD = self._tokens(given, picture, x_ND)
            map_1DGG = x_ND.T.reshape(1, -1, self.grid, self.grid)
            cut, told = self.logits(map_1DGG, tokens_PTD)
            masks.append(on_image(self._fitted(cut, size_of(picture)).any(0), picture))
            scores.append({str(n): float(s) for n, s in enumerate(told.tolist())} if not told.is_meta else {})
        return {"mask": ctx.rows(masks), "scores": ctx.rows(scores)}

    def _tokens(self, given: Sequence[Any], picture: torch.Tensor, x_ND: torch.Tensor) -> torch.Tensor:
        """[P,T,D]: prompt tokens, then points, then the boxes' corners."""
        prompt, box, points = given
        tokens = [] if prompt is None else [prompt.reshape(-1, prompt.shape[-1] // x_ND.shape[-1], x_ND.shape[-1])]
        if points is not None and len(points):
            spots = self.placed(points[:, :2], picture).to(x_ND.device)  # in float32: pixels want more than bfloat16
            found = self.point_tokens(spots, pad=box is None and not tokens)
            tokens.append(found)
        if box is not None:
            tokens.append(self.box_tokens(self.placed(box, picture).to(x_ND.device)))
        counts = {len(t) for t in tokens if len(t) != 1}
        if not tokens or 0 in counts:
            raise ValueError("there is nothing to cut by: SAM wants a box, points or prompt tokens")
        if len(counts) > 1:
            told = ", ".join(str(len(t)) for t in tokens)
            raise ValueError(f"prompt tokens and boxes belong together one by one, but there are {told}")
        count = max(len(t) for t in tokens)
        return torch.cat([t.expand(count, -1, -1).to(x_ND.dtype) for t in tokens], 1)

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: pictures of unlike shapes, with boxes and as many prompt tokens, and points."""
        pictures, counts = [examples.picture(row) for row in rows], [1 + row % 3 for row in rows]
        if call == "encode":
            return {"image": Rows(pictures)}
        width = self.prompt_encoder.hidden_size
        given = {
            "features": Rows(torch.stack([examples.states(self.grid**2, width, row) for row in rows])),
            "image": Rows(pictures),
            "prompt": Rows([examples.states(n, self.config.tokens * width, row) for n, row in zip(counts, rows)]),
            "box": Rows([examples.boxes(p, n, row) for p, n, row in zip(pictures, counts, rows)]),
            "points": Rows([examples.points(p, 2, row) for p, row in zip(pictures, rows)]),
        }
        kept = examples.fed(given, making, ("prompt", "box", "points"))
        return kept if len(kept) > 2 else {**kept, "box": given["box"]}

    def probe(self, call: str) -> Any:
        """For counting: one picture, or one mask by prompt tokens and a box."""
        width = self.prompt_encoder.hidden_size

        def run() -> None:
            map_1DGG = torch.empty(1, width, self.grid, self.grid, device="meta")
            self.logits(map_1DGG, torch.empty(1, self.config.tokens + 2, width, device="meta"))

        run.__doc__ = "1 mask"
        return run if call == "segment" else None

    def placed(self, region: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """Boxes or points [N,2k] in pixels of a picture, as pixels of the input."""
        size = size_of(picture)
        (width, height), start = self.frame(size)
        pairs = region.shape[-1] // 2
        scale = torch.tensor([width / size[0], height / size[1]] * pairs)
        plain = region.as_subclass(torch.Tensor) if isinstance(region, OnImage) else region
        return plain.float() * scale.to(region.device) + torch.tensor([*start] * pairs, device=region.device)

    def _fitted(self, logits_PSS: torch.Tensor, size: Size) -> torch.Tensor:
        """[P,H,W] of truth values on the picture."""
        (width, height), (left, top) = self.frame(size)
        inside = logits_PSS[:, None, top : top + height, left : left + width]
        return F.interpolate(inside, (size[1], size[0]), mode="bilinear", align_corners=False)[:, 0] > 0


def _resized(image: torch.Tensor, size: Size) -> torch.Tensor:
    """[3,H,W] uint8, by PIL's bilinear filter on bytes."""
    import numpy
    from PIL import Image

    pixels = to_uint8(image).cpu()
    pixels = pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels[:3]
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy(), "RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(list(values)).view(-1, 1, 1)
