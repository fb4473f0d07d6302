"""Importing one plugin: its hooks through pluggy, every card looked at, anything wrong a quarantine.

A plugin that fails must never take others down, so this is the one place that catches whatever it throws.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pluggy

from anyany.api.v1 import PROJECT, ROLES, RUNTIMES, Card, Config, Hooks, Kind
from anyany.kinds.builtin import KINDS
from anyany.registry.types import Entry, Loaded, Quarantine

HEAVY = ("torch", "transformers", "diffusers", "numpy", "PIL", "av", "pandas", "scipy")
SLOW_SECONDS = 1.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*/[a-z0-9][a-z0-9_.-]*\Z")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")


class PluginFault(Exception):
    """A plugin breaks the rules of the API; the text says which."""


def load(entry: Entry) -> Loaded | Quarantine:
    """Import a plugin module and read what it offers."""
    before = {name for name in HEAVY if name in sys.modules}
    start = time.perf_counter()

    def plugin() -> Any:
        return importlib.import_module(entry.module)

    with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil our JSON
        result = read(entry.namespace, plugin, dist=entry.dist, version=entry.version)
    seconds = time.perf_counter() - start
    if isinstance(result, Quarantine):
        return result
    remarks = list(result.remarks)
    heavy = [name for name in HEAVY if name in sys.modules and name not in before]
    if heavy:
        remarks.append(f"`{entry.module}` imports {', '.join(heavy)}: move it into the implementation's file")
    elif seconds > SLOW_SECONDS:
        remarks.append(f"importing `{entry.module}` takes {seconds:.1f} s: it should import nothing heavy")
    return Loaded(**{**vars(result), "remarks": tuple(remarks), "seconds": seconds})


def read(namespace: str, plugin: Callable[[], Any], *, dist: str = "", version: str = "") -> Loaded | Quarantine:
    """What the plugin that `plugin()` returns offers under `namespace`, or why it cannot be used."""
    try:
        module = plugin()
        return _offered(namespace, module, dist, version)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even call sys.exit while it is imported
        return _quarantine(namespace, error, dist)


def _offered(namespace: str, module: Any, dist: str, version: str) -> Loaded:
    if not _NAMESPACE.match(namespace):
        raise PluginFault(f"a namespace is lower-case letters, digits, `-`, `_` and `.`, not {namespace!r}")
    manager = new_manager()
    manager.register(module, name=namespace)
    _no_unknown_hooks(module)
    manager.check_pending()
    cards: dict[str, dict[int, Card]] = {}
    for one in _listed(manager.hook.anyany_cards(), "anyany_cards"):
        _check_card(namespace, one)
        majors = cards.setdefault(one.name, {})
        if one.major in majors:
            raise PluginFault(f"card `{one.name}` major {one.major} is declared twice")
        majors[one.major] = one
    kinds: dict[str, Kind] = {}
    for kind in _listed(manager.hook.anyany_kinds(), "anyany_kinds"):
        if not isinstance(kind, Kind):
            raise PluginFault(f"anyany_kinds gives {_what(kind)}, not a Kind")
        if kind.name in KINDS or kind.name in kinds:
            raise PluginFault(f"kind `{kind.name}` exists already")
        kinds[kind.name] = kind
    specs = tuple(str(s) for s in _listed(manager.hook.anyany_specs(), "anyany_specs"))
    remarks = () if cards or kinds or specs or hasattr(module, "anyany_cards") else ("it implements no hook",)
    return Loaded(namespace=namespace, module=module, cards=cards, kinds=kinds, specs=specs, dist=dist,
                  version=version, remarks=remarks)  # fmt: skip


def new_manager() -> pluggy.PluginManager:
    """A pluggy manager that knows the hooks of version 1."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    return manager


def _no_unknown_hooks(module: Any) -> None:
    """A function named like a hook but without `@hookimpl` would be ignored by pluggy without a word."""
    for name in ("anyany_cards", "anyany_kinds", "anyany_specs", "anyany_events"):
        found = getattr(module, name, None)
        if callable(found) and not hasattr(found, f"{PROJECT}_impl"):
            raise PluginFault(f"`{name}` lacks the decorator @hookimpl")


def _listed(results: Sequence[Any], hook: str) -> list[Any]:
    values: list[Any] = []
    for result in results:
        if not isinstance(result, (list, tuple)):
            raise PluginFault(f"{hook} gives {_what(result)}, not a list")
        values += result
    return values


def _check_card(namespace: str, card: Any) -> None:
    if not isinstance(card, Card):
        raise PluginFault(f"anyany_cards gives {_what(card)}, not a Card; make cards with `card(...)`")
    where = f"card `{card.name}`"
    if not isinstance(card.name, str) or not _NAME.match(card.name):
        raise PluginFault(f"{where}: a name is `namespace/name` of a-z, 0-9, `-`, `_` and `.`")
    if card.namespace != namespace:
        raise PluginFault(f"{where} is outside the plugin's namespace `{namespace}`")
    if card.role not in ROLES:
        raise PluginFault(f"{where}: role {card.role!r} is none of {', '.join(ROLES)}")
    if card.runtime not in RUNTIMES:
        raise PluginFault(f"{where}: runtime {card.runtime!r} is none of {', '.join(RUNTIMES)}")
    if not (isinstance(card.config, type) and issubclass(card.config, Config)):
        raise PluginFault(f"{where}: config is {_what(card.config)}, not a subclass of Config")
    if not callable(card.calls):
        raise PluginFault(f"{where}: calls is {_what(card.calls)}, not a function")
    if not isinstance(card.major, int) or card.major < 1:
        raise PluginFault(f"{where}: major is {card.major!r}, not a number from 1")
    # Names alone: making the dataclass of every card would cost a third of a `check`.
    known = {name for one in card.config.__mro__ for name in vars(one).get("__annotations__", {})}
    for name in sorted(known):
        default = getattr(card.config, name, None)
        if type(default).__hash__ is None:
            raise PluginFault(f"{where}: option `{name}` has a mutable default; write `option({default!r})`")
    for preset, values in card.presets.items():
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise PluginFault(f"{where}: preset `{preset}` sets the unknown option `{unknown[0]}`")


def _what(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _quarantine(namespace: str, error: BaseException, dist: str) -> Quarantine:
    last = traceback.format_exception_only(error)[-1].strip()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    code = "E801"
    if isinstance(error, PluginFault):
        code = "E806"
        reason, last, where = str(error), "", ""
        advice = "the plugin breaks the plugin API; tell its author"
    elif isinstance(error, ModuleNotFoundError):
        reason = f"it needs the module `{error.name}`, which is not installed"
        advice = f"install what provides `{error.name}`, or reinstall {dist or 'the plugin'}"
    elif isinstance(error, pluggy.PluginValidationError):
        code = "E806"
        reason = "a hook does not fit the API: " + " ".join(str(error).split())
        advice = "the plugin may be written for another version of anyany; upgrade one of the two"
    else:
        reason = f"{type(error).__name__} while it was loaded: " + " ".join(str(error).split())[:300]
        advice = f"upgrade or reinstall {dist or 'the plugin'}, or tell its author"
    return Quarantine(
        namespace=namespace, reason=reason, dist=dist, last_line=last, where=where, advice=advice, code=code
    )
