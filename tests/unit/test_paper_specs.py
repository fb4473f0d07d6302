"""The sketches of the design check without an error, and their nodes run over the lists that their comments say.

Skipped where the folder of sketches does not lie beside the repository.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins_for_tests.paper_cards import registry

from anyany.spec.check import Checked, check_text
from anyany.spec.graph import Bracket, Fill, Graph

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "paper-specs"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the sketches are not here")

P_IMAGE, P_VIDEO, P_AUDIO = "prompt.image", "prompt.video", "prompt.audio"
STACKS: dict[str, dict[str, tuple[str, ...]]] = {
    "nextgpt": {
        "look": (P_IMAGE,),
        "hear": (P_AUDIO,),
        "frames": (P_VIDEO,),
        "peek": (P_VIDEO, "frames.frames"),
        "pool": (P_VIDEO,),
        "think": (),
        "to_image": ("think.image",),
        "draw": ("think.image",),
        "sing": ("think.audio",),
        "film": ("think.video",),
    },
    "one-stream": {"code": (P_IMAGE,), "think": (), "back": ("think.image",), "draw": ("think.image",)},
    "transfusion": {"vae": (P_IMAGE,), "think": (), "draw": ("think.image",)},
    "remote-chat": {"think": ()},
    "remote-chat-over-questions": {"think": ("asks",)},
    "speech-to-speech": {"hear": (P_AUDIO,), "think": (), "speak": ()},
    "edit-in-chat": {"look": (P_IMAGE,), "think": (), "last": (), "cond": ("think.image",), "draw": ("think.image",)},
    "many-chats": {
        "look": ("prompts", "prompts.image"),
        "think": ("prompts",),
        "draw": ("prompts", "think.image"),
    },
    "dalle2": {"clip": (), "prior": (), "draw": ()},
    "var": {"draw": ()},
    "mar-many": {"draw": ("labels",)},
    "guidance-negative": {"read": ("caption",), "shun": (), "draw": ("caption",)},
    "image-to-image": {"draw": ()},
    "sora": {"film": ()},
    "heads": {"d": (), "v": (), "m": (), "q": ()},
    "chain-stars-outside": {"code": (), "back": ()},
    "clip-zero-shot": {"look": ("photos",), "name": ("labels",), "guess": ("photos",)},
    "clip-prompt-ensemble": {
        "phrase": ("labels",),
        "say": ("labels", "phrase.texts"),
        "name": ("labels",),
        "guess": (),
    },
    "clip-search": {"look": ("gallery",), "find": ()},
    "whisper-full": {"hear": ()},
    "whisper-windows": {"cut": ("speech",), "hear": ("speech", "cut.windows"), "join": ("speech",)},
    "flamingo": {
        "frames": (P_VIDEO,),
        "glance": (P_VIDEO, "frames.frames"),
        "watch": (P_VIDEO,),
        "see": (P_IMAGE,),
        "think": (),
    },
    "flamingo-shots-apart": {"ask": (), "look": ("ask.image",), "think": ()},
    "blip2": {"look": (), "match": (), "think": ()},
    "llava-anyres": {"tile": (P_IMAGE,), "look": (P_IMAGE, "tile.tiles"), "merge": (P_IMAGE,), "think": ()},
    "llava-mof": {"mix": (P_IMAGE,), "think": ()},
    "shikra": {"write": (), "look": ("write.image",), "think": (), "parse": ()},
    "ferret": {"look": (P_IMAGE,), "mark": (), "think": (), "parse": ()},
    "next-chat": {
        "look": (),
        "given": ("ask.boxes",),
        "think": (),
        "box": ("think.boxes",),
        "sam": (),
        "cut": ("think.boxes",),
    },
    "pic2word": {"look": (P_IMAGE,), "ask": (), "keys": ("gallery",), "find": ()},
    "perceiver-io-autoencoding": {"both": ()},
    "perceiver-io-flow": {"flow": ()},
    "aurora": {"step": (), "days": ()},
    "aurora-inside": {"days": ()},
    "imagebind-search": {
        "bind": ("gallery.image",),
        "gs": ("gallery.audio",),
        "qi": ("query.image",),
        "qt": (),
        "find": (),
    },
    "nvlm-d": {"look": (P_IMAGE,), "think": ()},
    "nvlm-x": {"look": (P_IMAGE,), "think": ()},
    "joint-answer": {"look": ("photos",), "see": ("photos",), "think": ()},
    "answer-each": {"look": ("photos",), "think": ("photos",)},
    "questions-each": {"look": (), "think": ("asks",)},
    "caption-then-summarise": {"look": (P_IMAGE,), "each": (P_IMAGE,), "all": ()},
    "route-by-class": {
        "sort": (P_IMAGE,),
        "split": (P_IMAGE,),
        "a": (P_IMAGE,),
        "either": (P_IMAGE,),
        "see": (P_IMAGE,),
        "think": (),
    },
}


def sketches() -> dict[str, str]:
    """name -> text of every sketch."""
    found: dict[str, str] = {}
    for file in sorted(FOLDER.glob("*.yaml")):
        for text in file.read_text("utf-8").split("\n---\n"):
            found[text.split("\n")[0].removeprefix("name:").partition("#")[0].strip()] = text
    return found


SKETCHES = sketches() if FOLDER.is_dir() else {}
CARDS = registry()


def checked(name: str) -> Checked:
    return check_text(SKETCHES[name], registry=CARDS, strict_header=False, require_weights=False)


def graph(name: str) -> Graph:
    return checked(name).expect()


def test_all_forty_two_sketches_are_looked_at() -> None:
    assert len(SKETCHES) == 42
    assert set(SKETCHES) == set(STACKS)


@pytest.mark.parametrize("name", sorted(STACKS))
def test_a_sketch_checks_and_its_nodes_run_over_the_lists_that_it_means(name: str) -> None:
    found = graph(name)
    assert [p for p in checked(name).problems if p.is_error] == []
    assert {node: found.nodes[node].stack for node in STACKS[name]} == STACKS[name]


def test_only_what_a_sketch_leaves_unused_is_warned_about() -> None:
    warned = {(name, p.code, p.path) for name in SKETCHES for p in checked(name).problems}
    assert warned == {("dalle2", "W102", "inputs.avoid")}


def test_one_answer_about_all_the_images_or_one_for_each() -> None:
    joint, each = graph("joint-answer"), graph("answer-each")
    assert joint.outputs["answer"].flow.stack == ()
    assert each.outputs["answers"].flow.stack == ("photos",)
    assert joint.nodes["think"].edges["image"].mapped == ()
    assert each.nodes["think"].edges["image"].mapped == ("photos",)


def test_the_reply_of_many_chats_is_a_list_of_filled_messages() -> None:
    output = graph("many-chats").outputs["replies"]
    assert output.flow.stack == ("prompts",)
    assert isinstance(output.source, Fill)
    assert output.source.reply_flow.open_places == {"image": "think.image"}
    assert output.source.fills["image"].flow.stack == ("prompts", "think.image")


def test_regions_gathered_with_their_images_keep_the_list_of_the_regions() -> None:
    mark = graph("ferret").nodes["mark"]
    assert mark.edges["regions"].mode == "gather"
    assert mark.gives["features"].stack == ("prompt.boxes",)


def test_the_rollout_takes_the_model_itself() -> None:
    days = graph("aurora").nodes["days"]
    assert days.edges["step"].flow.kinds == ("node",)
    assert days.gives["values"].kinds == ("field",)
    assert days.gives["values"].stack == ("days.values",)


def test_routing_gives_holes_and_first_closes_them() -> None:
    nodes = graph("route-by-class").nodes
    assert nodes["split"].gives["chart"].maybe
    assert nodes["a"].maybe and nodes["a"].gives["patches"].maybe
    assert not nodes["either"].gives["value"].maybe
    assert not nodes["see"].maybe


def test_speech_is_spoken_only_where_the_model_asks_for_it() -> None:
    speak = graph("speech-to-speech").nodes["speak"]
    assert speak.when is not None and speak.when.mode == "gather"
    assert speak.maybe and graph("speech-to-speech").outputs["said"].flow.maybe


def test_an_absent_sound_or_label_leaves_the_perceiver_present() -> None:
    both = graph("perceiver-io-autoencoding").nodes["both"]
    assert both.edges["audio"].flow.maybe and not both.maybe


def test_an_optional_caption_makes_the_matching_score_absent() -> None:
    assert graph("blip2").outputs["itm"].flow.maybe
    assert not graph("blip2").outputs["text"].flow.maybe


def test_search_gathers_everything_into_one_list_a_port() -> None:
    find = graph("imagebind-search").nodes["find"]
    assert {p: e.mode for p, e in find.edges.items()} == dict.fromkeys(("query", "keys", "items"), "gather")
    assert find.gives["hits"].kinds == ("image", "audio")
    assert find.edges["items"].flow.stack == ("find.items",)


def test_tokens_that_the_backbone_emits_are_of_the_codebook_that_fed_it() -> None:
    nodes = graph("one-stream").nodes
    assert nodes["think"].gives["image"].space == nodes["code"].gives["tokens"].space


def test_outputs_of_several_heads_stand_side_by_side() -> None:
    output = graph("heads").outputs["side_by_side"]
    assert isinstance(output.source, Bracket) and output.flow.stack == ("outputs.side_by_side",)


def test_widths_are_solved_against_the_flow_from_the_decoder_to_the_projection() -> None:
    found = graph("nextgpt").nodes
    assert found["to_image"].gives["features"].axes[-1].size == 768
    assert found["to_video"].sizes["out"] == 1024
    assert found["draw"].edges["cond"].flow.axes[0].size == 4
