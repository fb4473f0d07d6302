"""The golden packs and released layouts of the families that are built, where the packs lie beside the repository.

Each pack and each released configuration is a test of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anyany.testing.parity import run_layouts, run_pack, table
from anyany.testing.parity_pack import PackFile

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
KNOWN = table()
PACKS = sorted(GOLDEN.rglob("*.safetensors"))
TAKEN = {key.partition("/")[0] for key in KNOWN.layouts}
LAYOUTS = [p for p in sorted(GOLDEN.rglob("official_layouts.json")) if p.parent.name in TAKEN]

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden packs are not beside the repository")


def dispatched(path: Path) -> bool:
    file = PackFile(path)
    return (file.component, file.family) in KNOWN.cases


@pytest.mark.parametrize("path", [p for p in PACKS if dispatched(p)], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_pack_is_reproduced(path: Path) -> None:
    line = run_pack(path, KNOWN)
    assert line.ok, line.text()


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.parent.name)
def test_released_configurations_are_taken_name_by_name(path: Path) -> None:
    lines = list(run_layouts(path, KNOWN))
    assert len(lines) == len(json.loads(path.read_text("utf-8")))
    assert [line.text() for line in lines if not line.ok] == []


@pytest.mark.parametrize(
    "family", ["vit", "llava", "mmvp_mof", "dinov2", "pic2word", "pix2struct", "quadrangle", "nextgpt_input"]
)
def test_no_pack_of_a_vision_family_is_left_out(family: str) -> None:
    assert [p.name for p in PACKS if p.parent.name == family and not dispatched(p)] == []
    assert family in KNOWN.layouts
