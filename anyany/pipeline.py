"""The Python API: `anyany.load(spec)` gives a `Pipeline` to call on one item or to map over many.

The same checks as the command line's, the same errors as exceptions: SpecError, CallError, ItemError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyany.engine.build import Components
from anyany.engine.coerce import BadInput, default_values, make_item
from anyany.engine.events import Events
from anyany.engine.failures import ItemError
from anyany.engine.items import Item, Result
from anyany.engine.plan import Plan, make_plan
from anyany.engine.run import Runner
from anyany.engine.watch import Recorder
from anyany.errors import CallError, EnvironmentProblem, Problem, SpecError, problem
from anyany.spec.check import Checked
from anyany.spec.graph import Graph
from anyany.weights.errors import WeightsError

if TYPE_CHECKING:
    from anyany.chat import Chat

__all__ = ["ItemError", "Pipeline", "Result", "load"]


def load(spec: str | os.PathLike[str] | Mapping[str, Any], *, profile: str | None = None,
         set: Mapping[str, Any] | Sequence[str] = (), want: str | Sequence[str] | None = None, seed: int = 0,
         device: str | None = None, memory: int | str | None = None, registry: Any = None,
         offline: bool = False, allow_pickle: bool = False) -> Pipeline:  # fmt: skip
    """Check a spec and plan it; nothing is loaded before the first call.

    spec:    a file, the YAML text itself (anything with a line break), or a mapping.
    set:     {"dotted.path": value}, or strings "dotted.path=VALUE".
    want:    OUTPUT or OUTPUT.KIND, or a list of these; the rest of the graph is left out.
    device:  what "auto" means ("cpu", "cuda:1"); None: CUDA where present. memory: bytes, or "24GB".
    Raises SpecError with everything that is wrong, CallError, EnvironmentProblem.
    """
    from anyany.engine.build import default_reach
    from anyany.engine.predict import refuse

    wanted = [want] if isinstance(want, str) else list(want or ())
    facts_of = None
    if wanted:  # what nothing wanted needs is not even opened for its facts
        sketch = checked(spec, profile=profile, sets=set, registry=registry, facts_of=frozenset()).expect()
        facts_of = frozenset(make_plan(sketch, wanted).owners)
    found = checked(spec, profile=profile, sets=set, registry=registry, facts_of=facts_of)
    graph = found.expect()
    plan = make_plan(graph, wanted, _defaults(graph))
    reach = default_reach(graph, allow_pickle=allow_pickle, offline=offline)
    components = Components(graph, reach=reach, device=device)
    with weights_errors(graph):
        refuse(plan, reach, device=device, memory=memory)
    return Pipeline(plan, components, seed=seed, warnings=found.problems, registry=registry)


def checked(spec: str | os.PathLike[str] | Mapping[str, Any], *, profile: str | None = None,
            sets: Mapping[str, Any] | Sequence[str] = (), registry: Any = None,
            facts_of: frozenset[str] | None = None) -> Checked:  # fmt: skip
    """What `check` finds about a spec: a file, YAML text, or a mapping. `facts_of`: see `anyany.spec.check.Options`."""
    from anyany.spec import check

    changes = [f"{k}={_yaml(v)}" for k, v in sets.items()] if isinstance(sets, Mapping) else list(sets)
    options: dict[str, Any] = {"profile": profile, "sets": changes, "registry": registry, "facts_of": facts_of}
    if isinstance(spec, Mapping):
        return check.check_dict(spec, **options)
    if isinstance(spec, str) and "\n" in spec:
        return check.check_text(spec, "spec", **options)
    return check.check_file(os.fspath(spec), **options)


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _defaults(graph: Graph) -> dict[str, Any]:
    try:
        return default_values(graph)
    except BadInput as error:
        raise CallError([problem(error.failure.code, f"a default: {error.failure.message}",
                                 help=error.failure.help)]) from None  # fmt: skip


class weights_errors:
    """Inside, weights that are missing or wrong are a SpecError, or an EnvironmentProblem where the hub is."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, WeightsError):
            return
        node = str(getattr(error, "node", ""))
        mark = self.graph.nodes[node].mark if node in self.graph.nodes else None
        found = problem(error.code, error.message, help=error.help, mark=mark,
                        path=f"nodes.{node}.weights" if node else "")  # fmt: skip
        outside = error.code in ("E466", "E468", "E469", "E470", "E475")
        raise (EnvironmentProblem if outside else SpecError)([found]) from error


class Pipeline:
    """A planned spec, ready to run. Components are loaded at their first use and kept."""

    def __init__(self, plan: Plan, components: Components, *, seed: int = 0,
                 warnings: Sequence[Problem] = (), registry: Any = None) -> None:  # fmt: skip
        self.plan, self.components, self.seed = plan, components, seed
        self._registry = registry
        self.warnings = tuple(warnings)
        self.recorder = Recorder()
        self._runner = Runner(plan, components, seed=seed, recorder=self.recorder)

    @property
    def graph(self) -> Graph:
        """The checked spec behind the pipeline."""
        return self.plan.graph

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """The outputs for one item: values of their kinds, lists for lists, None where absent.

        Text, paths, PIL pictures, NumPy and torch arrays; a message is a string or a list of strings, paths and
        parts. Raises CallError for unknown or missing inputs, ItemError where the item fails.
        """
        item = self.item(inputs, "0")
        failure = item.failure
        if failure is not None and failure.code in ("E602", "E603", "E909"):
            code = {"E602": "E903", "E603": "E902"}.get(failure.code, failure.code)
            raise CallError([problem(code, failure.message, help=failure.help)])
        with weights_errors(self.graph):
            result = self._runner.chunk([item])[0]
        return dict(result.raised().outputs)

    def item(self, raw: Mapping[str, Any], id: str, base_dir: str | None = None, line: int | None = None) -> Item:
        """An item from a mapping of inputs and `with`."""
        return make_item(self.graph, raw, id, base_dir=base_dir, defaults=self.plan.default_values, line=line)

    def map(self, items: Iterable[Mapping[str, Any]], *, batch: int | None = None) -> Iterator[Result]:
        """Results in order, one for each item; items that fail are results with an `error`, the others go on.

        items: mappings of inputs, with an optional "id" (else the position) and "with" (per-item options).
        batch: items that run together (32). A chunk is read ahead while another runs.
        """
        return self.run((self._numbered(raw, n) for n, raw in enumerate(items)), batch=batch)

    def _numbered(self, raw: Any, number: int) -> Item:
        if not isinstance(raw, Mapping):
            text = f"item {number} is a {type(raw).__name__}, not a mapping of inputs"
            raise CallError([problem("E909", text, help='write {"prompt": ...}')])
        return self.item(raw, str(raw.get("id", number)))

    def run(self, items: Iterable[Item], *, batch: int | None = None, recorder: Recorder | None = None,
            emit: Callable[[str, str, str], None] | None = None,
            stop: Callable[[], bool] | None = None) -> Iterator[Result]:  # fmt: skip
        """As `map`, on items, with what watches the run: a recorder, streamed text, a way to stop."""
        runner = self._runner
        if recorder is not None or emit is not None or stop is not None:
            runner = Runner(self.plan, self.components, seed=self.seed, recorder=recorder or self.recorder,
                            emit=emit, stop=stop)  # fmt: skip
        events = self._events()
        events.tell("run", spec=self.graph.name, seed=self.seed, nodes=[step.name for step in self.plan.steps])
        counts = {"ok": 0, "failed": 0}
        with weights_errors(self.graph):
            for result in runner.map(items, batch):
                counts[result.status] = counts.get(result.status, 0) + 1
                events.tell("item", item=result.item, status=result.status, seconds=result.seconds)
                yield result
        events.tell("done", spec=self.graph.name, items=counts)

    def _events(self) -> Events:
        from anyany.registry import default_registry

        return Events((self._registry or default_registry()).manager)

    def chat(self, system: str = "", **fixed: Any) -> Chat:
        """A conversation: `chat.say("what is this?", Path("cat.png"))` gives the reply and remembers both.

        fixed: values of the spec's other inputs. Raises CallError for a spec without a message to talk through.
        """
        from anyany.chat import Chat

        return Chat(self, system, fixed)

    def explain(self) -> str:
        """What the run does, in order: nodes, components, lists they are mapped over."""
        lines = []
        for step in self.plan.steps:
            over = f", mapped over {' × '.join(step.stack)}" if step.stack else ""
            maybe = ", may be absent" if step.node.maybe else ""
            lines.append(f"{step.name}: {step.node.card.name} {step.call_name}{over}{maybe}")
        return "\n".join(lines)
