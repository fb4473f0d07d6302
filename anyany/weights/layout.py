"""Which files of a folder or repository are the weights, and which are assets: one rule for disk and hub.

Works on lists of file names alone; nothing is opened here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import WeightsError

STEMS = ("model", "diffusion_pytorch_model", "adapter_model", "pytorch_model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PIPELINE = "model_index.json"
# Parts of diffusers pipelines that no component builds: a gigabyte that would be fetched for nothing.
UNUSED_PARTS = ("safety_checker", "feature_extractor")
ASSET_ENDINGS = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".yaml")
_INDEX = ".safetensors.index.json"
_MAX_LISTED = 8


@dataclass(frozen=True, kw_only=True, repr=False)
class Layout:
    """The files of one set of weights, as names relative to where the listing starts.

    weights: one file, or nothing yet when index names the shards; index: the shards' index or empty;
    assets: configuration and tokenizer files of the same folder; pickle: weights are a pickle.
    parts: of a diffusers pipeline, a layout for each folder that holds weights; `unet/x.safetensors` gives `unet.*`.
    """

    weights: tuple[str, ...]
    index: str
    assets: tuple[str, ...]
    folder: str
    pickle: bool = False
    parts: tuple[tuple[str, Layout], ...] = ()

    @property
    def leaves(self) -> tuple[tuple[str, Layout], ...]:
        """The layouts that hold weights themselves, each with the prefix of its tensors' names."""
        return tuple((f"{name}.", part) for name, part in self.parts) or (("", self),)


def choose(names: Iterable[str], path: str, *, where: str, allow_pickle: bool = False) -> Layout:
    """Finds the weights among names at path (a file or folder in the listing; empty: its root).

    where: how messages call the source. WeightsError E453, E454 or E455.
    """
    listing = sorted(set(names))
    if path in listing:
        folder = posixpath.dirname(path)
        assets = _assets(listing, folder)
        if path.endswith(_INDEX):
            return Layout(weights=(), index=path, assets=assets, folder=folder)
        pickle = path.endswith(PICKLES)
        if pickle and not allow_pickle:
            raise pickle_refused(where, path)
        return Layout(weights=(path,), index="", assets=assets, folder=folder, pickle=pickle)
    inside = [name for name in listing if posixpath.dirname(name) == path]
    assets = _assets(listing, path)
    for stem in STEMS:
        index = posixpath.join(path, stem + _INDEX)
        single = posixpath.join(path, stem + ".safetensors")
        if single in inside:
            return Layout(weights=(single,), index="", assets=assets, folder=path)
        if index in inside:
            return Layout(weights=(), index=index, assets=assets, folder=path)
    tensors = [name for name in inside if name.endswith(".safetensors")]
    if len(tensors) == 1:
        return Layout(weights=(tensors[0],), index="", assets=assets, folder=path)
    if tensors:
        raise WeightsError(
            "E454",
            f"{where} holds {len(tensors)} safetensors files and no index that joins them: {_some(tensors)}.",
            f"name one of them in the weights string, such as .../{tensors[0]}",
        )
    if posixpath.join(path, PIPELINE) in inside:
        return _pipeline(listing, path, where)
    return _pickles(inside, assets, path, where=where, allow_pickle=allow_pickle, listing=listing)


def _pipeline(listing: list[str], path: str, where: str) -> Layout:
    """A diffusers pipeline: a folder a part, those without weights (tokenizer, scheduler) being assets."""
    head = f"{path}/" if path else ""
    folders = sorted(
        {name[len(head) :].split("/")[0] for name in listing if name.startswith(head) and "/" in name[len(head) :]}
    )
    assets = list(_assets(listing, path))
    parts = []
    for name in folders:
        if name in UNUSED_PARTS:
            continue
        assets += _assets(listing, head + name)
        if any(_is_weights(each) for each in listing if posixpath.dirname(each) == head + name):
            parts.append((name, choose(listing, head + name, where=where)))
    return Layout(weights=(), index="", assets=tuple(assets), folder=path, parts=tuple(parts))


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", *PICKLES))


def _pickles(
    inside: list[str],
    assets: tuple[str, ...],
    path: str,
    *,
    where: str,
    allow_pickle: bool,
    listing: list[str],
) -> Layout:
    found = [name for name in inside if name.endswith(PICKLES)]
    preferred = [name for name in found if posixpath.basename(name).split(".")[0] in STEMS] or found
    if found and not allow_pickle:
        raise pickle_refused(where, preferred[0])
    if len(preferred) == 1:
        return Layout(weights=(preferred[0],), index="", assets=assets, folder=path, pickle=True)
    if preferred:
        raise WeightsError(
            "E454",
            f"{where} holds several checkpoints: {_some(preferred)}.",
            "name one of them in the weights string",
        )
    below = sorted({posixpath.dirname(name) for name in listing if name.endswith(".safetensors")} - {path})
    below = [name for name in below if not path or name.startswith(path + "/")]
    if below:
        help = f"name a folder in it: {_some(below)}"
    elif path:
        help = "check the path after the repository's or folder's name"
    else:
        help = "choose weights in safetensors, or convert them: anyany convert OLD NEW.safetensors"
    raise WeightsError("E454", f"{where} holds no safetensors weights{f' at {path}' if path else ''}.", help)


def pickle_refused(where: str, name: str) -> WeightsError:
    """The error for a pickle that nobody allowed."""
    new = posixpath.splitext(posixpath.basename(name))[0] + ".safetensors"
    return WeightsError(
        "E455",
        f"{where}: {name} is a pickle, which can run code when opened; only safetensors are read.",
        f"convert it once with `anyany convert {name} {new}`, or pass --allow-pickle if you trust its author",
    )


def _assets(listing: list[str], folder: str) -> tuple[str, ...]:
    return tuple(
        name
        for name in listing
        if posixpath.dirname(name) == folder
        and name.endswith(ASSET_ENDINGS)
        and not name.endswith(".index.json")
        and not posixpath.basename(name).upper().startswith(("README", "LICENSE"))
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
