"""What implementations may use: Rows, Context, Build, Component. Needs torch; never imported by `plugin.py`.

Shape suffixes: B rows of a call, N ragged length, D width.
"""

from __future__ import annotations

from anyany.engine.captions import Captions, Text, random_text
from anyany.engine.component import Assets, Build, Component
from anyany.engine.context import Context
from anyany.engine.decode import Decoder, Generated, Limits, last_hidden
from anyany.engine.denoise import Schedule, Wish, denoise
from anyany.engine.folding import DrawnNoise, Folded, fold, marks
from anyany.engine.masks import mixed_mask
from anyany.engine.rows import Rows
from anyany.engine.sampling import Sampler
from anyany.engine.spans import Asks, Rules, Span, span_rules
from anyany.engine.words import WordPieces
from anyany.media.fields import Field
from anyany.media.moments import sample_frames
from anyany.media.regions import OnImage, image_of, on_image
from anyany.media.values import Audio, Video, to_float, to_uint8
from anyany.weights.grow import grown, rows_of
from anyany.weights.load import load_strict
from anyany.weights.networks import (
    Part,
    load_network,
    load_parts,
    network_of,
    pipeline_parts,
    plain_config,
    scheduler_of,
)
from anyany.weights.pretrained import load_diffusers, load_transformers
from anyany.weights.random_init import init_random
from anyany.weights.relayout import Layout, relayout

__all__ = [
    "Asks", "Assets", "Audio", "Build", "Captions", "Component", "Context", "Decoder", "DrawnNoise", "Field",
    "Folded", "Generated", "Layout", "Limits", "OnImage", "Part", "Rows", "Rules", "Sampler", "Schedule", "Span",
    "Text", "Video", "Wish", "WordPieces", "denoise", "fold", "grown", "image_of", "init_random", "last_hidden",
    "load_diffusers", "load_network", "load_parts", "load_strict", "load_transformers", "marks", "mixed_mask",
    "network_of", "on_image", "pipeline_parts", "plain_config", "random_text", "relayout", "rows_of", "sample_frames",
    "scheduler_of", "span_rules", "to_float", "to_uint8",
]  # fmt: skip
