"""Replies that hold several media: what runs and how often, what the constraint changes, and whole specs end to end.

With the bundled weights where something must be trained, with `mini` profiles elsewhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import av
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from anyany.api.torch import Rows
from anyany.cli import main
from anyany.engine.context import Context
from anyany.engine.noise import Noise
from anyany.kinds.message import Media, Message, Turn
from anyany.pipeline import Pipeline, load
from anyany.spec.check import check_file

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "pipelines/quickstart.yaml")


def ask(pipe: Pipeline, prompt: Any, **options: Any) -> Message:
    """The reply to a prompt, with options for `think`."""
    item = pipe.item({"prompt": prompt, "with": {"think": options}}, "0")
    reply = next(iter(pipe.run([item]))).raised().outputs["reply"]
    assert isinstance(reply, Message)
    return reply


# what runs -----------------------------------------------------------------------------------------------------------
def test_a_reply_without_a_picture_loads_and_runs_no_decoder() -> None:
    pipe = load(QUICKSTART, device="cpu")
    reply = ask(pipe, ["describe ", ROOT / "examples/scene.png"])
    assert "square" in reply.text and reply.kinds() == ()
    assert not {"draw", "to_image"} & set(pipe.components._built)
    stats = pipe.recorder.nodes
    assert all(stats[n].calls == 0 and stats[n].build == 0 for n in ("draw", "to_image") if n in stats)


def test_a_reply_with_three_pictures_runs_the_decoder_once_with_a_batch_of_three() -> None:
    pipe = load(QUICKSTART, device="cpu", set={"nodes.draw.with.steps": 2})
    reply = ask(pipe, "draw a big red ring on the left", produce=["image"] * 3)
    pictures = reply.select("image")
    assert len(pictures) == 3
    assert {n: (s.calls, s.rows) for n, s in pipe.recorder.nodes.items() if n != "look" and n != "see"} == {
        "think": (1, 1), "to_image": (1, 3), "draw": (1, 3)}  # fmt: skip
    assert not torch.equal(pictures[0], pictures[1]), "each is drawn from noise of its own"


def test_an_item_asked_for_text_alone_gets_text_beside_one_that_may_draw() -> None:
    pipe = load(QUICKSTART, device="cpu", set={"nodes.draw.with.steps": 2})
    prompt = "draw a small blue circle at the top"
    results = list(pipe.map([{"prompt": prompt}, {"prompt": prompt, "with": {"think": {"produce": []}}},
                             {"prompt": prompt, "with": {"think": {"most": {"image": 0}}}}]))  # fmt: skip
    assert [r.raised().outputs["reply"].kinds() for r in results] == [("image",), (), ()]


@pytest.mark.parametrize(("options", "told"), [
    ({"produce": ["video"]}, "cannot produce video; it can produce image"),
    ({"produce": ["image"] * 40}, "raise max_new_tokens"),
])  # fmt: skip
def test_what_cannot_be_produced_fails_its_item_alone(options: dict[str, Any], told: str) -> None:
    pipe = load(QUICKSTART, device="cpu", set={"nodes.draw.with.steps": 1})
    good, bad = pipe.map([{"prompt": "hello"}, {"prompt": "hello", "with": {"think": options}}])
    assert good.status == "ok" and bad.status == "failed"
    assert bad.error is not None and told in bad.error.message


# the constraint ------------------------------------------------------------------------------------------------------
def test_natural_logits_of_a_trained_model_are_not_changed_by_the_constraint() -> None:
    """The bundled model writes well-formed replies by itself: the same ids with and without rules."""
    pipe = load(QUICKSTART, device="cpu")
    think: Any = pipe.components.get("think").component
    prompts = ["draw a big red ring on the left", "hello", "draw two small green squares", "what can you do?",
               "draw a small yellow triangle at the bottom right"]  # fmt: skip
    ctx = Context(node="think", call="generate", keys=[(i,) for i in range(len(prompts))], device=torch.device("cpu"),
                  noise=Noise(0, [str(i) for i in range(len(prompts))]), dtype=torch.float32)  # fmt: skip
    with torch.inference_mode():
        embedded = think._prompts(ctx, Rows([Message((p,)) for p in prompts]), {})
        held = think._produce(ctx, embedded)
        assert think.rules is not None
        think.__dict__["rules"] = None
        free = think._produce(ctx, embedded)
    assert [row.ids for row in held] == [row.ids for row in free]
    signal = think.spans["image"].begin
    assert sum(row.ids.count(signal[0]) for row in held) >= 3, "some of them draw"


# the specs -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["nextgpt", "one-stream", "transfusion", "remote-tools"])
def test_a_pipeline_checks_with_all_its_profiles(name: str) -> None:
    for profile in (None, "mini", "one-gpu"):
        found = check_file(str(ROOT / f"pipelines/{name}.yaml"), profile=profile)
        assert found.graph is not None and not [p for p in found.problems if p.is_error]


def test_next_gpt_takes_and_answers_with_text_a_picture_a_sound_and_a_film(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Item after item of a message, as files and as one page, in the order that was asked for."""
    said = "See {file:%s}, hear {file:%s}, watch {file:%s}: now you."
    prompt = said % tuple(ROOT / "examples" / f for f in ("scene.png", "melody.wav", "clip-seen-1.mp4"))
    code = main(["run", str(ROOT / "pipelines/nextgpt.yaml"), "--profile", "mini", "--in", f"prompt={prompt}",
                 "--set", "nodes.think.with.produce=[image, audio, video]", "--out", str(tmp_path)])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    parts = json.loads((tmp_path / "0/reply.json").read_text())
    media = [p for p in parts if isinstance(p, dict)]
    assert [list(p)[0] for p in media] == ["image", "audio", "video"] and isinstance(parts[0], str)  # noqa: RUF015
    picture, sound, film = (tmp_path / "0" / next(iter(p.values())) for p in media)
    with Image.open(picture) as opened:
        assert opened.size == (16, 16)
    samples, rate = soundfile.read(sound)
    assert rate == 16000 and len(samples) > 1000
    with av.open(str(film)) as opened_film:
        assert sum(1 for _ in opened_film.decode(video=0)) == 4
    page = (tmp_path / "0/reply.html").read_text()
    at = [page.index(tag) for tag in ("aa-text", "<img", "<audio", "<video")]
    assert at == sorted(at)


def test_next_gpts_projections_give_what_their_decoders_take() -> None:
    """Lengths and widths of the published projections meet Stable Diffusion's, AudioLDM's and Zeroscope's."""
    pipe = load(str(ROOT / "pipelines/nextgpt.yaml"), profile="mini")
    nodes = pipe.graph.nodes
    for projection, decoder in (("to_image", "draw"), ("to_audio", "sing"), ("to_video", "film")):
        found = nodes[projection].gives["features"].axes
        wanted = nodes[decoder].edges["cond"].flow.axes
        assert [a.size for a in found] == [a.size for a in wanted] and None not in [a.size for a in found]


@pytest.mark.parametrize("name", ["one-stream", "transfusion"])
def test_the_other_roads_draw_what_they_are_asked_for_and_talk_about_it(name: str) -> None:
    """A picture in, a picture out, and in the next turn both are read again."""
    pipe = load(str(ROOT / f"pipelines/{name}.yaml"), profile="mini", set={"nodes.think.with.produce": ["image"]})
    chat = pipe.chat()
    first = chat.say("like this ", ROOT / "examples/scene.png")
    (made,) = (p for p in first.parts if isinstance(p, Media))
    assert made.kind == "image" and made.tokens is not None, "the next turn reads what was written"
    second = chat.say("and again")
    assert second.kinds() == ("image",)
    pixels = second.select("image")[0]
    assert bool(pixels.isfinite().all()) and 0 <= float(pixels.min()) <= float(pixels.max()) <= 1


@pytest.mark.parametrize(("name", "stage", "written"), [
    ("nextgpt", "align-out", ["to_audio", "to_image", "to_video"]),
    ("one-stream", "instruct", ["think"]),
    ("transfusion", "transfusion", ["think"]),
])  # fmt: skip
def test_a_stage_is_rehearsed_and_its_weights_are_those_of_the_spec(
    name: str, stage: str, written: list[str], tmp_path: Path
) -> None:
    """Two steps in miniature on replies with one picture, two, none, and other media where the model makes them."""
    scene = [{"image": str(ROOT / f"examples/scene-seen-{i}.png")} for i in (1, 2)]
    records = [{"prompt": ["like ", scene[0]], "reply": ["a ", scene[1]], "caption": "a ring"},
               {"prompt": "two", "reply": [scene[0], " and ", scene[1]], "caption": "a star"},
               {"prompt": "hi", "reply": "hello", "caption": "nothing"}]  # fmt: skip
    if name == "nextgpt":
        heard, seen = {"audio": str(ROOT / "examples/melody.wav")}, {"video": str(ROOT / "examples/clip-seen-1.mp4")}
        records.append({"prompt": "all", "reply": [heard, seen], "caption": "a tune"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    spec = ROOT / f"pipelines/{name}.yaml"
    number = [s["name"] for s in yaml.safe_load(spec.read_text())["train"]["stages"]].index(stage)
    told = {"train.data.with.path": tmp_path / "pairs.jsonl", f"train.stages.{number}.steps": 2,
            f"train.stages.{number}.batch": len(records)}  # fmt: skip
    sets = [part for key, value in told.items() for part in ("--set", f"{key}={value}")]
    assert main(["train", str(spec), "--profile", "mini", "--cpu", "--quiet", "--stage", stage, "--out",
                 str(tmp_path / "runs"), *sets]) == 0  # fmt: skip
    runs = tmp_path / "runs" / stage
    beside = ("done.json", "metrics.jsonl", "tensorboard")
    assert sorted(p.stem for p in runs.iterdir() if p.name not in beside) == written
    if name != "one-stream":  # a LoRA wants its base, which is random here
        changes = {f"nodes.{n}.weights": f"file:{runs / n}.safetensors" for n in written}
        pipe = load(str(spec), profile="mini", set={**changes, "nodes.think.with.produce": ["image"]})
        assert pipe(prompt="draw")["reply"].kinds() == ("image",)


# streams -------------------------------------------------------------------------------------------------------------
STREAM: dict[str, Any] = {
    "anyany": 1, "name": "stream", "inputs": {"prompt": "message"},
    "nodes": {
        "code": {"use": "tokenizers/vq", "weights": "random:0", "with": "tiny", "in": "prompt.image"},
        "hear": {"use": "audio/rvq", "weights": "random:0", "with": "tiny", "in": "prompt.audio"},
        "think": {"use": "language/causal-lm", "weights": "random:0", "in": {"message": "prompt", "image": "code",
                                                                             "audio": "hear"},
                  "with": {"preset": "tiny", "inputs": [], "max_new_tokens": 96,
                           "codebooks": {"image": {}, "audio": {"length": [8, 24]}}}},
        "draw": {"of": "code", "call": "decode", "in": "think.image"},
        "sing": {"of": "hear", "call": "decode", "in": "think.audio"},
    },
    "outputs": {"reply": {"fill": "think.reply", "image": "draw", "audio": "sing"}},
}  # fmt: skip


def test_one_stream_of_pictures_and_sounds_speaks_over_three_turns() -> None:
    """The second turn shows a picture, the third asks about what was produced: it is read as it was written."""
    pipe = load(STREAM)
    think: Any = pipe.components.get("think").component
    first = ask(pipe, "sing and draw", produce=["audio", "image"])
    assert first.kinds() == ("audio", "image")
    seen: list[list[int]] = []
    write = think._embed_ids
    think._embed_ids = lambda ids: (seen.append(list(ids)), write(ids))[1]
    chat = pipe.chat()
    chat.history = Message.join(["sing and draw", Turn("assistant"), first])
    chat.say("and this? ", ROOT / "examples/scene.png")
    chat.say("what did you draw?")
    media = [p for p in first.parts if isinstance(p, Media)]
    for medium in media:
        assert sum(ids == list(medium.tokens.value) for ids in seen) == 2, f"{medium.kind} is read in both later turns"


def test_a_codec_of_other_turns_is_told_before_anything_is_built() -> None:
    nodes = STREAM["nodes"]
    think = {
        **nodes["think"],
        "with": {**nodes["think"]["with"], "codebooks": {"image": {}, "audio": {"turns": 4, "length": 8}}},
    }
    with pytest.raises(Exception, match="turns"):
        load({**STREAM, "nodes": {**nodes, "think": think}})


def test_three_pictures_of_a_stream_are_decoded_in_one_batch() -> None:
    pipe = load(STREAM)
    reply = ask(pipe, "draw", produce=["image"] * 3)
    assert len(reply.select("image")) == 3
    assert pipe.recorder.nodes["draw"].calls == 1 and pipe.recorder.nodes["draw"].rows == 3
    assert "sing" not in pipe.recorder.nodes or pipe.recorder.nodes["sing"].calls == 0


# a remote brain with local decoders ----------------------------------------------------------------------------------
class Brain(BaseHTTPRequestHandler):
    """A chat server that answers from a list, and remembers what it was asked."""

    says: ClassVar[list[str]] = []
    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        type(self).asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"])
        said = type(self).says[len(type(self).asked) - 1]
        data = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def brain() -> Iterator[str]:
    Brain.says, Brain.asked = [], []
    running = HTTPServer(("127.0.0.1", 0), Brain)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def remote(url: str, **changes: Any) -> Pipeline:
    changes = {"nodes.think.with.url": url, "nodes.think.with.wait": 0.0, "nodes.draw.with": {"steps": 4}, **changes}
    return load(str(ROOT / "pipelines/remote-tools.yaml"), profile="mini", set=changes)


def test_a_remote_model_has_local_ones_draw_sing_and_film_in_order(brain: str) -> None:
    Brain.says = [
        "Here: <image>a big red ring on the left</image> with <audio>rain</audio>, then "
        "<video>a wave</video> and <image>a small\nblue <b>circle</b> at the top</image>. Done.",
        "It was red.",
    ]
    pipe = remote(brain)
    chat = pipe.chat()
    reply = chat.say("Draw this: ", ROOT / "examples/scene.png")
    assert [p if isinstance(p, str) else p.kind for p in reply.parts] == [
        "Here: ", "image", " with ", "audio", ", then ", "video", " and ", "image", ". Done."]  # fmt: skip
    assert pipe.recorder.nodes["draw"].calls == 1 and pipe.recorder.nodes["draw"].rows == 2
    ring = reply.select("image")[0]
    assert ring[0].mean() > ring[2].mean() + 0.02, "the ring is red"
    assert chat.say("What colour was it?").text == "It was red."
    user, assistant, again = Brain.asked[1][-3:]
    assert [p["type"] for p in user["content"]] == ["text", "image_url"] and again["content"] == "What colour was it?"
    assert assistant["content"] == (
        "Here: <image>a big red ring on the left</image> with <audio>rain</audio>, then <video>a wave</video> and "
        "<image>a small blue <b>circle</b> at the top</image>. Done."
    )


def test_a_remote_reply_without_tags_runs_no_decoder(brain: str) -> None:
    Brain.says = ["Only words; <image> is a tag that nobody closed, <image></image> one around nothing."]
    pipe = remote(brain)
    reply = pipe(prompt="hello")["reply"]
    assert reply.text == "Only words;  is a tag that nobody closed,  one around nothing." and reply.kinds() == ()
    assert not {"draw", "sing", "film"} & set(pipe.components._built)


@pytest.mark.parametrize(("said", "kinds"), [
    ("<image>a</image><image>b</image><image>c</image>", ["image", "image"]),
    ("<image>a <audio>b</audio> c</image>", ["image"]),
    ("<image>a</audio></image>", ["image"]),
    ("</image>x<image>", []),
    ("<IMAGE>a</IMAGE>", []),
    ("", []),
])  # fmt: skip
def test_odd_tags_end_no_run(brain: str, said: str, kinds: list[str]) -> None:
    Brain.says = [said]
    item = remote(brain).item({"prompt": "hello", "with": {"said": {"most": {"image": 2}}}}, "0")
    pipe = remote(brain)
    (result,) = pipe.run([item])
    reply = result.raised().outputs["reply"]
    assert [p.kind for p in reply.parts if isinstance(p, Media)] == kinds
    assert "<" not in reply.text.replace("<IMAGE>", "").replace("</IMAGE>", "")
