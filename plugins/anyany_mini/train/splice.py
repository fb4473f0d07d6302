"""The bundled talker in plain torch: splice pictures into text, run, generate greedily; used in training and its gates.

Source: LLaVA (Liu et al. 2023) for the splice, NExT-GPT (Wu et al. 2024) for the signals.
Shapes: B batch, L length, D width, P pictures, N patches a picture, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from anyany_mini import models, talk
from anyany_mini.train.common import token, tokenizer


@dataclass(frozen=True, kw_only=True)
class Talker:
    """The four learnt parts between a message and its reply; `patches` is N."""

    look: nn.Module
    see: nn.Module
    think: Any
    to_image: nn.Module
    patches: int

    def parts(self) -> dict[str, nn.Module]:
        return {"look": self.look, "see": self.see, "think": self.think, "to_image": self.to_image}


CONFIGS = {"look": models.LOOK, "see": models.SEE, "think": models.THINK, "to_image": models.TO_IMAGE}


def fresh() -> Talker:
    """A talker with random weights.

    The libraries' defaults (std 0.02, convolutions that shrink their input) suit widths of 1,000; at width 128 they
    left the pictures' signal a hundredth of the biases, so the scales are set here.
    """
    built: dict[str, Any] = {name: models.BUILD[name](config) for name, config in CONFIGS.items()}
    with torch.no_grad():
        for name in ("look", "think"):
            for value in built[name].parameters():
                if value.ndim == 2:
                    nn.init.normal_(value, std=0.7 * value.shape[1] ** -0.5)
        for layer in built["look"].embeddings.patch_embeddings.projection:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(built["look"].embeddings.position_embeddings, std=0.5)
    return Talker(**built, patches=models.LOOK["patches"])


def prompt_ids(asked: Sequence[str | None], patches: int) -> list[int]:
    """One user turn and the start of its reply; a `None` part is a picture, one `<image>` token a patch."""
    picture = talk.IMAGE * patches
    text = "".join(picture if part is None else part for part in asked)
    text = f"{talk.ROLES['user']}{text}{talk.ROLES['assistant']}"
    return cast(list[int], tokenizer().encode(text, add_special_tokens=False).ids)


def features(talker: Talker, pixels_P3HW: Tensor) -> Tensor:
    """What the language model sees of pictures in -1..1: [P, N, D]."""
    patches = talker.look(pixel_values=models.to_look(pixels_P3HW)).last_hidden_state[:, 1:]
    return cast(Tensor, talker.see(patches))


def hidden(talker: Talker, ids_BL: Tensor, features_PND: Tensor | None) -> Tensor:
    """Last hidden states [B, L, D], after the final norm, with the pictures' features at the `<image>` tokens."""
    embedded = talker.think.model.embed_tokens(ids_BL)
    if features_PND is not None:
        places = (ids_BL == token(talk.IMAGE)).unsqueeze(-1).expand_as(embedded)
        embedded = embedded.masked_scatter(places, features_PND)
    return cast(Tensor, talker.think.model(inputs_embeds=embedded, use_cache=False).last_hidden_state)


@torch.no_grad()
def generate(
    talker: Talker, prompts: Sequence[list[int]], pixels_P3HW: Tensor | None = None, limit: int = 48
) -> list[list[int]]:
    """Greedy replies (ids without the end token) to prompts of one common length."""
    ids = torch.tensor(list(prompts))
    begin, over = ids.shape[1], torch.zeros(len(ids), dtype=torch.bool)
    seen = None if pixels_P3HW is None else features(talker, pixels_P3HW)
    for _ in range(limit):
        following = talker.think.lm_head(hidden(talker, ids, seen)[:, -1]).argmax(-1)
        following[over] = token(talk.PAD)
        over |= following == token(talk.EOS)
        ids = torch.cat([ids, following[:, None]], 1)
        if over.all():
            break
    ends = {token(talk.EOS), token(talk.PAD)}
    return [[i for i in row if i not in ends] for row in ids[:, begin:].tolist()]


def words(ids: Sequence[int]) -> str:
    """Text of a reply, signals included."""
    return cast(str, tokenizer().decode(list(ids), skip_special_tokens=False))
