"""The checker: a spec in, a typed graph or every mistake in it out. Never raises for what a user wrote.

Source: DESIGN section 3. The passes, in order: YAML, shape, names, order, edges node by node, outputs, sizes, use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anyany.errors import Problem, SpecError, problem
from anyany.errors.suggest import did_you_mean
from anyany.spec import freeze, names, order, outputs, resolve, settings, wiring
from anyany.spec.graph import Graph
from anyany.spec.marked import apply_sets, from_python, parse, parse_file
from anyany.spec.raw import RawSpec
from anyany.spec.shape import ShapeReader
from anyany.spec.wires import Check
from anyany.spec.yaml_tree import Marked


@dataclass(frozen=True, kw_only=True, repr=False)
class Options:
    """How to check.

    profile:         check this profile alone; None checks the spec itself and, where no node is set, its profiles.
    sets:            `dotted.path=value` settings, applied before anything else.
    registry:        where components come from; None for those installed.
    online:          read facts of hub weights by two small requests.
    strict_header:   demand `anyany: 1`.
    require_weights: demand `weights:` for components that have some, and look into them; False for sketches.
    facts_of:        nodes whose weights may be opened to read facts; None for all. A run that wants only a part of
                     the graph reads no byte of the rest.
    """

    profile: str | None = None
    sets: tuple[str, ...] = ()
    registry: Any = None
    online: bool = False
    strict_header: bool = True
    require_weights: bool = True
    facts_of: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Checked:
    """What a check found.

    graph:    of the profile asked for (of the spec itself without one); None when there is any error.
    problems: errors and warnings. notes: what is not known yet and only `plan` and `run` need.
    sources:  texts of files in marks that are not on disk, for the renderer.
    stages:   of training (`anyany.spec.stages.Stage`), where the spec has some.
    """

    graph: Graph | None
    problems: list[Problem]
    notes: list[Problem] = field(default_factory=list)
    sources: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[Any, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(p.is_error for p in self.problems)

    def expect(self) -> Graph:
        """The graph. Raises SpecError with all problems when there is none."""
        if self.graph is None:
            raise SpecError(self.problems, self.sources)
        return self.graph


def check_file(path: str | os.PathLike[str], **options: Any) -> Checked:
    """Check a spec file. Keyword arguments are those of `Options`."""
    name = os.fspath(path)
    tree, problems, text = parse_file(name)
    stem = os.path.basename(name).partition(".")[0]
    return _check(tree, problems, {name: text}, stem, name, os.path.dirname(os.path.abspath(name)), _options(options))


def check_text(text: str | bytes, file: str = "<spec>", *, folder: str | None = None, **options: Any) -> Checked:
    """Check the text of a spec. `folder` is where its `file:` paths start (default: the working directory)."""
    tree, problems = parse(text, file)
    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return _check(tree, problems, {file: shown}, "spec", None, folder or os.getcwd(), _options(options))


def check_dict(spec: Mapping[str, Any], *, folder: str | None = None, **options: Any) -> Checked:
    """Check a spec built in Python."""
    tree, problems, text = from_python(spec)
    sources = {} if tree is None else {tree.mark.file: text}
    return _check(tree, problems, sources, "spec", None, folder or os.getcwd(), _options(options))


def _options(given: Mapping[str, Any]) -> Options:
    options = Options(**given)
    options = replace(options, sets=tuple(options.sets))
    if options.registry is None:
        from anyany.registry import default_registry

        options = replace(options, registry=default_registry())
    return options


def _check(
    tree: Marked | None,
    problems: list[Problem],
    sources: dict[str, str],
    stem: str,
    file: str | None,
    folder: str,
    options: Options,
) -> Checked:
    problems = list(problems)
    if tree is None:
        return Checked(graph=None, problems=problems, sources=sources)
    if options.sets:
        tree, found, text = apply_sets(tree, options.sets)
        problems += found
        sources["<--set>"] = text
    reader = ShapeReader(tree, stem, options.strict_header)
    spec = reader.read()
    problems += reader.problems
    if spec is None:
        return Checked(graph=None, problems=problems, sources=sources)
    return _check_spec(spec, problems, sources, file, folder, options)


def _check_spec(
    spec: RawSpec, problems: list[Problem], sources: dict[str, str], file: str | None, folder: str, options: Options
) -> Checked:
    memo: dict[Any, Any] = {}
    profile = options.profile
    if profile is not None and profile not in spec.profiles:
        have = ", ".join(f"`{p}`" for p in spec.profiles) or "none"
        help = did_you_mean(profile, spec.profiles) or f"its profiles are {have}"
        problems.append(
            problem(
                "E115",
                f"the spec has no profile `{profile}`",
                mark=spec.tree.key_mark("profiles"),
                path="profiles",
                help=help,
            )
        )
        profile = None
    first = run(spec, options, folder, profile, memo)
    settings.check_profiles(first)
    found = list(first.problems)
    notes = list(first.notes)
    # What is set of a node is meant for this run: other profiles were not written for it.
    if options.profile is None and not any(str(s).startswith("nodes.") for s in options.sets):
        for name in spec.profiles:
            found += _labelled(run(spec, options, folder, name, memo), name, first)
    told = {p.path for p in problems if p.is_error and p.path}  # YAML and shape come first: one mistake, one error
    problems += [p for p in found if p not in problems and p.path not in told]
    graph, stages = None, list[Any]()
    if spec.stages is not None and not any(p.is_error for p in problems):
        from anyany.spec.stages import check_stages

        stages, wrong = check_stages(first, lambda derived: run(derived, options, folder, profile, memo))
        problems += wrong
    if not any(p.is_error for p in problems):
        graph = freeze.freeze(first, file)
    return Checked(graph=graph, problems=problems, notes=notes, sources=sources, stages=tuple(stages))


def _labelled(check: Check, profile: str, base: Check) -> list[Problem]:
    """Problems that only a profile has, with its name."""
    known = {(p.code, p.message, p.path, p.mark) for p in base.problems}
    new = [p for p in check.problems if (p.code, p.message, p.path, p.mark) not in known]
    return [replace(p, message=f"in profile {profile}: {p.message}") for p in new]


def run(spec: RawSpec, options: Options, folder: str, profile: str | None, memo: dict[Any, Any]) -> Check:
    """All passes over one spec under one profile."""
    check = Check(
        spec=spec,
        registry=options.registry,
        folder=folder,
        profile=profile,
        online=options.online,
        require_weights=options.require_weights,
        facts_of=options.facts_of,
        memo=memo,
    )
    outputs.declare_inputs(check)
    names.resolve_nodes(check)
    order.sort_nodes(check)
    resolve.collect_taken(check)
    wiring.wire_nodes(check)
    outputs.resolve_outputs(check)
    outputs.solve_sizes(check)
    if not spec.lost and not any(p.is_error for p in check.problems):
        outputs.warn_unused(check)
    return check
