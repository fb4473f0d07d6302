"""Cross-attention language model: a frozen decoder with Flamingo's gated blocks between its layers.

Takes a message and features [N,V] per place, gives reply and text; exchanges with causal-lm by one line. A mark
stands at each place and the blocks look at the features. OpenFlamingo; NVLM-X. Suffixes as in `gated_block.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Context, Generated, Layout, Rows, load_strict, load_transformers, relayout
from anyany_language.causal_lm import CausalLm
from anyany_language.gated_block import GatedBlock, Seen
from anyany_language.pretrained import PAD

END_OF_CHUNK, MARK = "<|endofchunk|>", "<image>"
Row = tuple[Sequence[torch.Tensor], Sequence[int]]
OPENFLAMINGO = (
    Layout(r"lang_encoder\.(?:.+\.)?(\d+)\.gated_cross_attn_layer\.(.+)", r"gated.\1.\2"),
    Layout(r"lang_encoder\.(.+)\.decoder_layer\.(.+)", r"\1.\2"),
    Layout(r"lang_encoder\.(.+)", r"\1"),
)
_DROPPED = re.compile(r"(gated|perceiver|old_decoder_blocks|gated_cross_attn_layers)\..*|.*rotary_emb\.inv_freq")


class GatedXattnLm(CausalLm):
    """Options: `GatedXattnConfig`. Blocks stand before layer i where (i + 1) is a multiple of `every`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        visual = config.visual or build.facts.get("visual") or build.sizes.get("visual")
        if visual is None:
            raise ValueError(f"nothing fixes the width of what {build.node} looks at; give `with: {{visual: …}}`")
        dim = self.model.get_input_embeddings().embedding_dim
        count = len(decoder_layers(self.model))
        self.gated = nn.ModuleDict({
            str(i): GatedBlock(dim, int(visual), config.dim_head, config.xattn_heads, config.factor)
            for i in range(count) if (i + 1) % config.every == 0
        })  # fmt: skip
        self._seen: Seen | None = None
        self._hook()

    @cached_property
    def mark(self) -> int:
        """The id of `<image>`, which OpenFlamingo appends to the tokenizer; without a tokenizer, of padding."""
        if self.tokenizer.bos_token_id is None and self.tokenizer.pad_token == PAD:
            return int(self.tokenizer.pad_token_id)
        if MARK not in self.tokenizer.get_vocab():
            self.tokenizer.add_tokens([END_OF_CHUNK, MARK], special_tokens=True)
        found = int(self.tokenizer.convert_tokens_to_ids(MARK))
        if found >= self.vocab:
            raise ValueError(f"the checkpoint has no embedding for {MARK}; its vocabulary has {self.vocab} rows")
        return found

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Names of OpenFlamingo (`lang_encoder.…`), or of the language model alone with the blocks laid over it."""
        store = relayout(self._with_rows([relayout([s], OPENFLAMINGO) for s in stores]), ())
        self.model = load_transformers(type(self.model), self.model.config, store, build, rename=_language)
        load_strict(self.gated, store, rename=_gate, skip=build.skip, dtype=build.dtype, device=build.device)
        self._hook()

    def _hook(self) -> None:
        layers = decoder_layers(self.model)
        for index, block in self.gated.items():
            layers[int(index)].register_forward_pre_hook(self._before(block), with_kwargs=True)

    def _before(self, block: nn.Module) -> Any:
        def look(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self._seen is None:
                return None
            if args:
                return (block(args[0], self._seen.at(args[0].shape[1])), *args[1:]), kwargs
            x = kwargs["hidden_states"]
            return args, kwargs | {"hidden_states": block(x, self._seen.at(x.shape[1]))}

        return look

    @contextmanager
    def looking(self, seen: Seen | None) -> Iterator[None]:
        """Within it, every pass of the language model looks at these media; None: it is the frozen model alone."""
        before, self._seen = self._seen, seen
        try:
            yield
        finally:
            self._seen = before

    # prompts -----------------------------------------------------------------------------------------------------
    def _embed(self, prompt: Sequence[Any], given: dict[str, list[torch.Tensor]], begin: bool = True) -> torch.Tensor:
        """[L,D]: text tokens and a mark at each place; marks and media of the row are noted for `looking`."""
        media, marked = [], []
        for piece in prompt:
            if isinstance(piece, str):
                marked.append(piece)
                continue
            kind, index = piece
            if index >= len(given.get(kind, ())):
                raise ValueError(f"the message holds {kind} {index + 1}, but port `{kind}` has none for it")
            value = given[kind][index]
            media.append(value[None] if value.dim() == 1 else value)
            marked.append(("mark", len(media) - 1))
        mark_1D = self._embed_ids([self.mark])
        embedded = super()._embed(marked, {"mark": [mark_1D] * len(media)}, begin)
        self._rows.append((media, self._times(marked, begin, embedded.shape[0])))
        return embedded

    def _times(self, marked: Sequence[Any], begin: bool, length: int) -> list[int]:
        """How many media stand at or before each position."""
        start = self.tokenizer.bos_token_id if begin else None
        times: list[int] = []
        for i, piece in enumerate(marked):
            if isinstance(piece, str):
                ids = self.tokenizer(piece, add_special_tokens=False).input_ids
                more = i == 0 and start is not None and ids[:1] != [start]
                times += [times[-1] if times else 0] * (len(ids) + more)
            else:
                times.append((times[-1] if times else 0) + 1)
        return times or [0] * length

    def _prompts(self, ctx: Context, message: Rows, features: dict[str, Rows | None]) -> list[torch.Tensor]:
        self._rows: list[tuple[list[torch.Tensor], list[int]]] = []
        return super()._prompts(ctx, message, features)

    def seen(self, rows: Sequence[Row], length: int, left: bool) -> Seen | None:
        """(media [N,V], times) of each row, padded to `length` on the left or right; None where no row has media."""
        longest = max(sum(m.shape[0] for m in media) for media, _ in rows)
        if longest == 0:
            return None
        device = self.model.device
        visual = next(m for media, _ in rows for m in media)
        media_BKV = visual.new_zeros(len(rows), longest, visual.shape[1])
        owner_BK = torch.zeros(len(rows), longest, dtype=torch.int64, device=device)
        time_BL = torch.zeros(len(rows), length, dtype=torch.int64, device=device)
        for i, (media, times) in enumerate(rows):
            at = 0
            for k, medium in enumerate(media):
                media_BKV[i, at : at + medium.shape[0]] = medium
                owner_BK[i, at : at + medium.shape[0]] = k + 1
                at += medium.shape[0]
            line = torch.tensor(list(times), device=device)
            if left:
                time_BL[i, length - len(times) :] = line
            else:
                time_BL[i, : len(times)] = line
                time_BL[i, len(times) :] = times[-1]
        return Seen(media_BKV=media_BKV, owner_BK=owner_BK, time_BL=time_BL, immediate=self.config.attend == "last")

    def one_pass(self, given: Mapping[str, Rows]) -> Callable[[], Any]:
        """64 words that look at the media `given` at the places of a message, on the meta device."""
        media = [v for port, rows in given.items() if port != "message" for v in rows.list()]
        words, device = 64 + len(media), self.model.device
        seen = self.seen([(media, [1] * words)], words, left=False)
        width = self.model.get_input_embeddings().embedding_dim
        inputs = {"inputs_embeds": torch.empty(1, words, width, device=device),
                  "attention_mask": torch.empty(1, 1, words, words, device=device),
                  "position_ids": torch.empty(1, words, dtype=torch.int64, device=device)}  # fmt: skip

        def one_pass() -> None:
            with self.looking(seen):
                self.model(**inputs, use_cache=False)

        one_pass.__doc__ = f"64 words, looking at {sum(m.shape[0] for m in media)} features"
        return one_pass

    # calls -------------------------------------------------------------------------------------------------------
    def _produce(self, ctx: Context, prompts: Sequence[torch.Tensor]) -> list[Generated]:
        if self.config.beams > 1:
            return super()._produce(ctx, prompts)
        with self.looking(self.seen(self._rows, max(p.shape[0] for p in prompts), left=True)):
            return super()._produce(ctx, prompts)

    def _beams(self, prompts: Sequence[torch.Tensor], room: Sequence[int]) -> list[Generated]:
        """A row at a time; all beams of a row look at its media."""
        out: list[Generated] = []
        for row, prompt, most in zip(self._rows, prompts, room):
            with self.looking(self.seen([row], prompt.shape[0], left=True)):
                out += super()._beams([prompt], [most])
        return out

    def _forward(self, rows: Sequence[int], embeds_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        with self.looking(self.seen([self._rows[r] for r in rows], embeds_BLD.shape[1], left=False)):
            return super()._forward(rows, embeds_BLD, mask_BL)


def decoder_layers(model: Any) -> nn.ModuleList:
    """The layers of a transformers decoder, whatever they are called."""
    base = model.base_model
    for path in ("layers", "h", "blocks", "decoder.layers"):
        found: Any = base
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, nn.ModuleList):
            return found
    raise ValueError(f"{type(model).__name__} has no list of layers that cross-attention could stand between")


def _language(name: str) -> str | None:
    """Tensors of the language model alone."""
    return None if _DROPPED.fullmatch(name) else name


def _gate(name: str) -> str | None:
    """Tensors of the blocks alone: `gated.7.attn_gate` as `7.attn_gate`."""
    return name.removeprefix("gated.") if name.startswith("gated.") else None
