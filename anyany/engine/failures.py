"""Failures of single items: a code, the node where it happened, a reason that a user can act on.

An item that fails is recorded and the others go on; the Python API raises `ItemError` for a single item.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an item failed. code: of the catalogue; node: where, or "" for the item's own inputs; help: an action."""

    code: str
    message: str
    node: str = ""
    help: str = ""

    def __str__(self) -> str:
        place = f"{self.node}: " if self.node else ""
        tail = f" (help: {self.help})" if self.help else ""
        return f"[{self.code}] {place}{self.message}{tail}"


class ItemError(Exception):
    """One item failed. `item` is its id, `failure` says where and why."""

    def __init__(self, item: str, failure: Failure) -> None:
        self.item, self.failure = item, failure
        super().__init__(f"item {item}: {failure}")


class NodeFault(Exception):
    """A component broke its card's promise (E607), or could not be built: every row of the call is concerned."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        self.code, self.message, self.help = code, message, help
        super().__init__(message)


def reason(error: BaseException) -> str:
    """One line that says what an exception of foreign code means."""
    text = str(error).strip()
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text})"
    if not text:
        return type(error).__name__
    name = "" if isinstance(error, (ValueError, NodeFault)) else f"{type(error).__name__}: "
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return name + " ".join(lines)[:2000]


def failure_of(error: BaseException, node: str) -> Failure:
    """The failure that an exception raised inside `node` stands for; errors with a code of their own keep it."""
    from anyany.media.errors import MediaError

    if isinstance(error, MediaError):
        text = f"{error.path}: {error.message}" if error.path else error.message
        return Failure(code=error.code, message=text, node=node, help=error.help)
    if isinstance(error, NodeFault):
        return Failure(code=error.code, message=error.message, node=node, help=error.help)
    if is_out_of_memory(error):
        return Failure(code="E608", message=f"out of memory, even for one row alone: {reason(error)}", node=node,
                       help="use a smaller dtype or profile, or a larger device")  # fmt: skip
    code, help = getattr(error, "code", None), getattr(error, "help", "")
    if isinstance(code, str) and code[:1] == "E" and code[1:].isdigit():
        return Failure(code=code, message=str(getattr(error, "message", error)), node=node, help=help or "")
    return Failure(code="E601", message=reason(error), node=node)


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's, the allocator's and Python's own out-of-memory errors."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))
