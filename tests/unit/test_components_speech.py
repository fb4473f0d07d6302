"""Speech from text against transformers' own, alone against in a batch, and texts that cannot be spoken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_audio.sound_cards import TTS, TtsConfig
from anyany_audio.tts import Tts
from plugins_for_tests.sounding import called, context, loaded

from anyany.testing.harness import bench


def speaking(folder: Path, **settings: Any) -> tuple[Any, Any]:
    """A small VITS of letters as transformers saves it, and the component of its folder."""
    import json

    import transformers

    torch.manual_seed(0)
    vocab = {c: i for i, c in enumerate("_abcdefghijklmnopqrstuvwxyz '")}
    vocab_file = folder / "vocab.json"
    vocab_file.write_text(json.dumps(vocab))
    transformers.VitsTokenizer(str(vocab_file), phonemize=False, pad_token="_", unk_token="_").save_pretrained(folder)
    config = transformers.VitsConfig(
        vocab_size=len(vocab), hidden_size=8, num_hidden_layers=1, ffn_dim=16, flow_size=8, spectrogram_bins=9,
        upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8], prior_encoder_num_flows=1,
        duration_predictor_filter_channels=8, posterior_encoder_num_wavenet_layers=1, **settings,
    )  # fmt: skip
    model = transformers.VitsModel(config).eval()
    model.save_pretrained(folder)
    return model, loaded(Tts, TtsConfig(), folder)


@pytest.mark.parametrize("settings", [{}, {"use_stochastic_duration_prediction": False},
                                      {"num_speakers": 3, "speaker_embedding_size": 4}])  # fmt: skip
def test_vits_speaks_as_transformers_does_with_the_same_noise(tmp_path: Path, settings: dict[str, Any]) -> None:
    import transformers
    from anyany_audio.tts import RowNoise

    model, component = speaking(tmp_path, **settings)
    voice = {"speaker": 2} if "num_speakers" in settings else {}
    found = called(component, "speak", ["a", "b"], [{**voice, "speed": 1.5}, voice], text=["Hello, you!", "good"])
    tokenizer = transformers.VitsTokenizer.from_pretrained(tmp_path)
    for row, (text, speed) in enumerate((("Hello, you!", 1.5), ("good", 1.0))):
        with torch.no_grad(), RowNoise(context(["a", "b"], "speak"), row):
            ids = tokenizer(text, return_tensors="pt").input_ids
            expected = model(ids, speaker_id=voice.get("speaker"), speaking_rate=speed).waveform
        torch.testing.assert_close(found["audio"][row].samples, expected, atol=1e-6, rtol=1e-5)


def test_speech_is_the_same_alone_as_among_seven_and_differs_from_item_to_item() -> None:
    component = bench(TTS, {"preset": "tiny", "stochastic": True}).build().component
    items, texts = [f"i{n}" for n in range(7)], ["the cat sat on the mat"] * 2 + [f"number {n}" for n in range(5)]
    together = called(component, "speak", items, text=texts)["audio"].list()
    for row, item in enumerate(items):
        [alone] = called(component, "speak", [item], text=texts[row : row + 1])["audio"]
        assert torch.equal(alone.samples, together[row].samples)
    first, second = together[0].samples, together[1].samples
    assert first.shape != second.shape or not torch.equal(first, second)


@pytest.mark.parametrize("text", ["", "  \n", "漢字", "!?…"])
def test_a_text_without_letters_is_not_spoken_and_the_others_are(text: str, tmp_path: Path) -> None:
    _, component = speaking(tmp_path)
    found = called(component, "speak", ["a", "b", "c"], text=["yes", text, "no"])["audio"]
    assert [len(g) for g in found.groups()] == [1, 0, 1]


def test_a_checkpoint_of_phonemes_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    import json

    _, component = speaking(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "phonemize": True}))
    with pytest.raises(ValueError, match="mms-tts"):
        called(component, "speak", ["a"], text=["hello"])
