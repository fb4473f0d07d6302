"""The command line: a static table of commands, each in a module of its own, imported only when called.

Every `<name>_cmd` module has `add_arguments(parser)` and `main(args) -> int`. Exit codes: 0 done, 1 some
items failed, 2 the spec or the call is wrong, 3 the environment is, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("anyany.cli.run_cmd", "run a pipeline on one item or many"),
    "chat": ("anyany.cli.chat_cmd", "talk with a pipeline, files in any turn"),
    "check": ("anyany.cli.check_cmd", "find every mistake in a spec, without loading anything"),
    "plan": ("anyany.cli.plan_cmd", "show what a run would load, where, and how many bytes it takes"),
    "graph": ("anyany.cli.graph_cmd", "draw a pipeline with the kinds and widths on its edges"),
    "inspect": ("anyany.cli.inspect_cmd", "count parameters and FLOPs per node, no weights read"),
    "plugins": ("anyany.cli.plugins_cmd", "list components; `show NAME` and `doctor` tell more"),
    "schema": ("anyany.cli.schema_cmd", "write the JSON schema of specs for your editor"),
    "explain": ("anyany.cli.explain_cmd", "explain an error code, such as E021"),
    "new": ("anyany.cli.new_cmd", "write a working plugin package or a first pipeline"),
    "train": ("anyany.cli.train_cmd", "train the stages of a spec"),
    "convert": ("anyany.cli.convert_cmd", "make an old checkpoint (.pt, .pth, .ckpt, .bin) one of safetensors"),
    "replay": ("anyany.cli.replay_cmd", "run an item of an earlier run again and compare"),
}
DONE, WRONG_CALL, ENVIRONMENT, INTERRUPTED, CLOSED_PIPE = 0, 2, 3, 130, 141


def usage() -> str:
    """The text of `anyany --help`."""
    lines = [
        "usage: anyany COMMAND ...",
        "",
        "Any-to-any multimodal systems from one page of YAML.",
        "",
        "commands:",
    ]
    lines += [f"  {name:<9} {about}" for name, (_, about) in COMMANDS.items()]
    lines += ["", "options:", "  -h, --help  this text", "  --version   the version", ""]
    lines += ["`anyany COMMAND --help` explains a command."]
    return "\n".join(lines)


def _unknown(word: str) -> int:
    if word.startswith("-"):
        print(f"anyany: unknown option `{word}`; see `anyany --help`", file=sys.stderr)
        return WRONG_CALL
    from anyany.errors.suggest import did_you_mean

    hint = did_you_mean(word, COMMANDS) or f"the commands are {', '.join(COMMANDS)}"
    print(f"anyany: unknown command `{word}`\nhelp: {hint}", file=sys.stderr)
    return WRONG_CALL


def _command(name: str, argv: Sequence[str]) -> int:
    import argparse
    import importlib

    module: Any = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=f"anyany {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return int(module.main(args) or 0)
    except SystemExit as stop:  # no command of ours exits so; a plugin must not turn a failure into a success
        raise RuntimeError(f"a plugin called sys.exit({stop.code})") from stop


def _dispatch(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return DONE if argv else WRONG_CALL
    if argv[0] in ("--version", "-V"):
        import anyany

        print(f"anyany {anyany.__version__}")
        return DONE
    if argv[0] not in COMMANDS:
        return _unknown(argv[0])
    return _command(argv[0], argv[1:])


def _close_pipe() -> int:
    """Our reader went away (`| head`): say nothing, and keep Python from flushing into it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    return CLOSED_PIPE


def _failed(error: Exception) -> int:
    """What the user sees of an exception: the findings of ours, one line of any other."""
    from anyany.errors import AnyanyError

    if isinstance(error, AnyanyError):
        from anyany.errors.render import render

        print(render(error.problems, error.sources), file=sys.stderr)
        return error.exit_code
    if os.environ.get("ANYANY_DEBUG"):
        import traceback

        traceback.print_exception(error)
    code, text, help = _told(error)
    print(f"error[{code}] {text}" + (f"\n  help: {help}" if help else ""), file=sys.stderr)
    from anyany.errors.exit import code_for

    return code_for([code])


def _told(error: Exception) -> tuple[str, str, str | None]:
    """(code, one line, help) of an exception that is no `AnyanyError`."""
    text = " ".join(str(error).split())[:300]
    code, help = getattr(error, "code", None), getattr(error, "help", None)
    if isinstance(code, str) and code[:1] == "E" and isinstance(help, (str, type(None))):
        return code, str(error).strip(), help  # of media or weights, with a code of its own
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] != "anyany":
        return "E804", f"the package `{missing}` is not installed", f"install what provides `{missing}`"
    if isinstance(error, OSError) and error.strerror:
        what = f"`{error.filename}`" if error.filename is not None else "a file"
        return "E807", f"{what} cannot be used: {error.strerror}", "mend its permissions or free space"
    if isinstance(error, MemoryError):
        return "E608", "the memory of this machine is not enough", "run fewer items at a time, or a smaller profile"
    help = "run it again with ANYANY_DEBUG=1 for the traceback to report"
    return "E810", f"internal error, please report: {type(error).__name__}: {text}", help


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Never raises but for `SystemExit` turned into its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name that is no text must not end a run
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # no file and line of ours
    try:
        code = _dispatch(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: 0 after --help, 2 after a wrong call
        return stop.code if isinstance(stop.code, int) else DONE if stop.code is None else WRONG_CALL
    except KeyboardInterrupt:
        print("anyany: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return _close_pipe()
    except Exception as error:
        return _failed(error)
