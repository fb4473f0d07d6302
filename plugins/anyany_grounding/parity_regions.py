"""Parity of Shikra's text (`coordinate_heads`) and of Ferret's sampler (`region_sampler`).

Masks of the packs are laid out (width, height), as Ferret's are.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import on_image
from anyany_grounding.coordinates import to_fractions
from anyany_grounding.region_sampler import _square
from anyany_grounding.regions import regions_of

FORMS = {"plain": "shikra", "small_brackets": "parentheses", "tokens": "tokens"}


# Shikra -----------------------------------------------------------------------------------------------------------
def shikra_text(pack: Any) -> dict[str, Any]:
    """Boxes written into sentences in three forms, points in one, and all of them read back; free text."""
    c = pack.config
    out: dict[str, Any] = {}
    for number, case in enumerate(c["cases"]):
        for name, form in FORMS.items():
            box_text = _box_text(pack, form, case["expand"])
            rows = box_text.fractions(pack.inputs[f"boxes_{number}"], tuple(case["size"]))
            out[f"normalised_{number}"] = torch.tensor(rows, dtype=torch.float64)
            text = _filled(case, "<boxes>", [box_text.form.write([rows[i] for i in s]) for s in case["boxes_seq"]])
            out[f"text_{name}_{number}"] = _bytes(text)
            out |= _read(box_text, text, 4, f"extracted_{name}_{number}", f"extracted_counts_{name}_{number}")
        box_text = _box_text(pack, "shikra", case["expand"])
        exact = to_fractions(pack.inputs[f"boxes_{number}"].double()[:, :2], tuple(case["size"]), case["expand"])
        points = [tuple(row) for row in exact.tolist()]
        text = _filled(case, "<boxes>", [box_text.form.write([points[i] for i in s]) for s in case["boxes_seq"]])
        out[f"text_points_{number}"] = _bytes(text)
        out |= _read(box_text, text, 2, f"extracted_points_{number}", "")
    for number, text in enumerate(c["free_text"]):
        out |= _read(_box_text(pack, "shikra", True), text, 4, f"free_boxes_{number}", f"free_counts_{number}")
    return out


def _box_text(pack: Any, form: str, pad: bool) -> Any:
    options = {"form": form, "pad": pad, "digits": pack.config["precision"], "bins": pack.config["num_bins"]}
    return pack.plain("grounding/box-text", options).component


def _filled(case: dict[str, Any], slot: str, texts: list[str]) -> str:
    pieces = case["sentence"].split(slot)
    return "".join(a + b for a, b in zip(pieces, [*texts, ""]))


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode() or b"\0"), dtype=torch.uint8)


def _read(box_text: Any, text: str, columns: int, rows: str, counts: str) -> dict[str, Any]:
    found = box_text.form.read(text, columns)
    flat = torch.tensor([row for mention in found for row in mention], dtype=torch.float64).reshape(-1, columns)
    out: dict[str, Any] = {rows: flat}
    return {**out, counts: torch.tensor([len(m) for m in found], dtype=torch.int64)} if counts else out


# Ferret -----------------------------------------------------------------------------------------------------------
def geo_sampler(pack: Any) -> dict[str, Any]:
    """The sampler on given points and starts, stage by stage."""
    m, given = pack.config["model"], pack.inputs
    sampler = pack.component("grounding/region-sampler", {
        "inputs": m["input_dim"], "outputs": m["output_dim"], "points": m["num_init_point"],
        "keep": m["num_sub_point"], "neighbours": m["num_neighbor"], "pool": m["pooler_mode"],
    }).component  # fmt: skip
    xy_RP2, at = given["init_points"], 0
    out: dict[str, Any] = {}
    looked = []
    for number, count in enumerate(pack.config["masks_per_image"]):
        looked.append(sampler.point_features(_square(given["feature_map"][number]), xy_RP2[at : at + count]))
        at += count
    out["point_features"] = x_RPC = torch.cat(looked)
    starts = [given[f"fps_start_{s}"] for s in range(len(m["num_sub_point"]))]
    xy = xy_RP2
    for number, start in enumerate(starts):
        x_RPC, xy, kept, near = sampler.stage(number, x_RPC, xy, start)
        out |= {f"fps_index_{number}": kept, f"knn_index_sorted_{number}": near.sort(-1).values}
    vectors, at = sampler.vectors(out["point_features"], xy_RP2, starts), 0
    for number, count in enumerate(pack.config["masks_per_image"]):
        if count:
            out[f"region_feature_image{number}"] = vectors[at : at + count]
        at += count
    if not pack.config["given_points"]:
        _check_points(pack)
    return out


def _check_points(pack: Any) -> None:
    """Where a mask has just enough pixels, the points are all of them in order. Raises ValueError otherwise."""
    wanted, at = pack.config["model"]["num_init_point"], 0
    for number, count in enumerate(pack.config["masks_per_image"]):
        for i in range(count):
            mask = pack.inputs[f"mask_{number}_{i}"].T > 0
            (region,) = regions_of(mask, mask[None])
            found = region.some(wanted, torch.zeros(wanted), fill=True)
            if not torch.equal(found, pack.inputs["init_points"][at]):
                raise ValueError(f"the points of mask {number}, {i} are others than the pack's")
            at += 1


def average(pack: Any) -> dict[str, Any]:
    """The simpler variant, mask by mask."""
    c, given = pack.config, pack.inputs
    built = pack.component("grounding/region-sampler", {"inputs": c["dim"], "outputs": c["out"], "how": "average"})
    out = {}
    for number, count in enumerate(c["masks_per_image"]):
        if not count:
            continue
        masks = [given[f"mask_{number}_{i}"].T > 0 for i in range(count)]
        regions = _listed([on_image(mask, mask[None], 0) for mask in masks])
        found = pack.call(built, "sample", regions=regions, features=_listed([given["feature_map"][number]]))
        out[f"region_feature_image{number}"] = torch.cat(found["features"].list())
    return out


def _listed(values: list[Any]) -> Any:
    """One row whose list is `values`."""
    from anyany.api.torch import Rows

    return Rows(values, counts=[len(values)])


def layout(released: Any) -> None:
    """The sampler of a released Ferret."""
    prefix, shapes, sizes = "model.region_geo_sampler.", released.shapes, released.config
    outputs, inputs = shapes[f"{prefix}dim_projector.weight"]
    options = {"inputs": inputs, "outputs": outputs, "points": sizes["points"], "keep": sizes["sub"],
               "neighbours": sizes["neighbours"]}  # fmt: skip
    released.take("grounding/region-sampler", options, prefix=prefix)


CASES = {
    ("coordinate_heads", "shikra_text_format"): shikra_text,
    ("region_sampler", "ferret_geo_sampler"): geo_sampler,
    ("region_sampler", "ferret_average_region_feature"): average,
}
LAYOUTS = {"region_sampler": layout}
