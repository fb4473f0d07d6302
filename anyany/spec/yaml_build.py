"""From YAML text to the marked tree: events of the C parser (or PyYAML's own), no objects by tag.

Built from events rather than nodes, so that depth, aliases and size are bounded before they cost anything.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from anyany.errors.problems import Mark, Problem, problem
from anyany.spec.yaml_scalar import FIRST, Finding, odd_key, resolve
from anyany.spec.yaml_tree import MAX_DEPTH, MAX_VALUES, Marked

MOST_PROBLEMS = 100
_QUOTES = frozenset("'\"|>")
_GLUED = r"([A-Za-z_][\w-]*):((?=[^\s/:])\S+)"
_SCHEMES = frozenset(("hub", "file", "bundle", "random", "http", "https", "data"))


_NODE_EVENTS = frozenset((yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent, yaml.AliasEvent))


def _end(event: Any) -> tuple[int, int]:
    """Line and column just after an event, 1-based."""
    end = event.end_mark
    return end.line + 1, end.column + 1


class Stop(Exception):
    """Ends the building; the problem that says why has been added."""


def open_parser(text: str, pure: bool = False) -> Any:
    """An event parser over `text`: libyaml's when PyYAML was built with it, else PyYAML's own."""
    if pure or not yaml.__with_libyaml__:
        return yaml.SafeLoader(text)
    return yaml.CSafeLoader(text)


class Builder:
    """Builds one tree from one text; `problems` collects what is found on the way."""

    def __init__(self, text: str, file: str, pure: bool = False) -> None:
        self.text = text
        self.file = file
        self.problems: list[Problem] = []
        self._parser = open_parser(text, pure)
        self._path: list[str] = []
        self._flow = 0
        self._depth = 0
        self._count = 0
        self._silent = False
        self._anchors: dict[str, tuple[Marked | None, int]] = {}

    def build(self) -> Marked | None:
        """The first document's tree, or None when it is empty. Raises yaml.YAMLError on bad syntax."""
        try:
            return self._document()
        except Stop:
            return None

    def _document(self) -> Marked | None:
        root: Marked | None = None
        seen = False
        while (event := self._parser.get_event()) is not None:
            kind = type(event)
            if kind is yaml.DocumentStartEvent:
                if seen:
                    self.tell(
                        "E007",
                        "a second document starts here; one file holds one spec",
                        self._mark(event, 3),
                        "put each spec in its own file, or delete the `---`",
                    )
                    raise Stop
                seen = True
            elif kind in _NODE_EVENTS:
                root = self._node(event)
        return root

    # places and findings

    def _mark(self, event: Any, length: int = 1) -> Mark:
        start = event.start_mark
        return Mark(self.file, start.line + 1, start.column + 1, length)

    def _span(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        length = end.column - column if end.line == line else 1
        return Mark(self.file, line + 1, column + 1, length or 1)

    def tell(self, code: str, message: str, mark: Mark, help: str, related: tuple[tuple[Mark, str], ...] = ()) -> None:
        """Add a finding at the current path; after a hundred, one last note and the building ends."""
        if self._silent:
            return
        path = ".".join(self._path)
        self.problems.append(problem(code, message, path=path, mark=mark, help=help, related=related))
        if len(self.problems) >= MOST_PROBLEMS:
            self.problems.append(
                problem(
                    "E009",
                    "too many problems; the rest of the file was not read",
                    mark=mark,
                    help="mend these first",
                )
            )
            raise Stop

    def _report(self, finding: Finding | None, mark: Mark) -> None:
        if finding is not None:
            self.tell(finding.code, finding.message, mark, finding.help)

    # values

    def _node(self, event: Any) -> Marked:
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event)
        self._tally(1, event)
        if kind is yaml.ScalarEvent and event.anchor is None and event.tag is None:
            return self._scalar(event)  # nearly all
        if event.tag is not None:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.tell("E024", f"the tag `{shown}` is not allowed in a spec", self._mark(event, 1), "delete the tag")
        before = self._count
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = (None, 0)
        if kind is yaml.ScalarEvent:
            node = self._scalar(event)
        else:
            node = self._collection(event, kind is yaml.MappingStartEvent)
        if anchor is not None:
            self._anchors[anchor] = (node, self._count - before + 1)
        return node

    def _tally(self, more: int, event: Any) -> None:
        self._count += more
        if self._count > MAX_VALUES:
            code = "E023" if more > 1 else "E002"
            self.tell(code, f"more than {MAX_VALUES:,} values in one spec", self._mark(event), "repeat less")
            raise Stop

    def _alias(self, event: Any) -> Marked:
        name = event.anchor
        mark = self._span(event)
        known = self._anchors.get(name)
        if known is None:
            self.tell(
                "E022",
                f"`*{name}` refers to an anchor `&{name}`, and there is none",
                mark,
                f"to splice the list, write the star after the name: `{name}*`",
            )
            return Marked(value=f"{name}*", mark=mark, end=_end(event), raw=f"*{name}")
        target, size = known
        if target is None:
            self.tell("E023", f"`*{name}` stands inside its own anchor `&{name}`", mark, "write it out")
            raise Stop
        self._tally(max(2, size), event)
        return Marked(
            value=target.value,
            mark=mark,
            end=_end(event),
            key_marks=target.key_marks,
            quoted=target.quoted,
            raw=target.raw,
        )

    def _scalar(self, event: Any) -> Marked:
        text: str = event.value
        mark = self._span(event)
        if event.style in _QUOTES:
            return Marked(value=text, mark=mark, end=_end(event), quoted=True)
        if self._flow and "?" in text:
            self._question(text, mark)
        value: bool | int | float | str | None = text
        if text == "" or text[0] in FIRST:
            value, finding = resolve(text)
            self._report(finding, mark)
        return Marked(value=value, mark=mark, end=_end(event), raw=text)

    def _question(self, text: str, mark: Mark) -> None:
        self.tell("E026", f"`{text}` has a `?` and is not quoted inside brackets", mark, f'write `"{text}"`')

    def _collection(self, event: Any, mapping: bool) -> Marked:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.tell(
                "E008",
                f"more than {MAX_DEPTH} levels of nesting",
                self._mark(event),
                "close the brackets, or flatten the structure",
            )
            raise Stop
        self._flow += bool(event.flow_style)
        build = self._mapping if mapping else self._sequence
        node = build(event)
        self._flow -= bool(event.flow_style)
        self._depth -= 1
        return node

    def _sequence(self, start: Any) -> Marked:
        items: list[Marked] = []
        while type(event := self._parser.get_event()) is not yaml.SequenceEndEvent:
            self._path.append(str(len(items)))
            items.append(self._node(event))
            self._path.pop()
        return Marked(value=items, mark=self._mark(start), end=_end(event))

    def _mapping(self, start: Any) -> Marked:
        values: dict[str, Marked] = {}
        key_marks: dict[str, Mark] = {}
        while type(event := self._parser.get_event()) is not yaml.MappingEndEvent:
            key_mark = self._span(event)
            key = self._key(event, key_mark)
            value_event = self._parser.get_event()
            bare = self._flow and key is not None and self._lacks_value(event, value_event)
            glued = re.fullmatch(_GLUED, event.value) if bare and event.style not in _QUOTES else None
            if glued:
                self._no_space(glued, key_mark)
                key = glued[1]
                child = self._after_colon(glued, key_mark)
            else:
                self._path.append(key or "")
                if bare:
                    self.tell(
                        "E033",
                        f"`{key}` has no value",
                        key_mark,
                        f"write `{key}: value`, or square brackets for a list",
                    )
                child = self._value(event, value_event)
                self._path.pop()
            if key is not None and key in values:
                self._path.append(key)
                self.tell(
                    "E021",
                    f"the key `{key}` is given twice",
                    key_mark,
                    "rename or delete one of them",
                    ((key_marks[key], f"first defined at line {key_marks[key].line}"),),
                )
                self._path.pop()
            elif key is not None:
                values[key] = child
                key_marks[key] = key_mark
        return Marked(value=values, mark=self._mark(start), end=_end(event), key_marks=key_marks)

    def _key(self, event: Any, mark: Mark) -> str | None:
        """The key as text, or None when it is no usable key (which has been told)."""
        if type(event) is not yaml.ScalarEvent:
            self._strange_key(event)
            return None
        key: str = event.value
        if event.style in _QUOTES:
            return key
        if event.tag is not None or event.anchor is not None:
            sign = "tag" if event.tag is not None else "anchor"
            self.tell("E024" if sign == "tag" else "E032", f"a key with a YAML {sign}", mark, f"delete the {sign}")
        if key == "<<":
            self.tell("E025", "merge keys `<<` are not used in specs", mark, "write the keys out")
            return None
        if self._flow and "?" in key:
            self._question(key, mark)
        finding = odd_key(key) if key == "" or key[0] in FIRST else None
        self._report(finding, mark)
        return None if finding is not None and finding.code == "E032" else key

    def _strange_key(self, event: Any) -> None:
        mark = self._mark(event)
        if type(event) is yaml.AliasEvent:
            self.tell("E032", f"the alias `*{event.anchor}` cannot be a key", mark, "write a name before the colon")
        else:
            braces = self.text.startswith("{", event.start_mark.index)
            self.tell(
                "E032",
                "a key must be a name, and this one is a mapping or a list",
                mark,
                "specs have no `{{templates}}`; quote a value that holds braces"
                if braces
                else "write a name before the colon",
            )
            self._silent, before = True, self._silent
            self._node(event)
            self._silent = before

    def _lacks_value(self, key_event: Any, value_event: Any) -> bool:
        """Whether this is `a` in `{a, b: 1}`: inside brackets, without value and colon."""
        bare = type(value_event) is yaml.ScalarEvent and not value_event.value and value_event.style not in _QUOTES
        return bare and ":" not in self._between(key_event, value_event)

    def _between(self, first: Any, second: Any) -> str:
        """The text from the end of one event to the start of the next."""
        return self.text[first.end_mark.index : second.start_mark.index]

    def _value(self, key_event: Any, event: Any) -> Marked:
        """The value of a key; catches `use:x` on a line below its key."""
        below = not self._flow and event.start_mark.line > key_event.end_mark.line
        if below and type(event) is yaml.ScalarEvent and event.style not in _QUOTES:
            glued = re.match(_GLUED, event.value)
            if glued and glued[1] not in _SCHEMES:
                mark = self._mark(event, len(glued[0]))
                self._no_space(glued, mark)
                name = glued[1]
                child = self._after_colon(glued, mark)
                return Marked(value={name: child}, mark=mark, end=_end(event), key_marks={name: mark})
        return self._node(event)

    def _no_space(self, glued: re.Match[str], mark: Mark) -> None:
        self.tell(
            "E013",
            f"`{glued[0]}` is one word: a space is missing after the colon",
            mark,
            f"write `{glued[1]}: {glued[2]}`",
        )

    def _after_colon(self, glued: re.Match[str], mark: Mark) -> Marked:
        """The value that was meant in `key:value`, so that the check can go on behind the error."""
        place = Mark(self.file, mark.line, mark.column + len(glued[1]) + 1, len(glued[2]))
        return Marked(value=resolve(glued[2]).value, mark=place, end=place[1:3], raw=glued[2])
