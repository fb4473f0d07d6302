"""Weights strings: what each form means, and what is said of those that cannot be read."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyany.weights.errors import WeightsError
from anyany.weights.sources import (
    BundleSource,
    FileSource,
    HubSource,
    RandomSource,
    SourceSyntaxError,
    parse_source,
    parse_sources,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hub:openai/clip-vit-large-patch14", HubSource(repo="openai/clip-vit-large-patch14")),
        ("hub:a/b/unet", HubSource(repo="a/b", path="unet")),
        ("hub:a/b/x/y.safetensors@v1.0", HubSource(repo="a/b", path="x/y.safetensors", revision="v1.0")),
        (f"hub:a/b@{COMMIT}#vision_model.", HubSource(repo="a/b", revision=COMMIT, prefix="vision_model.")),
        ("hub:a/b@refs/pr/3", HubSource(repo="a/b", revision="refs/pr/3")),
        ("file:runs/x.safetensors", FileSource(path="runs/x.safetensors")),
        ("file:/abs/with space@1#p.", FileSource(path="/abs/with space@1", prefix="p.")),
        ("bundle:mini/look", BundleSource(namespace="mini", path="look")),
        (
            "bundle:mini/a/b.safetensors#x.",
            BundleSource(namespace="mini", path="a/b.safetensors", prefix="x."),
        ),
        ("random:0", RandomSource(seed=0)),
        ("random:12345678901", RandomSource(seed=12345678901)),
    ],
)
def test_every_form_is_read_and_written_back(text, source):
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 0, "expected hub:ORG/NAME"),
        ("clip", 0, "expected hub:ORG/NAME"),
        ("hub:", 4, "nothing after hub:"),
        ("hub:gpt2", 8, "expected ORG/NAME"),
        ("hub:a/b@", 8, "after '@'"),
        ("hub:a/b@x y", 8, "after '@'"),
        ("hub:a/b#", 8, "after '#'"),
        ("hub:a/b/../c", 8, "plain path"),
        ("hub:a b/c", 4, "not a name on the hub"),
        ("hub:a/b--c", 6, "not a name on the hub"),
        ("file:#x", 5, "path after file:"),
        ("bundle:mini", 11, "NAMESPACE/PATH"),
        ("bundle:mini/../../etc", 12, "plain path"),
        ("bundle:1x/y", 7, "namespace"),
        ("random:-1", 7, "seed"),
        ("random:1e3", 7, "seed"),
        ("random:٣", 7, "seed"),
        ("random:1 ", 8, "space"),
    ],
)
def test_a_bad_string_says_what_was_expected_and_where(text, position, said):
    with pytest.raises(SourceSyntaxError) as caught:
        parse_source(text)
    assert isinstance(caught.value, ValueError)
    assert caught.value.position == position
    assert said in str(caught.value)
    assert caught.value.help


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("openai/clip", "write hub:openai/clip"),
        ("./x.safetensors", "write file:./x.safetensors"),
        ("weights.pt", "write file:weights.pt"),
        ("https://huggingface.co/openai/clip/tree/main", "write hub:openai/clip"),
    ],
)
def test_a_string_without_its_scheme_is_guessed(text, help):
    with pytest.raises(SourceSyntaxError) as caught:
        parse_source(text)
    assert help in caught.value.help


def test_a_list_overlays_with_the_base_first():
    base, lora = parse_sources(["hub:a/b", "file:lora"], base="specs")
    assert isinstance(base, HubSource)
    assert lora.location == os.path.join("specs", "lora")


@pytest.mark.parametrize("value", [[], 3, None, ["hub:a/b", 3], {"hub": "a/b"}, ["hub:a/b", "random:0"]])
def test_other_values_than_strings_and_lists_of_them_are_refused(value):
    with pytest.raises(SourceSyntaxError):
        parse_sources(value)


def test_files_are_relative_to_the_folder_of_the_spec():
    assert parse_source("file:../w.safetensors", base="/specs/a").location == "/specs/w.safetensors"
    assert parse_source("file:/w.safetensors", base="/specs/a").location == "/w.safetensors"
    assert parse_source("file:~/w", base="/specs").location == os.path.expanduser("~/w")


def test_a_bundle_lies_in_the_weights_folder_of_its_plugin():
    source = parse_source("bundle:mini/look")
    assert source.locate({"mini": "/site/anyany_mini"}.__getitem__) == "/site/anyany_mini/weights/look"
    with pytest.raises(WeightsError, match="no installed plugin has the namespace 'mini'") as caught:
        source.locate({}.__getitem__)
    assert caught.value.code == "E452"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"(hub|file|bundle|random):[\w/@#.:-]{0,30}", fullmatch=True)))
def test_any_text_is_read_or_refused_with_a_position_inside_it(text):
    try:
        source = parse_source(text)
    except SourceSyntaxError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert parse_source(str(source)) == source
