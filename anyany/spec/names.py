"""From names to things: components, owners of weights, options, calls.

What cannot be resolved breaks its node only; edges from a broken node are no new problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyany.api.v1 import Call, Card, FactValues
from anyany.errors.suggest import did_you_mean
from anyany.registry.options import make_config
from anyany.registry.types import UnknownCard
from anyany.spec import settings, sources
from anyany.spec.wires import Check, NodeState


def resolve_nodes(check: Check) -> None:
    """Fill in card, config, facts and call of every node."""
    for name, raw in check.spec.nodes.items():
        check.nodes[name] = NodeState(raw=raw)
    for state in check.nodes.values():
        if state.raw.of is None:
            _resolve_owner(check, state)
    for state in check.nodes.values():
        if state.raw.of is not None:
            _resolve_sharer(check, state)
    for state in check.nodes.values():
        if not state.broken:
            _resolve_call(check, state)


def _resolve_owner(check: Check, state: NodeState) -> None:
    assert state.raw.use is not None
    card = _card(check, state, state.raw.use)
    if card is None:
        state.broken = True
        return
    state.card = card
    state.settings = settings.merge(check, state, card)
    settings.check_placement(check, state.raw.settings)
    if not _configure(check, state, card):
        state.broken = True
        return
    state.settings, state.facts = sources.resolve(check, state, card)
    calls = _calls(check, state, card)
    if calls is None:
        state.broken = True
    else:
        state.calls = calls


def _card(check: Check, state: NodeState, use: str) -> Card | None:
    key = ("card", use)
    if key not in check.memo:
        try:
            check.memo[key] = check.registry.card(use)
        except UnknownCard as error:
            check.memo[key] = error
    found = check.memo[key]
    if isinstance(found, Card):
        return found
    mark, path = state.raw.mark_of("use"), f"{state.raw.path}.use"
    if "/" not in use and ("." in use or ":" in use or "(" in use):
        check.tell(
            "E048",
            f"`{use}` looks like code, and a spec names components by id",
            mark=mark,
            path=path,
            help="write `use: namespace/name`; `anyany plugins` lists them",
        )
    else:
        check.tell(
            found.code,
            f"`{use}`: {found.reason}",
            mark=mark,
            path=path,
            help=found.help or "`anyany plugins` lists all components",
        )
    return None


def _configure(check: Check, state: NodeState, card: Card) -> bool:
    options = state.settings.options or {}
    config, issues = make_config(card, options)
    for issue in issues:
        layer = settings.source_of(check, state, "with", issue.option)
        code = _issue_code(card, issue.option, options)
        mark = layer.mark_of("with", issue.option, value=code == "E106") or layer.mark_of("with")
        check.tell(
            code,
            issue.message,
            mark=mark or state.raw.mark_of("use"),
            path=f"{layer.path}.with" + (f".{issue.option}" if issue.option else ""),
            help=issue.help or f"`anyany plugins show {card.name}` tells what it takes",
        )
    state.config = config
    return config is not None


def _issue_code(card: Card, option: str | None, options: Mapping[str, Any]) -> str:
    from anyany.registry.options import options_of

    if option is None:
        known = {o.name for o in options_of(card.config)}
        return "E106" if set(options) & known else "E107"
    if option not in {o.name for o in options_of(card.config)}:
        return "E108" if option == "preset" else "E105"
    return "E106"


def _calls(check: Check, state: NodeState, card: Card) -> Mapping[str, Call] | None:
    """What the card says the component can do with these options and facts."""
    facts = FactValues(state.facts, tuple(card.facts.sources))
    mark, path = state.raw.mark_of("use"), state.raw.path
    try:
        calls = card.calls(state.config, facts)
    except ValueError as error:
        layer = settings.source_of(check, state, "with")
        check.tell(
            "E106",
            f"`{card.name}` refuses these options: {error}",
            mark=layer.mark_of("with") or mark,
            path=f"{path}.with",
            help="change the options that the message names",
        )
        return None
    except Exception as error:  # a plugin's fault must not end the check
        check.tell(
            "E806",
            f"the card of `{card.name}` fails with these options: {type(error).__name__}: {error}",
            mark=mark,
            path=path,
            help="report it to the plugin's authors",
        )
        return None
    wrong = _wrong_calls(calls)
    if wrong:
        check.tell(
            "E806",
            f"the card of `{card.name}` is malformed: {wrong}",
            mark=mark,
            path=path,
            help="report it to the plugin's authors",
        )
        return None
    return calls


def _wrong_calls(calls: Any) -> str | None:
    """Why a card's calls cannot be used, or None. Cards come from strangers."""
    if not isinstance(calls, Mapping) or not calls or not all(isinstance(c, Call) for c in calls.values()):
        return "`calls` gives no mapping of calls"
    for name, call in calls.items():
        for port_name, port in call.takes.items():
            if port.per is not None and (port.per not in call.takes or "message" not in call.takes[port.per].kinds):
                return f"port `{port_name}` of call `{name}` is per `{port.per}`, which is no message port"
        for port_name, port in call.gives.items():
            if port.per is not None and (port.per not in call.gives or not call.gives[port.per].open):
                return f"output `{port_name}` of call `{name}` is per `{port.per}`, which is no open message"
            if port.ties is not None and port.ties not in call.takes:
                return f"output `{port_name}` of call `{name}` is tied to `{port.ties}`, which is no port"
    return None


def _resolve_sharer(check: Check, state: NodeState) -> None:
    of = state.raw.of or ""
    mark, path = state.raw.mark_of("of"), f"{state.raw.path}.of"
    owner = check.nodes.get(of)
    state.broken = True
    if owner is None:
        if of in check.spec.lost:
            return
        owners = [n for n, r in check.spec.nodes.items() if r.of is None]
        if of in check.spec.inputs:
            message = f"`of: {of}` names an input; only a node holds weights"
        else:
            message = f"`of: {of}` names no node of this spec"
        check.tell("E114", message, mark=mark, path=path, help=did_you_mean(of, owners) or _owners(owners))
    elif owner.raw.of is not None:
        check.tell(
            "E114",
            f"`of: {of}` names a node that is itself `of: {owner.raw.of}`",
            mark=mark,
            path=path,
            related=[(owner.raw.mark, f"`{of}` shares the weights of `{owner.raw.of}`")],
            help=f"write `of: {owner.raw.of}`" if owner.raw.of != state.name else "give one of them `use`",
        )
    elif not owner.broken:
        state.broken = False
        state.owner, state.card, state.config = owner, owner.card, owner.config
        state.settings = replace(owner.settings, path=state.raw.path)
        state.facts, state.calls = owner.facts, owner.calls


def _owners(owners: list[str]) -> str:
    return f"nodes with `use` are {', '.join(owners)}" if owners else "give a node `use: namespace/name`"


def _resolve_call(check: Check, state: NodeState) -> None:
    wanted = state.raw.call
    if wanted is None:
        state.call_name = next(iter(state.calls))
    elif wanted in state.calls:
        state.call_name = wanted
    else:
        have = ", ".join(f"`{c}`" for c in state.calls)
        assert state.card is not None
        check.tell(
            "E113",
            f"`{state.card.name}` has no call `{wanted}`",
            mark=state.raw.mark_of("call"),
            path=f"{state.raw.path}.call",
            help=did_you_mean(wanted, state.calls) or f"its calls are {have}",
        )
        state.broken = True
        return
    state.call = state.calls[state.call_name]
