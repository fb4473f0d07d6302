"""`python -m anyany_mini.begin`: what speech is learned from, made of the bundled weights, or of others.

`speak`: the caption encoder of `draw` (one shared trunk) under a voice of random weights. `think`: the language model
with tokens for sound, nine rows more. Both with the tokenizer that knows those tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from anyany_mini import talk
from anyany_mini.models import WEIGHTS

AUDIO = "<audio>"
SIGNALS = tuple(f"[AUD{n}]" for n in range(8))


def tokenizer(draw: Path) -> Tokenizer:
    """The tokenizer of `draw` with the tokens for sound behind its own."""
    found = Tokenizer.from_file(str(draw / "tokenizer.json"))
    found.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in (AUDIO, *SIGNALS)])
    return found


def begin_speak(draw: Path, out: Path, known: Tokenizer, seed: int) -> None:
    """A voice of random weights whose text encoder is that of `draw`."""
    from anyany.api.torch import Assets, Build, init_random
    from anyany_mini.plugin import SPEAK, SpeakConfig
    from anyany_mini.voice_head import Voice

    voice = Voice(SpeakConfig(), Build(node="speak", sizes={}, facts={}, assets=Assets(out)))
    init_random(voice, seed)
    tensors = voice.state_dict()
    old = {n: t.float() for n, t in load_file(draw / "model.safetensors").items()}
    for name, tensor in tensors.items():
        if name in old and name.startswith("text_encoder."):
            tensor[: len(old[name])] = old[name]
    words = tensors["text_encoder.embeddings.word_embeddings.weight"]
    for n, signal in enumerate(SIGNALS):
        words[known.token_to_id(signal)] = words[known.token_to_id(talk.SIGNALS[n])]
    (out / "config.json").write_text(json.dumps({"component": SPEAK.name}, indent=2) + "\n")
    save_file({n: t.contiguous() for n, t in tensors.items()}, out / "model.safetensors")


def begin_think(think: Path, out: Path, known: Tokenizer, seed: int) -> None:
    """The language model with a row for each new token: the signals for sound begin as those for pictures."""
    tensors = {n: t.float() for n, t in load_file(think / "model.safetensors").items()}
    rows = tensors["model.embed_tokens.weight"]
    more = torch.randn(known.get_vocab_size() - len(rows), rows.shape[1], generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([rows, more * rows.std()])
    for n, signal in enumerate(SIGNALS if len(more) else ()):
        rows[known.token_to_id(signal)] = 0.5 * (
            rows[known.token_to_id(signal)] + rows[known.token_to_id(talk.SIGNALS[n])]
        )
    tensors["model.embed_tokens.weight"] = rows
    config = json.loads((think / "config.json").read_text())
    config["config"]["vocab_size"] = len(rows)
    config["signals"]["audio"], config["audio_token"] = list(SIGNALS), AUDIO
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    template = talk.CHAT_TEMPLATE
    told = json.loads((think / "tokenizer_config.json").read_text())
    told["extra_special_tokens"] = list(dict.fromkeys([*told["extra_special_tokens"], AUDIO, *SIGNALS]))
    told["chat_template"] = template
    (out / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n")
    (out / "chat_template.jinja").write_text(template)
    save_file({n: t.contiguous() for n, t in tensors.items()}, out / "model.safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m anyany_mini.begin")
    parser.add_argument("--out", type=Path, default=Path("runs/mini/start"))
    parser.add_argument("--draw", type=Path, default=WEIGHTS / "draw", help="folder of the image head")
    parser.add_argument("--think", type=Path, default=WEIGHTS / "think", help="folder of the language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    known = tokenizer(options.draw)
    for name, make, source in (("speak", begin_speak, options.draw), ("think", begin_think, options.think)):
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        known.save(str(folder / "tokenizer.json"))
        make(source, folder, known, options.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
