"""Loading transformers' and diffusers' own classes as strictly as ours, and drawing them at random.

transformers keeps its ties, buffers and renames: it is given lazy tensors, and we raise on what it reports.
diffusers' networks are built without memory and then filled by `load_strict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from .errors import WeightsError
from .load import Rename, load_strict, mismatch, renamed
from .lora import overlay
from .random_init import generator_for
from .store import DTYPES, LazyTensor, Store

FLOATS = {name: dtype for dtype, name in DTYPES.items() if dtype.is_floating_point}


class Placement(Protocol):
    """Where weights go: what an engine's Build says."""

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


def load_transformers(
    cls: Any,
    config: Any,
    stores: Store | Sequence[Store],
    build: Placement,
    *,
    prefix: str = "",
    rename: Rename | None = None,
    ignores: Iterable[str] = (),
    skip: Iterable[str] = (),
    **options: Any,
) -> Any:
    """A transformers model of class cls with config, filled from stores (base first); evaluation mode.

    Names, ties and conversions are transformers' own; options go to `from_pretrained`. ignores, skip: globs over
    the file's names. WeightsError E459 lists all that is missing, unexpected or of another shape.
    """
    store = _joined(stores, prefix)
    state = {new: LazyTensor(store, name) for name in store if (new := renamed(name, rename)) is not None}
    # A device map sends each tensor straight to the accelerator; the CPU needs none.
    placed = {} if build.device.type == "cpu" else {"device_map": {"": build.device}}
    with quiet():
        try:
            model, report = cls.from_pretrained(
                None, config=config, state_dict=state, dtype=build.dtype, output_loading_info=True,
                ignore_mismatched_sizes=True, **placed, **options,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                "E459",
                f"{store.origin} does not fit {cls.__name__}: {error}",
                "check `weights:` and the options",
            ) from error
    _raise_on(report, store, cls.__name__, [*ignores, *skip, *getattr(build, "skip", ())])
    return model


def _joined(stores: Store | Sequence[Store], prefix: str) -> Store:
    store = stores if isinstance(stores, Store) else overlay(stores)
    return store.under(prefix) if prefix else store


def _raise_on(report: Mapping[str, Any], store: Store, name: str, patterns: Sequence[str]) -> None:
    import fnmatch

    spare = [key for key in report["unexpected_keys"] if any(fnmatch.fnmatchcase(key, each) for each in patterns)]
    unexpected = sorted(set(report["unexpected_keys"]) - set(spare) - store.matching(patterns))
    wrong = [
        f"{key}: {list(found)} in the file, {list(expected)} expected"
        for key, found, expected in sorted(report["mismatched_keys"])
    ]
    missing = sorted(set(report["missing_keys"]) - {key for key, *_ in report["mismatched_keys"]})
    if missing or unexpected or wrong:
        raise mismatch(store.origin, name, missing=missing, unexpected=unexpected, wrong=wrong)


def random_transformers(cls: Any, config: Any, seed: int, name: str, build: Placement, **options: Any) -> Any:
    """A transformers model drawn by its own initialisation, from (seed, name) alone; evaluation mode."""
    with _seeded(seed, name, build.device), quiet():
        model = cls._from_config(config, dtype=build.dtype, **options)
    return model.eval()


def load_diffusers(
    cls: Any,
    config: Mapping[str, Any],
    stores: Store | Sequence[Store],
    build: Placement,
    *,
    prefix: str = "",
    rename: Rename | None = None,
    ignores: Iterable[str] = (),
    skip: Iterable[str] = (),
) -> Any:
    """A diffusers network of class cls with config (its config.json), filled from stores; evaluation mode.

    Old names of attention blocks are translated as diffusers does. WeightsError E459.
    """
    store = _joined(stores, prefix)
    model = empty_diffusers(cls, config)
    names = {new: name for name in store if (new := renamed(name, rename)) is not None}
    translate = getattr(model, "_fix_state_dict_keys_on_load", None)
    if callable(translate):
        translate(names)
    back = {name: new for new, name in names.items()}
    known = [*ignores, *skip, *getattr(build, "skip", ()), *(cls._keys_to_ignore_on_load_unexpected or ())]
    load_strict(model, store, rename=back.get, ignores=known, dtype=build.dtype, device=build.device)
    return model.eval()


def empty_diffusers(cls: Any, config: Mapping[str, Any]) -> Any:
    """A diffusers network with parameters on meta and real buffers (it computes them while it is built)."""
    from accelerate import init_empty_weights

    with quiet(), torch.device("cpu"), init_empty_weights(include_buffers=False):
        return cls.from_config(dict(config))


def random_diffusers(cls: Any, config: Mapping[str, Any], seed: int, name: str, build: Placement) -> Any:
    """A diffusers network drawn by its own initialisation, from (seed, name) alone; evaluation mode."""
    with _seeded(seed, name, build.device), quiet():
        model: nn.Module = cls.from_config(dict(config))
    # The library builds in float32 only, and these weights were never on disk: here a cast is no second rounding.
    return model.to(dtype=build.dtype).eval()


@contextmanager
def _seeded(seed: int, name: str, device: torch.device) -> Iterator[None]:
    """Builds modules on a device with its global generator seeded, and puts the generator back after."""
    number = generator_for(seed, name).initial_seed()
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.device(device):
        torch.manual_seed(number)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the libraries' progress bars and warnings: what they would say, we raise."""
    import diffusers.utils.logging as diffusion
    import transformers.utils.logging as language

    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (language, diffusion)]
    for log, _, _ in before:
        log.set_verbosity(log.CRITICAL)
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bar in before:
            log.set_verbosity(level)
            if bar:
                log.enable_progress_bar()
