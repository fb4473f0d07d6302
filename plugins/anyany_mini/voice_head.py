"""The miniature's voice: eight slots of conditioning become a log-mel spectrogram, all frames at once.

FastSpeech (Ren et al. 2019, arXiv 1905.09263) with slots in the place of phonemes: each slot says how many frames it
lasts, is repeated as often, and convolutions make frames of it. The text encoder gives the slots of a sentence, for
training and for `to_audio` to match. Suffixes: B sentences, S slots, C their width, T frames, D width, M mel bands.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
import torchaudio  # its filters are tensors made at import, which must not be made on meta
from torch import nn

from anyany.api.torch import Audio, Build, Captions, Component, Context, Part, Rows, Text
from anyany_mini.hearing import positions

RATE, WINDOW, HOP = 16000, 1024, 256
SLOTS, FLOOR, FEWEST, MOST = 8, 1e-5, 8, 200
NOISE = 0.2
"""Of the slots in training, so that small errors of what is to match them are not heard."""


@lru_cache(maxsize=4)
def filters(mels: int) -> torch.Tensor:
    """[F,M] Slaney's, as `audio/griffin-lim` inverts them."""
    with torch.device("cpu"):
        return torchaudio.functional.melscale_fbanks(WINDOW // 2 + 1, 0.0, RATE / 2, mels, RATE, "slaney", "slaney")


def log_mel(clip: Audio, mels: int) -> torch.Tensor:
    """[T,M] natural logarithms of magnitudes."""
    wave_S = clip.samples.float().mean(0).cpu()
    wave_S = F.pad(wave_S, (0, max(0, WINDOW - len(wave_S))))
    spectrum_FT = torch.stft(wave_S, WINDOW, HOP, WINDOW, torch.hann_window(WINDOW), return_complex=True)
    return (spectrum_FT.abs().T @ filters(mels)).clamp_min(FLOOR).log()


class Block(nn.Module):
    """Layer norm, a convolution over 5 frames, GELU, a linear layer, added to its input: [B,T,D] -> [B,T,D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 5, padding=2)
        self.linear = nn.Linear(width, width)

    def forward(self, x_BTD: torch.Tensor, real_BT: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x_BTD) * real_BT[..., None]
        return x_BTD + self.linear(F.gelu(self.conv(normed.transpose(1, 2)).transpose(1, 2)))


class Voice(Component):
    """Options: `SpeakConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from transformers import BertConfig, BertModel

        width = config.width
        sizes = {
            "hidden_size": config.cond, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": config.words,
            "intermediate_size": 4 * config.cond, "max_position_embeddings": 512, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-6, "type_vocab_size": 1, "pad_token_id": 0,
        }  # fmt: skip
        self.text_encoder = BertModel(BertConfig(**sizes), add_pooling_layer=False)
        self.slot = nn.Linear(config.cond, width)
        self.places = nn.Embedding(SLOTS, width)
        self.mixer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.duration = nn.Linear(width, 1)
        self.time = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.mel = nn.Linear(width, config.mels)
        prefix = tuple(f"[AUD{n}]" for n in range(SLOTS))
        self.captions = Captions(Text(part=Part(name="transformers.BertModel", config=sizes), prefix=prefix), build)

    # calls -------------------------------------------------------------------------------------------------------
    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B sentences -> features: B x [8,C]."""
        found = self.captions.encode(self.text_encoder, text.list(), ctx.device)
        return {"features": ctx.rows(torch.stack(found))}

    def say(self, ctx: Context, cond: Rows) -> dict[str, Rows]:
        """cond: B x [8,C] -> features: B log-mel spectrograms [T,M]. Raises ValueError for NaN or infinity."""
        slots_BSC = cond.dense()
        if not bool(torch.isfinite(slots_BSC).all()):
            raise ValueError("the conditioning holds values that are not numbers")
        mixed_BSD, logs_BS = self._mixed(slots_BSC)
        frames_BS = torch.expm1(logs_BS.float()).round().clamp(0, MOST).long()
        frames_BS[:, -1] += (FEWEST - frames_BS.sum(1)).clamp(min=0)
        mel_BTM = self._mel(mixed_BSD, frames_BS)
        return {"features": ctx.rows([row[:n] for row, n in zip(mel_BTM, frames_BS.sum(1).tolist())])}

    def learn(self, ctx: Context, cond: Rows, audio: Rows, slots: Rows) -> dict[str, Rows]:
        """cond as in `say`, audio the sentence, slots: B x [8] seconds at which each begins, -1 where it is empty.

        loss [B]: mean absolute error of the log-mel plus squared error of the durations' logarithms."""
        mels = [log_mel(clip, self.config.mels) for clip in audio.list()]
        frames_BS = torch.stack([frames_of(row, len(mel)) for row, mel in zip(slots, mels)]).to(ctx.device)
        slots_BSC = cond.dense()
        slots_BSC = slots_BSC + NOISE * ctx.normal(tuple(slots_BSC.shape[1:])).to(slots_BSC)
        mixed_BSD, logs_BS = self._mixed(slots_BSC)
        found_BTM = self._mel(mixed_BSD, frames_BS)
        wanted_BTM = nn.utils.rnn.pad_sequence(mels, batch_first=True).to(found_BTM)
        real_BT = (torch.arange(found_BTM.shape[1], device=ctx.device) < frames_BS.sum(1, keepdim=True)).to(found_BTM)
        error_B = ((found_BTM - wanted_BTM).abs().mean(-1) * real_BT).sum(1) / real_BT.sum(1)
        late_B = (logs_BS - torch.log1p(frames_BS.to(logs_BS))).square().mean(1)
        return {"loss": ctx.rows(error_B + late_B)}

    # parts -------------------------------------------------------------------------------------------------------
    def _mixed(self, slots_BSC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(slots that know each other [B,S,D], log(1 + frames) of each [B,S])."""
        mixed_BSD = self.mixer(self.slot(slots_BSC) + self.places.weight)
        return mixed_BSD, self.duration(mixed_BSD)[..., 0]

    def _mel(self, mixed_BSD: torch.Tensor, frames_BS: torch.Tensor) -> torch.Tensor:
        """[B,T,M]: each slot repeated for its frames, each frame told how far its slot's begin and end are."""
        rows, times = [], []
        table = positions(MOST + 1, self.config.width).to(mixed_BSD)
        for mixed_SD, frames_S in zip(mixed_BSD, frames_BS):
            rows.append(mixed_SD.repeat_interleave(frames_S, 0))
            since = torch.cat([torch.arange(n) for n in frames_S.tolist()]).clamp(max=MOST)
            left = torch.cat([torch.arange(n - 1, -1, -1) for n in frames_S.tolist()]).clamp(max=MOST)
            times.append(torch.cat([table[since], table[left]], -1))
        x_BTD = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        x_BTD = x_BTD + self.time(nn.utils.rnn.pad_sequence(times, batch_first=True))
        count_B = frames_BS.sum(1, keepdim=True)
        real_BT = (torch.arange(x_BTD.shape[1], device=x_BTD.device) < count_B).to(x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, real_BT)
        return self.mel(self.norm(x_BTD))


def frames_of(seconds_S: torch.Tensor, count: int) -> torch.Tensor:
    """[S] frames of each slot, `count` in all, from the seconds at which they begin (-1: empty)."""
    begins = [min(round(float(s) * RATE / HOP), count) if s >= 0 else -1 for s in seconds_S.nan_to_num(-1.0)]
    used = [n for n, begin in enumerate(begins) if begin >= 0 and begin == max(begins[: n + 1])]
    found = torch.zeros(len(begins), dtype=torch.int64)
    for n, after in zip(used, [*used[1:], None], strict=True):
        found[n] = (count if after is None else begins[after]) - (0 if n == used[0] else begins[n])
    if not used:
        found[-1] = count
    return found
