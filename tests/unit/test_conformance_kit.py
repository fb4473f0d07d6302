"""The conformance kit finds what it says it finds: each fault below is built in, and must be reported.

The components are tiny; each breaks exactly one promise.
"""

from __future__ import annotations

import contextlib
import random
import socket
import unittest
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany.api.v1 import Call, Config, Port, card, hookimpl, option, var
from anyany.registry import default_registry
from anyany.testing import ConformanceError, conformance


class ToyConfig(Config):
    width: int = option(8, low=1)


class Good(Component):
    """Features in, features out, row by row."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.layer = nn.Linear(build.sizes["inputs"], config.width)

    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        data, offsets = features.packed()
        return {"out": Rows(self.layer(data), offsets)}


class WrongWidth(Good):
    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        return {"out": Rows([self.layer(one)[:, :-1] for one in features])}


class NotANumber(Good):
    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        return {"out": Rows([self.layer(one) / 0 * 0 for one in features])}


class SeesNeighbours(Good):
    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        data, offsets = features.packed()
        return {"out": Rows(self.layer(data - data.mean()), offsets)}


class Unseeded(Good):
    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        return {"out": Rows([self.layer(one) + random.random() for one in features])}


class ForgetsABuffer(Good):
    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.register_buffer("shift", torch.ones(config.width), persistent=False)

    def init_buffers(self) -> None:
        self.shift.fill_(2.0)  # not what __init__ makes

    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        return {"out": Rows([self.layer(one) + self.shift for one in features])}


class CallsHome(Good):
    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 80), timeout=0.01)
        return super().encode(ctx, features)


class KeepsPartOutOfItsState(Good):
    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.hidden = [1.0]

    def init_random(self, seed: int) -> None:
        self.to_empty(device="cpu")
        nn.init.ones_(self.layer.weight)
        nn.init.ones_(self.layer.bias)
        self.hidden[0] = 5.0

    def encode(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        return {"out": Rows([self.layer(one) * self.hidden[0] for one in features])}


class OtherArgument(Good):
    def encode(self, ctx: Context, images: Rows) -> dict[str, Rows]:  # type: ignore[override]
        return super().encode(ctx, images)


CLASSES = (Good, WrongWidth, NotANumber, SeesNeighbours, Unseeded, ForgetsABuffer, CallsHome,
           KeepsPartOutOfItsState, OtherArgument)  # fmt: skip


def toy_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"features": Port("features", "N D", D=var("inputs", 512))}
    return {"encode": Call(takes=takes, gives={"out": Port("features", "N D", D=config.width)})}


class Plugin:
    @hookimpl
    def anyany_cards(self):  # type: ignore[no-untyped-def]
        cards = [card(f"kit/{c.__name__.lower()}", role="encoder", about="a toy", config=ToyConfig, calls=toy_calls,
                      tiny={"width": 4}, impl=f"{__name__}:{c.__name__}") for c in CLASSES]  # fmt: skip
        broken = {"go": Call(takes={"x": Port("smell")}, gives={"y": Port("features*", ties="nothing")}, teach="lost")}
        return [*cards, card("kit/badcard", role="encoder", calls=broken, impl=f"{__name__}:Good")]


@pytest.fixture(autouse=True)
def plugin() -> Iterator[None]:
    default_registry().add("kit", Plugin())
    yield
    default_registry().remove("kit")


def reported(component: type, check: str) -> str:
    with pytest.raises(ConformanceError) as caught:
        conformance(f"kit/{component.__name__.lower()}", only=check)
    return str(caught.value)


def test_a_good_component_passes_everything() -> None:
    conformance("kit/good")


def test_an_output_of_another_width_is_found() -> None:
    assert "axis D is 3, but the card says 4" in reported(WrongWidth, "ports")


def test_outputs_that_are_not_numbers_are_found() -> None:
    assert "NaN or infinity" in reported(NotANumber, "ports")


def test_a_row_that_depends_on_its_neighbours_is_found() -> None:
    assert "encode, row 0, in a batch and alone: out: off by" in reported(SeesNeighbours, "batch")


def test_randomness_outside_the_context_is_found() -> None:
    assert "called twice" in reported(Unseeded, "seed")


def test_a_buffer_that_differs_on_meta_is_found() -> None:
    assert "buffer `shift`" in reported(ForgetsABuffer, "meta")


def test_what_a_checkpoint_does_not_hold_is_found() -> None:
    assert "after saving and loading" in reported(KeepsPartOutOfItsState, "saving")


def test_a_connection_is_found_even_when_its_failure_is_swallowed() -> None:
    assert "192.0.2.1" in reported(CallsHome, "network")


def test_arguments_that_are_not_the_ports_are_found() -> None:
    text = reported(OtherArgument, "methods")
    assert "does not accept the port `features`" in text and "wants `images`" in text


def test_a_card_that_names_what_does_not_exist_is_found() -> None:
    with pytest.raises(ConformanceError) as caught:
        conformance("kit/badcard", only="card")
    text = str(caught.value)
    for part in (
        "says nothing about itself",
        "no tiny preset",
        "`smell`",
        "ties the list of `nothing`",
        "no call `lost`",
    ):
        assert part in text


def test_a_check_without_meaning_is_skipped_and_an_unknown_one_refused() -> None:
    with pytest.raises(unittest.SkipTest, match="registered in this process"):
        conformance("kit/good", only="imports")
    with pytest.raises(ValueError, match="the checks are card, methods"):
        conformance("kit/good", only="nonsense")
