"""A syntax error of the YAML parser, retold: which mistake it most likely is, where, and what to do.

libyaml and PyYAML's own parser word the same error differently; rules here look at both, and at the text.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from anyany.errors.problems import Mark, Problem, problem
from anyany.errors.render import split_lines

_GLUED_LINE = r"\s*(?:- +)?([A-Za-z_][\w-]*):(?=[^\s/:])"
_PAIR_LINE = r"\s*(?:- +)?[\"']?([\w./*-]+)[\"']?: +\S"
_MOST_LINES = 3


class Context(NamedTuple):
    """The parser's error, unpacked: 0-based places, its words in lower case, and the text round it."""

    file: str
    lines: list[str]
    doing: str
    found: str
    at: tuple[int, int]
    since: tuple[int, int] | None

    @property
    def char(self) -> str:
        """The character at the error, empty at the end of the text."""
        line, column = self.at
        return self.lines[line][column : column + 1] if line < len(self.lines) else ""

    @property
    def before(self) -> str:
        """The line up to the error."""
        line, column = self.at
        return self.lines[line][:column] if line < len(self.lines) else ""

    def above(self, line: int) -> int | None:
        """The nearest line above that says something, or None."""
        for number in range(min(line, len(self.lines)) - 1, -1, -1):
            stripped = self.lines[number].strip()
            if stripped and not stripped.startswith("#"):
                return number
        return None

    def mark(self, place: tuple[int, int] | None = None, length: int = 1) -> Mark:
        line, column = place or self.at
        return Mark(self.file, line + 1, column + 1, max(1, length))

    def tell(
        self,
        code: str,
        message: str,
        help: str,
        place: tuple[int, int] | None = None,
        length: int = 1,
        related: tuple[tuple[Mark, str], ...] = (),
    ) -> Problem:
        return problem(code, message, mark=self.mark(place, length), help=help, related=related)


def retell(error: Any, text: str, file: str) -> Problem:
    """The problem for a `yaml.YAMLError` that `text` gave. Never raises."""
    lines = split_lines(text)
    place = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    since = getattr(error, "context_mark", None)
    if place is None:  # the reader's errors have an offset instead
        offset = min(max(0, int(getattr(error, "position", 0) or 0)), len(text))
        above = split_lines(text[:offset])
        at = (len(above) - 1, len(above[-1]))
    else:
        at = (place.line, place.column)
    context = Context(
        file=file,
        lines=lines,
        at=at,
        since=(since.line, since.column) if since else None,
        doing=str(getattr(error, "context", None) or "").lower(),
        found=str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).lower(),
    )
    for rule in _RULES:
        told = rule(context)
        if told is not None:
            return told
    return context.tell("E010", f"not YAML: {context.found}", "look at quotes, brackets and colons just before")


def _tab(c: Context) -> Problem | None:
    if c.char != "\t" and "tab character" not in c.found:
        return None
    tabbed = [i for i, line in enumerate(c.lines) if i != c.at[0] and re.match(r" *\t\s*[^\s#]", line)]
    related = tuple((c.mark((i, c.lines[i].index("\t"))), "and here") for i in tabbed[:_MOST_LINES])
    where = "in the indentation" if not c.before.strip() else "where a space should be"
    return c.tell("E011", f"a tab {where}", "use spaces, two for each level", related=related)


def _character(c: Context) -> Problem | None:
    if "alias" in c.doing:
        place = c.since or c.at
        match = re.match(r"\*([\w.-]+)", c.lines[place[0]][place[1] :])
        name = match[1] if match else ""
        help = f"write the star after the name: `{name}*`" if name else "quote it if a star is meant"
        length = len(match[0]) if match else 1
        return c.tell("E022", "a star before a name is a YAML alias", help, place, length)
    if "anchor" in c.doing:
        return c.tell("E016", "`&` starts a YAML anchor, and no name follows", "quote the value", c.since)
    if "tag" in c.doing or "tag handle" in c.found:
        return c.tell("E024", "`!` starts a YAML tag, and specs have none", "quote the value", c.since)
    if "cannot start any token" in c.found:
        shown = "a backtick" if c.char == "`" else f"`{c.char}`"
        return c.tell("E016", f"a value cannot start with {shown}", "quote the value")
    if "directive" in c.doing or "incompatible yaml" in c.found:
        return c.tell(
            "E016", "a line that starts with `%` is a YAML directive", "quote it, or delete the line", c.since
        )
    return None


def _quoted(c: Context) -> Problem | None:
    if "quoted scalar" not in c.doing and "escape" not in c.found:
        return None
    if "end of stream" in c.found or "document" in c.found:
        return c.tell("E015", "a quote is opened here and never closed", "close the quote", c.since)
    backslash = c.lines[c.at[0]].rfind("\\", 0, c.at[1] + 1)
    place = (c.at[0], backslash) if backslash >= 0 else c.at
    shown = c.lines[place[0]][place[1] : place[1] + 2]
    return c.tell(
        "E019",
        f"`{shown}` is no escape that YAML knows",
        r"write `\\` for a backslash, or use single "
        "quotes",
        place,
        2,
    )


def _brackets(c: Context) -> Problem | None:
    if "flow" not in c.doing:
        return None
    opened = c.since if "node" not in c.doing else None
    if opened is None:
        opened = unclosed_bracket(c.lines, c.at)
    if c.char == "?":
        word = re.search(r"[\w*.-]*$", c.before)
        start = word.start() if word else c.at[1]
        name = c.lines[c.at[0]][start : c.at[1] + 1]
        return c.tell(
            "E026",
            f"`{name}` has a `?` and is not quoted inside brackets",
            f'write `"{name}"`',
            (c.at[0], start),
            len(name),
        )
    if opened is None or (c.char in (",", ":") and opened[0] == c.at[0]):
        return _in_brackets(c, opened)
    bracket = c.lines[opened[0]][opened[1] : opened[1] + 1]
    closer = {"{": "}", "[": "]"}.get(bracket, "]")
    if c.char in ("}", "]") and c.char != closer:
        return c.tell(
            "E014",
            f"`{bracket}` is closed by `{c.char}`",
            f"close it with `{closer}`",
            related=((c.mark(opened), "opened here"),),
        )
    if opened[0] == c.at[0]:
        return _in_brackets(c, opened)
    related = ((c.mark(), "this line is still inside the brackets"),) if c.char else ()
    return c.tell(
        "E014",
        f"`{bracket}` is not closed, or a comma is missing",
        f"close it with `{closer}`, or separate the entries by commas",
        opened,
        related=related,
    )


def _in_brackets(c: Context, opened: tuple[int, int] | None) -> Problem:
    if c.char == ",":
        return c.tell("E020", "a comma where a value should be", "delete the comma, or give a value")
    if c.char == "":
        return c.tell("E014", "a bracket is not closed", "close the bracket", opened)
    return c.tell("E014", "a comma is missing between two entries", "put a comma before this entry, or quote the text")


def _colon(c: Context) -> Problem | None:
    if "found unexpected ':'" in c.found:
        return c.tell("E013", "a space is missing after the colon", "put a space after the colon")
    if "could not find expected ':'" in c.found:
        place = c.since or c.at
        return _no_colon(c, place)
    if "mapping keys are not allowed" in c.found:
        return c.tell("E016", "a value cannot start with `? `", "quote the value")
    if "mapping values are not allowed" not in c.found:
        return None
    line = c.at[0]
    if re.search(r": ", c.before):
        return c.tell("E017", "a second `: ` on one line", "quote the text, or start a new line")
    above = c.above(line)
    if above is not None:
        glued = re.match(_GLUED_LINE, c.lines[above])
        if glued:
            return _no_colon(c, (above, glued.start(1)))
        if re.match(_PAIR_LINE, c.lines[above]) and _column(c.lines[line]) > _column(c.lines[above]):
            return c.tell(
                "E012",
                f"this line is indented deeper than line {above + 1}, which already has its value",
                "align it with its siblings, or quote the text if it goes on here",
                (line, _column(c.lines[line])),
                related=((c.mark((above, _column(c.lines[above]))), "this line"),),
            )
    return c.tell("E017", "a `: ` makes a key, and no key can stand here", "quote the text, or check the line above")


def _no_colon(c: Context, place: tuple[int, int]) -> Problem:
    rest = c.lines[place[0]][place[1] :] if place[0] < len(c.lines) else ""
    glued = re.match(r"([\w-]+):(\S+)", rest)
    if glued:
        return c.tell(
            "E013",
            f"`{glued[0]}` is one word: a space is missing after the colon",
            f"write `{glued[1]}: {glued[2]}`",
            place,
            len(glued[0]),
        )
    if rest[:1] in ("'", '"') and rest.count(rest[0]) == 1:
        return c.tell("E015", "a quote is opened here and not closed on this line", "close the quote", place)
    return c.tell(
        "E013",
        "this line is neither `key: value` nor part of a value",
        "write it as `key: value`",
        place,
        len(rest.rstrip()),
    )


def _column(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _block(c: Context) -> Problem | None:
    if "sequence entries are not allowed" in c.found:
        return c.tell(
            "E012",
            "a list item cannot start on the line of its key",
            "put `- ` on the next line, or write the list as `[a, b]`",
        )
    if "block scalar" in c.doing:
        return c.tell("E010", "after `|` or `>` the text starts on the next line", "start a new line, or quote it")
    if not any(word in c.doing for word in ("block mapping", "block collection", "block node")) and (
        "document start" not in c.found
    ):
        return None
    if c.char in ("]", "}", ","):
        name = "comma" if c.char == "," else "closing bracket"
        return c.tell("E020", f"a {name} that belongs to nothing", "delete it, or quote the text before it")
    if c.char == ":" and re.fullmatch(r"\s*(?:- +)*", c.before):
        return c.tell("E032", "a colon without a key before it", "write a name before the colon")
    if c.before.strip():
        return _rest(c)
    if c.char == "." and c.lines[c.at[0]].startswith("..."):
        return c.tell("E007", "`...` ends a YAML document", "delete it; one file holds one spec", length=3)
    if c.char == "":
        opened = unclosed_bracket(c.lines, c.at)
        return c.tell("E010", "the text ends where a value should be", "give the value", opened)
    return _indentation(c)


def _rest(c: Context) -> Problem:
    last = c.before.rstrip()[-1]
    if last in "'\"" and c.before.count(last) % 2:
        return c.tell(
            "E015",
            f"a `{last}` on an earlier line is not closed before this one",
            "close the quote on the line where it starts",
        )
    help = "put the whole value into one pair of quotes"
    if last == "'":
        help += ", and write a quote inside single quotes twice: `''`"
    return c.tell("E018", "the value ends before this, and more text follows", help)


def _indentation(c: Context) -> Problem:
    if c.char == "-" and "mapping" in c.doing:
        return c.tell("E012", "a list item among the keys of a mapping", "indent it below its key, or make it a key")
    siblings: tuple[tuple[Mark, str], ...] = ()
    if c.since is not None and c.since[0] < c.at[0]:
        siblings = ((c.mark(c.since), f"the block starts here, in column {c.since[1] + 1}"),)
    if "collection" in c.doing or "sequence" in c.doing:
        return c.tell(
            "E012",
            "a `- ` item is expected here, as in the lines above",
            "start the line with `- `, or indent it as its neighbours",
            related=siblings,
        )
    return c.tell(
        "E012",
        f"this line starts in column {c.at[1] + 1}, which fits no block above",
        "align it with its siblings",
        related=siblings,
    )


_RULES = (_tab, _character, _quoted, _brackets, _colon, _block)


def unclosed_bracket(lines: list[str], end: tuple[int, int]) -> tuple[int, int] | None:
    """The innermost bracket still open at `end` (0-based), by a rough scan that knows quotes and comments."""
    opened: list[tuple[int, int]] = []
    quote = ""
    for number, line in enumerate(lines[: end[0] + 1]):
        stop = end[1] if number == end[0] else len(line)
        for column, char in enumerate(line[:stop]):
            before = line[column - 1] if column else " "
            if quote:
                quote = "" if char == quote and not (quote == '"' and before == "\\") else quote
            elif char in "'\"" and before in " [{,:":
                quote = char
            elif char == "#" and before == " ":
                break
            elif char in "[{":
                opened.append((number, column))
            elif char in "]}" and opened:
                opened.pop()
    return opened[-1] if opened else None
