"""List the components that are installed: their role, what they do, and which distribution brings them.

`anyany plugins show NAME` tells options and ports of one, `anyany plugins doctor` what is wrong with any plugin.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "show", "doctor"), default="list")
    parser.add_argument("name", nargs="?", help="for `show`: a component, or a namespace")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> int:
    if args.action == "show":
        if args.name is None:
            print("anyany plugins show: name a component, such as `vision/vit`", file=sys.stderr)
            return 2
        return show(args.name, as_json=args.json)
    if args.name is not None:
        print(f"anyany plugins {args.action}: takes no name (`anyany plugins show {args.name}`?)", file=sys.stderr)
        return 2
    return doctor(as_json=args.json) if args.action == "doctor" else list_all(as_json=args.json)


def _described() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(description by namespace, quarantine by namespace) of everything installed."""
    import warnings

    from anyany.registry.registry import default_registry
    from anyany.registry.types import PluginWarning

    registry = default_registry()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # this command tells of them itself
        described = registry.describe()
    return described, registry.quarantined()


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))


def _table(rows: Sequence[Sequence[str]], gap: str = "  ") -> None:
    """Columns as wide as their widest cell, cut to the terminal."""
    import shutil

    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    limit = shutil.get_terminal_size((200, 24)).columns if sys.stdout.isatty() else 10_000
    for row in rows:
        line = gap.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        print(line if len(line) <= limit else line[: limit - 1] + "…")


# list -----------------------------------------------------------------------------------------------------
def list_all(*, as_json: bool) -> int:
    """All components, one a line."""
    described, broken = _described()
    cards = sorted(
        ((c, d) for d in described.values() for c in d["cards"]), key=lambda p: (p[0]["name"], p[0]["major"])
    )
    if as_json:
        from dataclasses import asdict

        told = [{**card, "dist": d["dist"], "version": d["version"]} for card, d in cards]
        _print_json({"components": told, "quarantined": [asdict(q) for q in broken.values()]})
        return 0
    majors: dict[str, int] = {}
    for card, _ in cards:
        majors[card["name"]] = majors.get(card["name"], 0) + 1
    rows = [("component", "role", "takes → gives", "what", "from")]
    for card, d in cards:
        name = card["name"] if majors[card["name"]] == 1 else f"{card['name']}@{card['major']}"
        rows.append((name, card["role"], _ports_of(card), _short(card["about"]), f"{d['dist']} {d['version']}".strip()))
    _table(rows)
    for quarantine in broken.values():
        print(f"warning: plugin `{quarantine.namespace}` is set aside: {quarantine.reason}", file=sys.stderr)
    if broken:
        print("help: `anyany plugins doctor` explains", file=sys.stderr)
    return 0


def _short(text: str, limit: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _ports_of(card: Mapping[str, Any]) -> str:
    """`image → features`: kinds of the ports of the default call."""
    if not card["calls"]:
        return "(by its options)"
    call = next(iter(card["calls"].values()))

    def side(ports: Mapping[str, Any]) -> str:
        return ", ".join(dict.fromkeys("|".join(p["kinds"]) for p in ports.values())) or "–"

    return f"{side(call['takes'])} → {side(call['gives'])}"


# show -----------------------------------------------------------------------------------------------------
def show(name: str, *, as_json: bool) -> int:
    """Options and ports of one component, or the components of a namespace."""
    from anyany.registry.describe import describe_card
    from anyany.registry.registry import default_registry
    from anyany.registry.types import UnknownCard

    registry = default_registry()
    if "/" not in name and name in registry.namespaces():
        described, _ = _described()
        cards = described.get(name, {}).get("cards", [])
        rows = [(c["name"], c["role"], _ports_of(c), _short(c["about"])) for c in cards]
        if as_json:
            _print_json(cards)
        elif rows:
            _table(rows)
        else:
            print(f"`{name}` offers no components")
        return 0
    try:
        card = describe_card(registry.card(name))
    except UnknownCard as unknown:
        print(f"error[{unknown.code}] `{name}`: {unknown.reason}", file=sys.stderr)
        print(f"  help: {unknown.help}", file=sys.stderr)
        return 3 if unknown.code.startswith("E8") else 2
    if as_json:
        _print_json(card)
    else:
        _show_card(card)
    return 0


def _show_card(card: Mapping[str, Any]) -> None:
    print(f"{card['name']} (major {card['major']}), {card['role']}" + ("" if card["weights"] else ", without weights"))
    for text in (card["about"], card["source"]):
        if text:
            print(f"  {text}")
    if card["calls"] is None:
        print(f"\nports depend on options that must be given ({card['calls_error']})")
    for number, (name, call) in enumerate((card["calls"] or {}).items()):
        print(f"\ncall {name}" + (" (default)" if number == 0 else ""))
        rows = [("  takes", n, p["text"], _port_notes(p)) for n, p in call["takes"].items()]
        rows += [("  gives", n, p["text"], _port_notes(p)) for n, p in call["gives"].items()]
        if rows:
            _table(rows)
    if card["options"]:
        print("\noptions (under `with:`)")
        _table([(f"  {o['name']}", o["type"], _default(o), _option_notes(o)) for o in card["options"]])
    if card["presets"]:
        print("\npresets (`with: NAME`)")
        for name, values in card["presets"].items():
            print(f"  {name}: {', '.join(f'{k}={v}' for k, v in values.items()) or '–'}")
    if card["facts"]:
        print(f"\nread from a checkpoint: {', '.join(card['facts'])}")


def _port_notes(port: Mapping[str, Any]) -> str:
    notes = [port[key] for key in ("doc",) if port.get(key)]
    if port.get("per"):
        notes.append(f"per place of `{port['per']}`")
    if port.get("native"):
        notes.append(f"takes {', '.join(port['native'])} in it")
    if port.get("ties"):
        notes.append(f"keeps the list of `{port['ties']}`")
    if port.get("open"):
        notes.append("open: its places want `fill`")
    return "; ".join(notes)


def _default(option: Mapping[str, Any]) -> str:
    import json

    if "default" not in option:
        return "must be given"
    return f"= {json.dumps(option['default'], ensure_ascii=False)}"


def _option_notes(option: Mapping[str, Any]) -> str:
    notes = [option["doc"]] if option.get("doc") else []
    if "choices" in option:
        notes.append(f"one of {', '.join(map(str, option['choices']))}")
    if "low" in option and "high" in option:
        notes.append(f"{option['low']:g} to {option['high']:g}")
    elif "low" in option or "high" in option:
        notes.append(f"at least {option['low']:g}" if "low" in option else f"at most {option['high']:g}")
    if option.get("per_item"):
        notes.append("may be set per item")
    return "; ".join(notes)


# doctor ---------------------------------------------------------------------------------------------------
def doctor(*, as_json: bool) -> int:
    """Import every plugin afresh and report. Exit code 3 when one is broken."""
    import warnings
    from dataclasses import asdict

    from anyany.registry.registry import Registry
    from anyany.registry.types import PluginWarning, Quarantine

    registry = Registry(cache=False)  # what the cache believes is no diagnosis
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        loaded = {n: registry.load(n) for n in registry.namespaces()}
    broken = registry.quarantined()
    fine = {n: one for n, one in loaded.items() if one is not None and not isinstance(one, Quarantine)}
    if as_json:
        good = [{"namespace": n, "dist": p.dist, "version": p.version, "components": len(p.cards),
                 "remarks": list(p.remarks), "seconds": round(p.seconds, 4)} for n, p in fine.items()]  # fmt: skip
        _print_json({"fine": good, "broken": [asdict(q) for q in broken.values()]})
        return 3 if broken else 0
    for namespace, plugin in fine.items():
        count = len(plugin.cards)
        print(f"ok      {namespace}: {count} component{'' if count == 1 else 's'}, {plugin.dist} {plugin.version}")
        for remark in plugin.remarks:
            print(f"        note: {remark}")
    for quarantine in broken.values():
        print(f"broken  {quarantine.namespace} [{quarantine.code}]: {quarantine.reason}")
        for label, text in (("from", quarantine.dist), ("last line", quarantine.last_line),
                            ("at", quarantine.where), ("help", quarantine.advice)):  # fmt: skip
            if text:
                print(f"        {label}: {text}")
    if broken:
        print("\nOnly specs that name a broken namespace fail; all others run.")
    return 3 if broken else 0
