"""The specs that train the miniature's parts: the bundled weights lose under them what plain torch says they lose, and
all of `python -m anyany_mini.train` runs, from nothing to a bundle.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from anyany_mini import models, sentences, talk, world
from anyany_mini.train import __main__ as retrain
from plugins_for_tests.mini_draw import Drawing
from safetensors.torch import load_file

import anyany
from anyany.engine.context import Context
from anyany.engine.noise import Noise
from anyany.engine.watch import Recorder
from anyany.spec.check import check_file
from anyany.train.model import StageModel
from anyany.train.records import Records

ROOT = Path(__file__).resolve().parents[2]
ROWS = 6


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


class Begun:
    """A spec's stage with the bundled weights, and what its first items lose: output -> row -> loss."""

    def __init__(self, name: str, nodes: Sequence[str], *sets: str) -> None:
        starts = [f"train.stages.0.start.{node}=bundle:mini/{node}" for node in nodes]
        found = check_file(f"pipelines/mini/{name}.yaml", sets=[*starts, *sets])
        found.expect()
        self.stage = found.stages[0]
        self.model = StageModel(self.stage, torch.device("cpu"), Recorder()).eval()
        source = Records(self.stage.part, self.stage.name, 0)
        self.items, indices = source.items(range(ROWS))
        self.records = [source.source.record(i) for i in indices]
        state = self.model.begin(self.items, 0)
        self.model.run(state, self.model.prefix)
        with torch.no_grad():
            self.model.forward(state)
        rows = {output: out.reader.get(state) for output, out in self.model.plan.outputs.items()}
        self.losses = {o: {key[0]: float(v) for key, v in zip(r.keys, r, strict=True)} for o, r in rows.items()}

    def context(self, node: str, call: str) -> Context:
        """The noise of a node's call on these items."""
        return Context(node=node, call=call, keys=[(i,) for i in range(ROWS)], device=torch.device("cpu"),
                       noise=Noise(0, [i.id for i in self.items]), dtype=torch.float32)  # fmt: skip


def stacked(records: Sequence[dict[str, Any]], field: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([r[field] for r in records]))


def test_the_head_loses_the_weighted_error_of_the_clean_picture() -> None:
    found, draw = Begun("draw", ["draw"]), Drawing()
    noise, blended = found.context("drawn", "loss"), found.context("told", "blend")
    with torch.no_grad():
        own, far = (draw.embed([r[name] for r in found.records]) for name in ("caption", "other"))
        cond = torch.lerp(own, far, stacked(found.records, "share")[..., None]) + 0.1 * blended.normal((8, 64))
        gone = (stacked(found.records, "blank") > 0.5) | (noise.uniform((), 0) < 0.1)[:, None]
        cond = torch.where(gone[..., None], draw.null_conditioning, cond)
        level = torch.sigmoid(0.5 + 1.2 * noise.normal((), 3))
        level = torch.where(noise.uniform((), 4) < 0.15, torch.tensor(0.999), level)
        clean = stacked(found.records, "picture").permute(0, 3, 1, 2).float() / 127.5 - 1
        noisy = torch.lerp(clean, noise.normal((3, 64, 64), 1), level[:, None, None, None])
        error = (draw.clean(noisy, level, cond) - clean).square()
        error = (error * (1 + 6.0 * stacked(found.records, "focus")[:, None])).mean((1, 2, 3))
    by_hand = error / level.clamp(min=0.2)
    assert list(found.losses["drawn.loss"].values()) == pytest.approx(by_hand.tolist(), abs=1e-5)
    assert by_hand.median() < 0.3  # of random weights: 0.6 to 1.1


def test_the_caption_encoder_loses_what_its_probes_cannot_read() -> None:
    found, draw = Begun("words", ["draw"]), Drawing()
    probes = found.model.nodes["probe"].probes
    with torch.no_grad():
        slots = draw.embed([r["caption"] for r in found.records])
        slots = slots + 0.3 * found.context("probe", "loss").normal((8, 64))
        wanted = stacked(found.records, "slots").long()
        words = torch.stack([probes[slot % 4](slots[:, slot]) for slot in range(8)], 1)
        asked = torch.stack([wanted[:, slot, slot % 4] for slot in range(8)], 1)
        by_hand = F.cross_entropy(words.transpose(1, 2), asked, reduction="none").mean(1)
        places = F.cross_entropy(probes[4](slots).transpose(1, 2), wanted[..., 4], reduction="none").mean(1)
    assert list(found.losses["probe.loss"].values()) == pytest.approx((by_hand + places).tolist(), abs=1e-5)


def bundled(name: str) -> dict[str, torch.Tensor]:
    return {k: v.float() for k, v in load_file(models.WEIGHTS / name / "model.safetensors").items()}


class Talker:
    """The bundled encoder, adapters and language model in plain torch."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        config = json.loads((models.WEIGHTS / "think/config.json").read_text())
        self.look, self.think = models.build_look(models.LOOK), models.build_think(config)
        self.look.load_state_dict(bundled("look"))
        self.think.load_state_dict(bundled("think"), strict=False)
        self.tokenizer = Tokenizer.from_file(str(models.WEIGHTS / "think/tokenizer.json"))

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @torch.no_grad()
    def loss(self, record: dict[str, Any]) -> tuple[float, torch.Tensor]:
        """Cross-entropy of the reply's learned tokens, and the states at its signals."""
        shown = [part for part in record["prompt"] if not isinstance(part, str)]
        asked = "".join(part if isinstance(part, str) else talk.IMAGE * 9 for part in record["prompt"])
        prompt = self.ids(talk.ROLES["user"] + asked + talk.ROLES["assistant"])
        written = ["".join(p if isinstance(p, str) else "".join(talk.SIGNALS) for p in record[name])
                   for name in ("read", "reply")]  # fmt: skip
        read, wanted = (torch.tensor([self.ids(text + talk.EOS)]) for text in written)
        ids = torch.cat([torch.tensor([prompt]), read], 1)
        embedded = self.think.model.embed_tokens(ids)
        for picture in shown:
            pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
            pixels = F.interpolate(pixels, (96, 96), mode="bilinear", align_corners=False)
            see = bundled("see")
            patches = self.look(pixel_values=pixels).last_hidden_state[:, 1:]
            inside = F.gelu(F.linear(patches, see["0.weight"], see["0.bias"]))
            embedded[ids == self.ids(talk.IMAGE)[0]] = F.linear(inside, see["2.weight"], see["2.bias"])[0]
        states = self.think.model(inputs_embeds=embedded).last_hidden_state
        scores = self.think.lm_head(states[0, len(prompt) - 1 : -1])
        labels = wanted[0].where(wanted[0] != 0, -100)
        signals = torch.isin(ids[0], torch.tensor([self.ids(s)[0] for s in talk.SIGNALS]))
        return float(F.cross_entropy(scores, labels)), states[0, signals]


def test_the_talker_loses_what_plain_torch_says_word_by_word_and_signal_by_signal() -> None:
    found = Begun("see", ["look", "see", "think", "to_image"])
    talker, draw, to_image = Talker(), Drawing(), bundled("to_image")
    short = [n for n, r in enumerate(found.records) if not any(isinstance(p, dict) for p in r["prompt"])]
    assert len(short) > 3
    for row in short:
        record = found.records[row]
        text, states = talker.loss(record)
        assert found.losses["think.loss"][row] == pytest.approx(text, abs=1e-5)
        if record["drawn"]:
            inside = F.gelu(F.linear(states, to_image["0.weight"], to_image["0.bias"]))
            made = F.linear(inside, to_image["2.weight"], to_image["2.bias"])
            with torch.no_grad():
                far = F.mse_loss(made, draw.embed([record["drawn"]])[0])
            assert found.losses["match.loss"][row] == pytest.approx(float(far), abs=1e-5)
    assert any(found.records[row]["drawn"] for row in short)
    assert any("cells" in found.records[row] for row in short)


def test_the_bundled_language_model_knows_the_worlds_sentences() -> None:
    losses = list(Begun("language", ["think"]).losses["think.loss"].values())
    assert len(losses) == ROWS
    assert np.mean(losses) < 0.5  # of log(505) = 6.2


def test_captions_teach_the_caption_encoder_alone_and_pictures_all_else() -> None:
    parts = {name: {n.partition(".")[2].partition(".")[0] for n in Begun(name, ["draw"]).model.learned()
                    if n.startswith("draw.")} for name in ("words", "draw")}  # fmt: skip
    assert parts == {"words": {"text_encoder"}, "draw": {"transformer", "null_conditioning"}}


def test_the_bundled_towers_pick_the_caption_of_scenes_they_never_saw() -> None:
    rng, pipe = np.random.default_rng(world.EVAL_SEED + 5), anyany.load("pipelines/mini/look.yaml")
    for split in ("seen", "unseen"):
        captions = [world.caption(world.sample_scene(rng, "any")) for _ in range(19)]
        for scene in [world.sample_scene(rng, split) for _ in range(3)]:
            own = world.caption(scene)
            assert pipe(picture=world.render(scene), captions=[*captions, own])["caption"] == own


# from nothing to a bundle --------------------------------------------------------------------------------------------
def corpus_of(folder: Path, count: int) -> None:
    """Sentences of the world, every instruction among them, spoken as noise: what espeak-ng would have made."""
    rng = np.random.default_rng(0)
    told = [*sentences.WITHOUT_CAPTION, *(f"{word} a big red ring at the top" for word in ("draw", "say"))]
    told += [sentences.sample(rng) for _ in range(count - len(told))]
    lines = [{"text": text, "begin": 4000 * n, "length": 4000, "starts": [[at, at / 400] for at in range(len(text))]}
             for n, text in enumerate(told)]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "speech.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rng.integers(-3000, 3000, 4000 * count).astype(np.int16).tofile(folder / "speech.pcm")


def inside(command: Sequence[str], folder: Path, processes: int) -> int:
    """As `retrain.started`, in this process: libraries are imported once."""
    module = importlib.import_module("anyany.cli" if command[0] == "anyany" else command[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [*command])
        return int(module.main(list(command[1:])) or 0)


@pytest.mark.slow
def test_the_miniature_is_retrained_from_nothing_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retrain, "started", inside)
    for name, count in zip(("speech", "voice"), retrain.QUICK_SENTENCES, strict=True):
        corpus_of(tmp_path / "runs/mini" / name, int(count))
    assert retrain.main(["all", "--quick", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(f"{step}: " in said for step in retrain.STEPS)
    for folder in sorted(p.parent.relative_to(models.WEIGHTS) for p in models.WEIGHTS.rglob("*model.safetensors")):
        for file in (models.WEIGHTS / folder).glob("*.safetensors"):
            shapes = [{n: tuple(t.shape) for n, t in load_file(at / folder / file.name).items()}
                      for at in (tmp_path / "weights", models.WEIGHTS)]  # fmt: skip
            assert shapes[0] == shapes[1], folder


def test_what_a_step_needs_of_those_before_it_is_what_they_leave() -> None:
    for step, nodes in retrain.NEEDED.items():
        assert set(nodes) <= set(retrain.LEARNED)
        words = " ".join(w for c in retrain.commands(step, Path("/here"), False) for w in c)
        assert all(f"nodes.{n}.weights=file:/here/runs/mini/{retrain.LEARNED[n]}" in words for n in nodes)


def test_several_processes_share_a_training_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(retrain.subprocess, "run", lambda c, **k: seen.append(c) or type("Done", (), {"returncode": 0}))
    assert retrain.main(["speak", "--processes", "2"]) == 0
    assert "accelerate.commands.launch" not in seen[0]
    assert seen[1][2] == "accelerate.commands.launch" and "pipelines/mini/speak.yaml" in seen[1]
    assert seen[1][seen[1].index("--num_processes") + 1] == "2"


def test_a_step_that_is_none_and_another_folder_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        retrain.main(["captions"])
    monkeypatch.chdir(tmp_path)
    assert retrain.main(["all"]) == 2
    assert "in the folder of a checkout" in capsys.readouterr().err
