"""Talk with a pipeline: a line is a turn, {file:cat.png} in it a file, a line that starts with / a command.

A line that ends with \\ goes on in the next one. What is made lands in DIR/turn-N/; the transcript in DIR/chat.html.
Standard input may be a pipe: a reply for each line. Ctrl-C stops a reply; Ctrl-D or /quit ends the conversation.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from anyany.engine.items import Result
    from anyany.kinds.message import Message
    from anyany.pipeline import Pipeline

COMMANDS = {
    "/help": "this list",
    "/save": "write the conversation as one HTML page: /save [FILE.html]",
    "/reset": "forget what was said and begin again",
    "/quit": "end (so does Ctrl-D)",
}
HELP = """\
Write a turn and press Enter. Files go in braces: what is in {file:cat.png}? A line that ends with \\ goes on.
Ctrl-C stops a reply. A turn that begins with / is written with two: //home."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `anyany chat`."""
    from anyany.cli.inline import PROTOCOLS

    add = parser.add_argument
    add("spec", metavar="SPEC", help="the spec file; one of its inputs is a message")
    add("--in", dest="inputs", metavar="NAME=VALUE", action="append", default=[], help="another input, in every turn")
    add("--system", metavar="TEXT", default="", help="what the model is told before the first turn")
    add("--out", metavar="DIR", help="where media and the transcript land (out/NAME OF THE SPEC)")
    add("--sound", choices=("wav", "flac"), default="wav", help="how sounds are written (wav)")
    add("--profile", metavar="P", help="a profile of the spec")
    add("--set", dest="sets", metavar="PATH=VALUE", action="append", default=[], help="change a value of the spec")
    add("--want", metavar="OUTPUT[.KIND]", action="append", default=[], help="make only this output")
    add("--seed", type=int, default=0, metavar="N", help="seed of all noise (0)")
    add("--memory", metavar="SIZE", help="refuse to run where the weights take more, as 24GB")
    add("--inline", choices=("auto", "none", *PROTOCOLS), default="auto", help="how pictures are drawn in the terminal")
    add("--json", action="store_true", help="print one JSON object a turn, and nothing else")
    add("--offline", action="store_true", help="use no network")
    add("--allow-pickle", action="store_true", help="allow weights that are pickles")


def main(args: argparse.Namespace) -> int:
    """Talk until the end of input; 0 done, 1 some turns failed, 130 interrupted. Wrong specs and calls raise."""
    from anyany.cli.run_inputs import given_inputs
    from anyany.cli.run_show import own_stdout
    from anyany.pipeline import load

    pipe = load(args.spec, profile=args.profile, set=args.sets, want=args.want, seed=args.seed, memory=args.memory,
                offline=args.offline, allow_pickle=args.allow_pickle)  # fmt: skip
    if pipe.warnings:
        from anyany.errors.render import render

        print(render(pipe.warnings), file=sys.stderr)
    talk = Talk(args, pipe, given_inputs(pipe.graph, args.inputs))
    if not args.json:
        return talk.go()
    with own_stdout() as talk.out:
        return talk.go()


class _Ended(BaseException):
    """Raised where a signal ends the conversation while it waits for a turn."""


class Talk:
    """One conversation of the command: turns in, replies out, files and transcript on disk."""

    def __init__(self, args: argparse.Namespace, pipe: Pipeline, fixed: dict[str, Any]) -> None:
        from anyany.cli.inline import protocol_of
        from anyany.report.writing import Writer

        self.args, self.chat = args, pipe.chat(args.system, **fixed)
        self.folder = os.path.abspath(args.out or os.path.join("out", pipe.graph.name))
        self.writer = Writer(self.folder, pipe.plan.outputs, args.sound.upper())
        self.person = sys.stdin.isatty()
        self.out: TextIO = sys.stdout
        self.protocol = None if args.json else protocol_of(args.inline)
        self.kept = self.failed = self.ended = 0
        self.answering = False
        self.pages = 1
        self.stopped = threading.Event()

    def go(self) -> int:
        """All turns; the exit code."""
        try:
            with self._ended_by_signals():
                return self._go()
        except _Ended:
            return self.ended

    def _go(self) -> int:
        self._make_folder()
        if self.person and not self.args.json:
            graph = self.chat.pipe.graph
            print(f"{graph.name}: {graph.about}\n/help tells how to send files; Ctrl-D ends", file=sys.stderr)
        try:
            for line in self._lines():
                if not self._line(line):
                    break
                if self.ended:
                    return self.ended
                if self.stopped.is_set() and not self.person:  # a script is ended; a person only had enough of a reply
                    return 130
        finally:
            self._save_kept()
        return 1 if self.failed else 0

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        """Inside, a closed terminal and `kill` end the conversation as /quit does: its transcript is written."""

        def end(number: int, frame: Any) -> None:
            again, self.ended = self.ended, 128 + number
            self.stopped.set()
            if again or not self.answering:
                raise _Ended

        names = [n for n in ("SIGHUP", "SIGTERM") if hasattr(signal, n)]  # Windows knows no terminal that hangs up
        if threading.current_thread() is not threading.main_thread():
            names = []
        before = {n: signal.signal(getattr(signal, n), end) for n in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)

    def _make_folder(self) -> None:
        from anyany.errors import EnvironmentProblem, problem

        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            text = f"{self.folder} cannot be written: {error.strerror}"
            raise EnvironmentProblem([problem("E609", text, help="give another --out")]) from None

    # turns in ----------------------------------------------------------------------------------------------------
    def _lines(self) -> Iterator[str]:
        """Turns as they are written, those of several lines joined."""
        held: list[str] = []
        for line in self._typed() if self.person else self._piped():
            if line.endswith("\\"):
                held.append(line[:-1])
                continue
            whole = "\n".join([*held, line]).strip()
            held = []
            if whole:
                yield whole
        if held:
            yield "\n".join(held).strip()

    def _typed(self) -> Iterator[str]:
        with contextlib.suppress(ImportError):  # editing and history of lines, where Python has them
            import readline  # noqa: F401
        while True:
            try:
                yield input("> ")
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print("\n(Ctrl-D or /quit ends)", file=sys.stderr)

    def _piped(self) -> Iterator[str]:
        for number, raw in enumerate(sys.stdin.buffer, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                self._tell_failed(f"line {number} is not UTF-8 (byte {error.start + 1})", "save it as UTF-8")

    def _line(self, line: str) -> bool:
        """One turn or command; False ends the conversation."""
        if not line.startswith("/") or line.startswith("//"):
            self._say(line[1:] if line.startswith("//") else line)
            return True
        word, _, rest = line.partition(" ")
        if word == "/quit":
            return False
        if word == "/reset":
            self._save_kept()
            self.pages += bool(self.kept)
            self.kept = 0
            self.chat.reset()
            print("begun again", file=sys.stderr)
        elif word == "/save":
            self._save(rest.strip())
        elif word == "/help":
            print("\n".join([HELP, *(f"{name:<8}{about}" for name, about in COMMANDS.items())]), file=sys.stderr)
        else:
            from anyany.errors.suggest import did_you_mean

            hint = did_you_mean(word, COMMANDS) or f"commands are {', '.join(COMMANDS)}"
            print(f"there is no command {word}; {hint}", file=sys.stderr)
        return True

    def _say(self, text: str) -> None:
        from anyany.engine.context import Cancelled
        from anyany.errors import AnyanyError
        from anyany.kinds.message import parse_template
        from anyany.media.errors import MediaError

        try:
            result = self._run(parse_template(text))
        except MediaError as error:
            place = f"{error.path}: " if error.path else ""
            return self._tell_failed(f"[{error.code}] {place}{error.message}", error.help)
        except AnyanyError as error:  # weights that are not there: another turn may not need them
            first = error.problems[0]
            return self._tell_failed(f"[{first.code}] {first.message}", first.help or "")
        except (Cancelled, KeyboardInterrupt):
            self.stopped.set()
            print("\n(stopped; the turn is forgotten)", file=sys.stderr)
            return None
        self._answered(result)

    def _run(self, asked: Message) -> Result:
        from anyany.cli.run_show import Streamer

        self.streamer = Streamer(self.out) if self.out.isatty() and not self.args.json else None
        self.stopped.clear()
        before = self._catch_interrupt()
        self.answering = True
        try:
            return self.chat.turn(asked, emit=self.streamer, stop=self.stopped.is_set)
        finally:
            self.answering = False
            if before is not None:
                signal.signal(signal.SIGINT, before)
            if self.streamer is not None:
                self.streamer.close()

    def _catch_interrupt(self) -> Any:
        """The first Ctrl-C stops the reply at its next step; a second one stops it at once."""
        if threading.current_thread() is not threading.main_thread():
            return None

        def stop(number: int, frame: Any) -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt
            self.stopped.set()

        return signal.signal(signal.SIGINT, stop)

    # replies out -------------------------------------------------------------------------------------------------
    def _answered(self, result: Result) -> None:
        told = self.writer.write(result)
        if self.args.json:
            print(json.dumps(told, ensure_ascii=False), file=self.out, flush=True)
        if told["status"] == "failed":
            return self._tell_failed(str(told["error"]), told=True)
        reply = self.chat.reply(result, told["outputs"])
        self.chat.keep(result, reply)
        self.kept += 1
        if not self.args.json:
            self._show(reply)

    def _show(self, reply: Message) -> None:
        """Text and paths in order; what was streamed is not said twice."""
        from anyany.cli.inline import drawn
        from anyany.cli.run_show import harmless, near
        from anyany.kinds.message import Media

        terminal = self.out.isatty()
        seen = self.streamer is not None and self.streamer.has(reply.text)
        for part in reply.parts:
            if isinstance(part, str):
                if not seen and part.strip():
                    print(harmless(part.strip()) if terminal else part.strip(), file=self.out)
            elif isinstance(part, Media):
                print(near(part.path) if part.path else f"[{part.kind}]", file=self.out)
                if self.protocol is not None:
                    self.out.write(drawn(part, self.protocol))
            else:
                print(f"[{part.kind}] {part.value}", file=self.out)  # boxes and points
        self.out.flush()

    def _tell_failed(self, text: str, help: str = "", told: bool = False) -> None:
        """An error of a turn; `told` where its JSON object was printed already."""
        self.failed += 1
        if self.args.json and not told:
            line = {"item": None, "status": "failed", "outputs": {}, "error": text, "seconds": 0.0}
            print(json.dumps(line, ensure_ascii=False), file=self.out, flush=True)
        print(f"failed {text}" + (f"\n  help: {help}" if help else ""), file=sys.stderr)

    # transcript --------------------------------------------------------------------------------------------------
    def _save_kept(self) -> None:
        if self.kept:
            self._save("")

    def _save(self, name: str) -> None:
        from anyany.media.files import atomic

        own = os.path.join(self.folder, "chat.html" if self.pages == 1 else f"chat-{self.pages}.html")
        path = os.path.abspath(os.path.expanduser(name)) if name else own
        try:
            with atomic(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(self.chat.page())
        except Exception as error:
            from anyany.engine.failures import failure_of

            print(f"the page cannot be written: {failure_of(error, '')}", file=sys.stderr)
        else:
            from anyany.cli.run_show import near

            print(f"the conversation is in {near(path)}", file=sys.stderr)
