"""A conversation with a pipeline: the history is one message with a turn for each who speaks, and grows by the replies.

`pipe.chat()` makes one. What the pipeline produced is part of the history, so the next turn reads it again: nodes that
take `prompt.image` see the pictures of the user and the ones that were drawn. Source: DESIGN section 3 (messages).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyany.errors import CallError, problem
from anyany.kinds.message import Media, Message, Part, Turn

if TYPE_CHECKING:
    from anyany.engine.items import Result
    from anyany.engine.plan import Plan, Wanted
    from anyany.engine.watch import Recorder
    from anyany.pipeline import Pipeline

SAYABLE = ("message", "text", "image", "audio", "video")
Emit = Callable[[str, str, str], None]


class Chat:
    """A conversation. `history` is the message so far; it only grows by turns that were answered.

    The input of kind `message` takes the history; `fixed` are values of the other inputs, the same in every turn.
    The reply is the output of kind `message`, or, in a spec without one, all outputs that a message can hold, in order.
    Raises CallError (E909) for a spec that nobody can talk to.
    """

    def __init__(self, pipe: Pipeline, system: str = "", fixed: Mapping[str, Any] | None = None) -> None:
        self.pipe, self.system, self.fixed = pipe, system, dict(fixed or {})
        self.input = _input(pipe.plan, self.fixed)
        self.said_by = _outputs(pipe.plan)
        self.turns = 0
        self.history = self._opening()

    def _opening(self) -> Message:
        return Message((Turn("system"), self.system)) if self.system else Message()

    def reset(self) -> None:
        """Forget everything said; the system's words stay. Turns go on being counted, so noise differs."""
        self.history = self._opening()

    def say(self, *content: Any, options: Mapping[str, Mapping[str, Any]] | None = None) -> Message:
        """The reply to a turn of text, paths, pictures, `Audio`, `Video` and messages, in order.

        options: per-item options of this turn, as an item's "with": {"think": {"temperature": 0.7}}.
        Raises ItemError where the turn fails, and CallError or MediaError for what is no part of a turn; the history is
        then as it was.
        """
        result = self.turn(list(content), options=options)
        reply = self.reply(result.raised())
        self.keep(result, reply)
        return reply

    def turn(self, content: Any, *, options: Mapping[str, Mapping[str, Any]] | None = None, emit: Emit | None = None,
             stop: Callable[[], bool] | None = None, recorder: Recorder | None = None) -> Result:  # fmt: skip
        """Run one turn without keeping it: its result, whatever became of it.

        emit: called with (item, node, text) as text streams. stop: polled; true raises `Cancelled`.
        """
        asked = self._asked(content)
        before = self.history.parts
        prompt = Message.join([Message(before), Turn("user"), asked])
        raw = {**self.fixed, self.input: prompt, **({"with": options} if options else {})}
        item = self.pipe.item(raw, f"turn-{self.turns}")
        self.turns += 1
        return next(iter(self.pipe.run([item], emit=emit, stop=stop, recorder=recorder)))

    def _asked(self, content: Any) -> Message:
        from anyany.engine.coerce import BadInput, coerce

        try:
            asked: Message = coerce("message", content, None, self.input)
        except BadInput as error:
            told = error.failure
            raise CallError([problem(told.code, told.message, help=told.help)]) from None
        if any(isinstance(part, Turn) for part in asked.parts):
            text = "a turn of a conversation holds no turns of its own"
            raise CallError([problem("E909", text, help="leave the roles out")])
        return asked

    def reply(self, result: Result, written: Mapping[str, Any] | None = None) -> Message:
        """What a result says, as a message. `written`: what `Writer.write` told; media get the paths in it."""
        parts: list[Message | Part] = []
        for name, wanted in self.said_by.items():
            value, told = result.outputs.get(name), (written or {}).get(name)
            if value is None:
                continue
            if wanted.kind == "message":
                parts.append(_with_paths(value, told["parts"]) if told else value)
            elif wanted.kind == "text":
                parts.append(("\n" if parts and isinstance(parts[-1], str) else "") + value)
            else:
                parts.append(Media(kind=wanted.kind, value=value, path=told["path"] if told else None))
        return Message.join(parts)

    def keep(self, result: Result, reply: Message) -> None:
        """Add a turn and its reply to the history."""
        assert result.source is not None
        self.history = Message.join([result.source.values[self.input], Turn("assistant"), reply])

    def page(self, title: str = "") -> str:
        """The conversation as one self-contained HTML page."""
        from anyany.media.previews import message_page

        return message_page(self.history, {}, title or self.pipe.graph.name)


def _with_paths(reply: Message, written: Sequence[Any]) -> Message:
    """The reply with the files that its media were written to; `written` has an entry for each part."""
    paths = [entry.get(part.kind) if isinstance(part, Media) else None for part, entry in zip(reply.parts, written)]
    return Message(tuple(replace(p, path=path) if isinstance(p, Media) and path else p
                         for p, path in zip(reply.parts, paths)))  # fmt: skip


def _input(plan: Plan, fixed: Mapping[str, Any]) -> str:
    """The input that takes the conversation: the first message that is not given by hand."""
    for name, declared in plan.graph.inputs.items():
        if declared.kind == "message" and not declared.many and name not in fixed and name in plan.inputs:
            return name
    text = f"{plan.graph.name} takes no message, so nobody can talk to it"
    help = "a conversation needs an input of kind `message`; `anyany run` runs any spec"
    raise CallError([problem("E909", text, help=help)])


def _outputs(plan: Plan) -> dict[str, Wanted]:
    single = {n: w for n, w in plan.outputs.items() if not w.stack and not w.listed and w.kind in SAYABLE}
    for name, wanted in single.items():
        if wanted.kind == "message":
            return {name: wanted}
    if not single:
        text = f"{plan.graph.name} gives nothing that can be said"
        help = f"a conversation needs an output that is one {', '.join(SAYABLE)}"
        raise CallError([problem("E909", text, help=help)])
    return single
