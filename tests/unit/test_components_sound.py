"""What makes sound, against the libraries' own pipelines, alone against in a batch, and through files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from anyany_audio.diffusion import AudioDiffusion
from anyany_audio.log_mel import LogMel
from anyany_audio.plugin import LogMelConfig
from anyany_audio.sound_cards import DIFFUSION, GRIFFIN_LIM, RVQ, AudioDiffusionConfig
from plugins_for_tests.sounding import called, context, loaded

from anyany import media
from anyany.api.torch import Assets, Audio, Build, Rows
from anyany.pipeline import load
from anyany.registry import default_registry
from anyany.testing.harness import bench

SMALL_UNET = {
    "block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 8, "in_channels": 4, "out_channels": 4,
    "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
SMALL_VAE = {
    "in_channels": 1, "out_channels": 1, "latent_channels": 4, "block_out_channels": [8, 16], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "scaling_factor": 0.9,
}  # fmt: skip
BERTISH = {
    "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 99,
    "projection_dim": 8,
}  # fmt: skip


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine(hertz: float, seconds: float, rate: int = 16000) -> Audio:
    return Audio(0.5 * torch.sin(torch.arange(int(seconds * rate)) * (2 * torch.pi * hertz / rate))[None], rate)


def peak(sound: Audio) -> float:
    """The loudest frequency in Hz."""
    spectrum = torch.fft.rfft(sound.samples[0]).abs()
    return float(spectrum[1:].argmax() + 1) * sound.rate / sound.samples.shape[1]


# diffusion ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def audioldm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A small AudioLDM as diffusers saves it."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("audioldm")
    unet = diffusers.UNet2DConditionModel(
        **SMALL_UNET, cross_attention_dim=(8, 16), class_embed_type="simple_projection", class_embeddings_concat=True,
        projection_class_embeddings_input_dim=8,
    )  # fmt: skip
    pipe = diffusers.AudioLDMPipeline(
        unet=unet, vae=diffusers.AutoencoderKL(**SMALL_VAE), tokenizer=None,
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        text_encoder=transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**BERTISH)),
        vocoder=transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(
            model_in_dim=8, sampling_rate=16000, upsample_initial_channel=16, upsample_rates=[5, 4],
            upsample_kernel_sizes=[7, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
            normalize_before=False)),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe, folder


def test_audioldms_folder_sounds_as_its_pipeline(audioldm: tuple[Any, Path]) -> None:
    pipe, folder = audioldm
    component = loaded(AudioDiffusion, AudioDiffusionConfig(steps=4, guidance=2.5, seconds=0.029), folder)
    cond, negative = normal(2, 1, 8), normal(2, 1, 8, seed=1)
    expected = pipe(
        prompt_embeds=cond[:, 0], negative_prompt_embeds=negative[:, 0], num_inference_steps=4, guidance_scale=2.5,
        audio_length_in_s=0.029, latents=context(["a", "b"]).normal((4, 12, 4)), output_type="pt",
    ).audios  # fmt: skip
    found = called(component, "audio", ["a", "b"], cond=list(cond), negative=list(negative))["audio"].list()
    assert [s.rate for s in found] == [16000, 16000] and expected.shape == (2, 464)
    torch.testing.assert_close(torch.cat([s.samples for s in found]), expected, atol=1e-5, rtol=1e-4)


def test_audioldms_text_embeddings_are_its_pipelines(audioldm: tuple[Any, Path]) -> None:
    pipe, folder = audioldm
    component = loaded(AudioDiffusion, AudioDiffusionConfig(), folder)
    ids = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    component.prompts._ids = lambda name, caption, device: ids
    found = called(component, "embed", ["a"], text=["a dog"])["features"][0]
    expected = torch.nn.functional.normalize(pipe.text_encoder.eval()(**ids).text_embeds, dim=-1)
    torch.testing.assert_close(found, expected.detach())


def test_audioldm2s_folder_sounds_as_its_pipeline(tmp_path: Path) -> None:
    import diffusers
    import transformers

    torch.manual_seed(0)
    unet = diffusers.AudioLDM2UNet2DConditionModel(**SMALL_UNET, cross_attention_dim=((None, 6, 10),) * 2)
    vae = diffusers.AutoencoderKL(**SMALL_VAE)
    vocoder = transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(
        model_in_dim=8, upsample_initial_channel=16, upsample_rates=[5, 4], upsample_kernel_sizes=[7, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], normalize_before=False))  # fmt: skip
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)
    named = {"unet": unet, "vae": vae, "vocoder": vocoder, "scheduler": scheduler}
    for name, part in named.items():
        part.save_pretrained(tmp_path / name)
    (tmp_path / "model_index.json").write_text('{"_class_name": "AudioLDM2Pipeline"}')
    pipe = diffusers.AudioLDM2Pipeline(
        **named, text_encoder=None, text_encoder_2=transformers.T5EncoderModel(transformers.T5Config(
            d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=30)), projection_model=None,
        language_model=transformers.GPT2Model(transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=30)),
        tokenizer=None, tokenizer_2=None, feature_extractor=None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    component = loaded(AudioDiffusion, AudioDiffusionConfig(steps=3, guidance=1.0, seconds=0.02), tmp_path)
    cond, words = normal(2, 8, 6), normal(2, 5, 10, seed=1)
    expected = pipe(
        prompt_embeds=words, generated_prompt_embeds=cond, attention_mask=torch.ones(2, 5, dtype=torch.int64),
        num_inference_steps=3, guidance_scale=1.0, audio_length_in_s=0.02, output_type="pt",
        latents=context(["a", "b"]).normal((4, 8, 4)),
    ).audios  # fmt: skip
    found = called(component, "audio", ["a", "b"], cond=list(cond), words=list(words))["audio"].list()
    torch.testing.assert_close(torch.cat([s.samples for s in found]), expected, atol=1e-5, rtol=1e-4)


def test_audioldm2s_captions_become_what_its_pipeline_makes_of_them(tmp_path: Path) -> None:
    import diffusers
    import transformers

    torch.manual_seed(0)
    text = {**BERTISH, "projection_dim": 8}
    audio = {"num_mel_bins": 64, "spec_size": 64, "depths": [1, 1], "num_attention_heads": [1, 1], "window_size": 4,
             "patch_embeds_hidden_size": 8, "hidden_size": 16, "projection_dim": 8}  # fmt: skip
    clap = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    t5 = transformers.T5EncoderModel(transformers.T5Config(d_model=10, d_kv=4, d_ff=16, num_layers=1, num_heads=2,
                                                           vocab_size=30))  # fmt: skip
    gpt = transformers.GPT2Model(transformers.GPT2Config(n_embd=6, n_layer=1, n_head=2, vocab_size=30))
    join = diffusers.AudioLDM2ProjectionModel(text_encoder_dim=8, text_encoder_1_dim=10, langauge_model_dim=6)
    unet = diffusers.AudioLDM2UNet2DConditionModel(**SMALL_UNET, cross_attention_dim=((None, 6, 10),) * 2)
    parts = {"text_encoder": clap, "text_encoder_2": t5, "language_model": gpt, "projection_model": join, "unet": unet}
    for name, part in parts.items():
        part.eval().save_pretrained(tmp_path / name)
    (tmp_path / "model_index.json").write_text("{}")
    component = loaded(AudioDiffusion, AudioDiffusionConfig(mels=8), tmp_path)
    ids = {"tokenizer": torch.tensor([[5, 6, 7]]), "tokenizer_2": torch.tensor([[8, 9, 10, 11]])}
    component.prompts._ids = lambda name, caption, device: {"input_ids": ids[name]}
    found = called(component, "embed", ["a"], text=["a dog"])
    with torch.no_grad():
        vector = clap.get_text_features(input_ids=ids["tokenizer"])
        words = t5(input_ids=ids["tokenizer_2"]).last_hidden_state
        joined = join(hidden_states=getattr(vector, "pooler_output", vector)[:, None], hidden_states_1=words,
                      attention_mask=torch.ones(1, 1), attention_mask_1=torch.ones(1, 4))  # fmt: skip
        talker = transformers.GPT2LMHeadModel(gpt.config)  # only it has what diffusers calls to generate
        talker.transformer = gpt
        pipe = diffusers.AudioLDM2Pipeline(unet=unet, language_model=talker, projection_model=join, **dict.fromkeys((
            "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "feature_extractor", "scheduler",
            "vocoder")))  # fmt: skip
        made = pipe.generate_language_model(joined.hidden_states, attention_mask=joined.attention_mask)
    assert found["features"][0].shape == (8, 6)
    torch.testing.assert_close(found["features"][0], made[0])
    torch.testing.assert_close(found["words"][0], words[0])


@pytest.fixture(scope="module")
def tiny() -> Any:
    return bench(DIFFUSION, {"preset": "tiny", "cond": 16, "n": 4}).build().component


@pytest.mark.parametrize("options", [{}, {"latent": None, "vocoder": "griffin-lim"}, {"arch": "audioldm", "cond": 8}])
def test_an_item_sounds_alone_as_among_seven(options: dict[str, Any]) -> None:
    component = bench(DIFFUSION, {"preset": "tiny", "cond": 16, "n": 4, **options}).build().component
    shape = (1, 8) if component.plan.way == "labels" else (4, 16)
    items, cond = [f"item-{i}" for i in range(7)], list(normal(7, *shape))
    own = [{"seconds": 0.08 + 0.04 * (i % 2), "steps": 2, "guidance": 1.0 + i % 4} for i in range(7)]
    together = called(component, "audio", items, own, cond=cond)["audio"].list()
    for row, item in enumerate(items):
        [alone] = called(component, "audio", [item], own[row : row + 1], cond=cond[row : row + 1])["audio"]
        assert alone.samples.shape == (1, int(16000 * own[row]["seconds"]))
        torch.testing.assert_close(alone.samples, together[row].samples, atol=1e-5, rtol=1e-5)
    assert not torch.equal(together[0].samples, together[4].samples)


def test_the_mel_goes_to_another_vocoder(tiny: Any) -> None:
    mel = called(tiny, "audio", ["a"], cond=[normal(4, 16)])["mel"][0]
    assert mel.shape == (16, 16) and bool(torch.isfinite(mel).all())
    other = bench(GRIFFIN_LIM, {"preset": "tiny"}).build().component
    assert called(other, "speak", ["a"], features=[mel])["audio"][0].samples.shape == (1, 16 * 160)


@pytest.mark.parametrize(
    ("options", "cond", "words"),
    [
        ({"arch": "audioldm", "cond": 8}, normal(3, 8), "takes one vector, not 3"),
        ({"seconds": 0.01, "cond": 8}, normal(4, 8), "too short"),
        ({"cond": 8}, normal(4, 9), r"on features \[N,8\], not \[4, 9\]"),
        ({"cond": 8}, normal(0, 8), r"not \[0, 8\]"),
    ],
)
def test_what_it_cannot_make_is_refused(options: dict[str, Any], cond: torch.Tensor, words: str) -> None:
    component = bench(DIFFUSION, {"preset": "tiny", "n": 4, **options}).build().component
    with pytest.raises(ValueError, match=words):
        called(component, "audio", ["a"], cond=[cond])


def test_a_pipeline_that_is_none_of_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match="no unet folder"):
        AudioDiffusion(AudioDiffusionConfig(), Build(node="sing", assets=Assets(tmp_path)))


# vocoders ----------------------------------------------------------------------------------------------------------
def test_griffin_lim_gives_back_the_tone_that_whispers_features_were_made_of() -> None:
    tone = sine(440.0, 1.0)
    features = LogMel(LogMelConfig(seconds=1.0), Build(node="mel")).extract(context(["a"]), Rows([tone]))["features"]
    component = bench(GRIFFIN_LIM, "whisper").build().component
    [back] = called(component, "speak", ["a"], features=features.list())["audio"]
    assert back.samples.shape == (1, 16000) and back.rate == 16000
    assert abs(peak(back) - 440) < 20
    assert 0.05 < float(back.samples.abs().max()) <= 1


def test_griffin_lim_takes_one_frame_and_refuses_what_is_no_spectrogram() -> None:
    component = bench(GRIFFIN_LIM, {"mels": 8}).build().component
    assert called(component, "speak", ["a"], features=[torch.zeros(1, 8)])["audio"][0].samples.shape == (1, 160)
    for wrong, words in ((torch.zeros(3, 9), r"\[T,8\]"), (torch.full((3, 8), float("nan")), "not numbers")):
        with pytest.raises(ValueError, match=words):
            called(component, "speak", ["a"], features=[wrong])


@pytest.mark.parametrize("name", ["SpeechT5HifiGan", "FastSpeech2ConformerHifiGan"])
def test_a_vocoders_folder_speaks_as_transformers_does(tmp_path: Path, name: str) -> None:
    import transformers
    from anyany_audio.hifi_gan import HifiGan
    from anyany_audio.sound_cards import HifiGanConfig

    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, f"{name}Config")(
        model_in_dim=6, upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8]))  # fmt: skip
    model.mean.fill_(0.3)
    model.eval().save_pretrained(tmp_path)
    component = loaded(HifiGan, HifiGanConfig(), tmp_path)
    assert type(component.model).__name__ == name
    mels = [normal(n, 6, seed=n) for n in (5, 9, 5)]
    found = called(component, "speak", "abc", features=mels)["audio"].list()
    for mel, sound in zip(mels, found):
        torch.testing.assert_close(sound.samples[0], model(mel).detach(), atol=1e-6, rtol=1e-5)


# a codec -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ["encodec", "mimi"])
def test_codes_are_the_libraries_in_turn_and_sound_as_its_decoder_says(tmp_path: Path, arch: str) -> None:
    import transformers
    from anyany_audio.rvq import Rvq
    from anyany_audio.sound_cards import RvqConfig

    component = bench(RVQ, {"preset": "tiny", "arch": arch, "books": 3}).build().component
    model, waves = component.model, [torch.rand(1, n, generator=torch.Generator().manual_seed(n)) - 0.5
                                     for n in (4000, 9000, 4000)]  # fmt: skip
    model.save_pretrained(tmp_path)
    again = loaded(Rvq, RvqConfig(books=3), tmp_path)
    assert type(again.model) is getattr(transformers, {"encodec": "EncodecModel", "mimi": "MimiModel"}[arch])
    tokens = called(again, "encode", "abc", audio=[Audio(w, 24000) for w in waves])["tokens"].list()
    back = called(again, "decode", "abc", tokens=tokens)["audio"].list()
    for wave, flat, sound in zip(waves, tokens, back):
        codes_1KT = model.encode(wave[None]).audio_codes.reshape(1, 3, -1)
        expected = (codes_1KT[0] + torch.arange(3)[:, None] * 16).T.flatten()
        assert torch.equal(flat, expected) and int(flat.max()) < 48
        own = model.decode(codes_1KT[None], [None]) if arch == "encodec" else model.decode(codes_1KT)
        torch.testing.assert_close(sound.samples, own.audio_values[0].detach().clamp(-1, 1), atol=1e-5, rtol=1e-4)


def test_fewer_books_are_a_coarser_sound_with_the_same_first_codes() -> None:
    whole, coarse = (bench(RVQ, {"preset": "tiny", "arch": "mimi", "books": n}).build().component for n in (4, 2))
    sound = [Audio(torch.rand(1, 8000, generator=torch.Generator().manual_seed(0)) - 0.5, 24000)]
    coarse.model = whole.model
    all_four, two = (called(c, "encode", "a", audio=sound)["tokens"][0] for c in (whole, coarse))
    assert torch.equal(all_four.reshape(-1, 4)[:, :2], two.reshape(-1, 2))


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (torch.tensor([1, 17, 2]), "no whole frames of 2"),
        (torch.tensor([], dtype=torch.int64), "no whole frames"),
        (torch.tensor([17, 1]), "not in turn"),
        (torch.tensor([1.0, 17.0]), "whole numbers, not float32"),
        (torch.tensor([1, 40]), "not in turn"),
    ],
)
def test_tokens_that_are_no_frames_are_refused(tokens: torch.Tensor, words: str) -> None:
    component = bench(RVQ, "tiny").build().component
    with pytest.raises(ValueError, match=words):
        called(component, "decode", ["a"], tokens=[tokens])


# on disk -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_a_made_sound_is_written_and_read_back(tiny: Any, tmp_path: Path, format: str) -> None:
    [sound] = called(tiny, "audio", ["a"], cond=[normal(4, 16)])["audio"]
    path = media.save("audio", sound, tmp_path / "s", audio=format)
    back = media.load("audio", path)
    assert path.endswith(format.lower()) and back.rate == 16000 and back.samples.shape == sound.samples.shape
    torch.testing.assert_close(back.samples, sound.samples, atol=1 / 32000, rtol=0)


@pytest.mark.parametrize(("name", "call", "port", "options"), [
    ("audio/hifi-gan", "speak", "features", {"mels": 16}), ("audio/griffin-lim", "speak", "features", {}),
    ("audio/rvq", "encode", "audio", {}),
])  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_does_not_become_sound_or_codes(
    name: str, call: str, port: str, options: dict[str, Any], value: float
) -> None:
    built = bench(default_registry().card(name), {"preset": "tiny", **options}).build()
    given: Any = torch.full((3, 16), value) if port == "features" else Audio(torch.full((1, 640), value), 24000)
    with pytest.raises(ValueError, match="not numbers"):
        called(built.component, call, ["a"], **{port: Rows([given])})


def test_what_speech_costs_is_not_counted_and_said_to_follow_from_its_values() -> None:
    from anyany.engine.probe import inspect_graph

    nodes = {"speak": {"use": "audio/tts", "weights": "random:0", "with": "tiny", "in": "said"}}
    spec = {"anyany": 1, "inputs": {"said": "text"}, "nodes": nodes, "outputs": {"o": "speak"}}
    (row,) = inspect_graph(load(spec).graph, offline=True)
    assert row.parameters and row.flops is None
    assert row.note == "not counted: its cost follows from values, not from sizes"
