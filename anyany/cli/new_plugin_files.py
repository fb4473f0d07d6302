"""The files of a new plugin and of a new pipeline, as templates: `$name`, `$package` and `$Class` are filled in.

They are small on purpose: every line is one that the author will want to know.
"""

from __future__ import annotations

from string import Template

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "anyany-$name"
version = "0.1.0"
description = "Components of $name for anyany"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["anyany"]

[project.optional-dependencies]
test = ["pytest"]

# The name on the left is the namespace of your components; it is imported only when a spec names it.
[project.entry-points."anyany.v1"]
$name = "$package.plugin"

[tool.hatch.build.targets.wheel]
packages = ["$package"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

README = """\
# anyany-$name

Components for [anyany](https://pypi.org/project/anyany) under the namespace `$name`.

    pip install -e .
    anyany plugins show $name/encoder
    pytest

| file | what it is |
|---|---|
| `$package/plugin.py` | the cards: what each component takes, gives and can be told; imports nothing heavy |
| `$package/encoder.py` | the encoder itself, in torch |
| `$package/specs/$name.yaml` | a pipeline that uses it: `anyany run $package/specs/$name.yaml --in picture=cat.png` |
| `tests/test_encoder.py` | the conformance kit: it holds the card against what the encoder does |

To add a component: write its class in a file of its own, declare its card in `plugin.py`, and name it in the test.
"""

INIT = '''\
"""Components of namespace `$name` for anyany. Cards are in `plugin.py`."""
'''

PLUGIN = '''\
"""Cards of namespace `$name`. Imports nothing heavy: `anyany check` reads this file.

Implementations are in the files beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anyany.api.v1 import Call, Card, Config, Port, card, hookimpl, option


class EncoderConfig(Config):
    """What a spec may write under `with:`; unknown options are refused."""

    resolution: int = option(64, low=8, doc="side in pixels that every picture is resized to")
    patch: int = option(8, low=1, doc="side of a patch in pixels; it divides the resolution")
    width: int = option(128, low=1, doc="features a patch")

    def __post_init__(self) -> None:
        if self.resolution % self.patch:
            raise ValueError(f"patch {self.patch} does not divide resolution {self.resolution}")


def encoder_calls(config: Any, facts: Any) -> Mapping[str, Call]:
    """The ports of each call. The first on each side is the main one; axes are checked along every edge."""
    count = (config.resolution // config.patch) ** 2
    return {
        "encode": Call(
            takes={"image": Port("image", channels=3)},
            gives={
                "patches": Port("features", "N D", N=count, D=config.width, space="self", doc="one vector a patch"),
                "mean": Port("embedding", "D", D=config.width, space="self", doc="their mean"),
            },
        )
    }


ENCODER = card(
    "$name/encoder",
    role="encoder",
    about="A picture becomes one vector a patch: a convolution and a layer norm.",
    config=EncoderConfig,
    calls=encoder_calls,
    tiny={"resolution": 16, "patch": 4, "width": 32},
    impl="$package.encoder:${Class}Encoder",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components that this plugin offers."""
    return [ENCODER]


@hookimpl
def anyany_specs() -> Sequence[str]:
    """The pipelines that it ships."""
    return ["specs/$name.yaml"]
'''

ENCODER = '''\
"""${Class}Encoder: a picture cut into patches, one vector each.

Takes pictures of any size [C,H,W]; gives `patches` [N,D] and their mean [D].
Shape suffixes: B rows, C channels, S side in pixels, G patches a side, N patches, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, to_float


class ${Class}Encoder(Component):
    """Structure only in `__init__`: weights are loaded by name afterwards, strictly. Options: `EncoderConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
        self.norm = nn.LayerNorm(config.width)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """One method a call; its arguments are the ports that the call takes."""
        side = self.config.resolution
        pixels = [to_float(one)[None].to(ctx.device) for one in image]
        small = [nn.functional.interpolate(p, (side, side), mode="bilinear", antialias=True) for p in pixels]
        features_BDGG = self.patches((torch.cat(small) * 2 - 1).to(ctx.dtype))
        features_BND = self.norm(features_BDGG.flatten(2).transpose(1, 2))
        return {"patches": ctx.rows(features_BND), "mean": ctx.rows(features_BND.mean(1))}
'''

SPEC = """\
anyany: 1
name: $name
about: A picture in, one vector a patch out.
inputs:
  picture: image
nodes:
  look: {use: $name/encoder, weights: "random:0", in: picture}
outputs:
  vectors: look
  mean: look.mean
profiles:
  mini: {look: {with: tiny}}
"""

TEST = '''\
"""The encoder keeps what its card says: ports, sizes, batches, seeds, saving, clean imports, no network."""

import pytest

from anyany.testing import CHECKS, conformance


@pytest.mark.parametrize("check", CHECKS)
def test_the_encoder_keeps_its_card(check: str) -> None:
    conformance("$name/encoder", only=check)
'''

PIPELINE = """\
# A first pipeline: text and pictures in, text out. The weights are random, so its answers are nonsense until you
# name real ones, such as weights: "hub:openai/clip-vit-large-patch14". `anyany plugins` lists what there is to use.
anyany: 1
name: $name
about: Answers a message that may hold pictures.
inputs:
  prompt: message
nodes:
  look: {use: vision/vit, weights: "random:0", with: tiny, in: prompt.image}
  see: {use: adapters/mlp, weights: "random:1", in: look}
  think: {use: language/causal-lm, weights: "random:2", with: tiny, in: {message: prompt, image: see}}
outputs:
  reply: think
"""


def plugin_files(name: str) -> dict[str, str]:
    """Path -> text of the package `name` (already cleaned: a-z, 0-9 and single hyphens)."""
    package = "anyany_" + name.replace("-", "_")
    names = {"name": name, "package": package, "Class": "".join(w.capitalize() for w in name.split("-"))}
    templates = {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        ".gitignore": "__pycache__/\n*.egg-info/\ndist/\n",
        f"{package}/__init__.py": INIT,
        f"{package}/plugin.py": PLUGIN,
        f"{package}/encoder.py": ENCODER,
        f"{package}/specs/{name}.yaml": SPEC,
        "tests/test_encoder.py": TEST,
    }
    return {path: Template(text).substitute(names) for path, text in templates.items()}
