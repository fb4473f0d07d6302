"""Fifty more plugins, one of them broken, change nothing for who does not name them.

What is asserted is what a process imports and prints, never how long it takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugins_for_tests.dummy_site import write_site

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "diffusers", "numpy", "PIL", "av"}
SCRIPT = (
    "import sys\nfrom anyany.cli import main\ncode = main(sys.argv[1:])\n"
    "print('\\0'.join([str(code), *sorted(sys.modules)]), file=sys.stderr)"
)


class Process:
    """One finished process: exit code, output, and the modules it had imported at the end."""

    def __init__(self, *argv: str, **env: str) -> None:
        known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *argv], capture_output=True, text=True, check=True,
                              cwd=ROOT, env={**known, **env})  # fmt: skip
        self.out, (*lines, last) = done.stdout, done.stderr.splitlines()
        self.err = "\n".join(lines)
        code, *names = last.split("\0")
        self.code, self.modules = int(code), set(names)


@pytest.fixture
def crowded(tmp_path: Path) -> dict[str, str]:
    """The environment with fifty plugins more, the last one broken, and an empty cache."""
    site = tmp_path / "site"
    site.mkdir()
    return {"PYTHONPATH": str(write_site(site, 50)), "ANYANY_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment as it is, with an empty cache of its own."""
    return {"ANYANY_CACHE": str(tmp_path / "other-cache")}


def test_help_imports_the_same_with_fifty_plugins(crowded: dict[str, str], alone: dict[str, str]) -> None:
    before, after = Process("--help", **alone), Process("--help", **crowded)
    assert after.modules == before.modules
    assert after.out == before.out and after.code == 0
    assert not after.modules & HEAVY


def test_check_imports_the_same_with_fifty_plugins(crowded: dict[str, str], alone: dict[str, str]) -> None:
    spec = "pipelines/quickstart.yaml"
    before, after = Process("check", spec, **alone), Process("check", spec, **crowded)
    assert after.code == before.code == 0, after.err
    assert after.modules == before.modules
    assert (after.out, after.err) == (before.out, before.err)
    assert not after.modules & HEAVY


def test_the_list_has_the_49_good_ones_and_one_warning(crowded: dict[str, str]) -> None:
    listed = Process("plugins", **crowded)
    assert listed.code == 0
    assert sum(line.startswith("dummy") for line in listed.out.splitlines()) == 49
    assert listed.err.count("warning:") == 1
    assert "`dummy49` is set aside: it needs the module `no_such_module_anywhere`" in listed.err


def test_a_second_list_imports_no_plugin(crowded: dict[str, str]) -> None:
    first = Process("plugins", **crowded)
    second = Process("plugins", **crowded)
    assert (second.out, second.err) == (first.out, first.err)
    assert [m for m in second.modules if m.startswith(("dummy", "anyany_"))] == []


def test_the_doctor_names_the_cause_of_the_broken_one(crowded: dict[str, str]) -> None:
    doctor = Process("plugins", "doctor", **crowded)
    assert doctor.code == 3
    assert "broken  dummy49 [E801]: it needs the module `no_such_module_anywhere`" in doctor.out
    assert "last line: ModuleNotFoundError: No module named 'no_such_module_anywhere'" in doctor.out
    assert doctor.out.count("ok      dummy") == 49
    told = json.loads(Process("plugins", "doctor", "--json", **crowded).out)
    assert [q["namespace"] for q in told["broken"]] == ["dummy49"]


def test_only_a_spec_that_names_the_broken_plugin_fails(crowded: dict[str, str], tmp_path: Path) -> None:
    nodes = "nodes:\n  look: {use: NAME, weights: 'random:0', in: x}\n"
    text = "anyany: 1\nname: s\ninputs: {x: image}\n" + nodes + "outputs: {y: look}\n"
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(text.replace("NAME", "dummy07/encoder"))
    bad.write_text(text.replace("NAME", "dummy49/encoder"))
    fine = Process("check", str(good), **crowded)
    assert fine.code == 0, fine.out + fine.err
    assert [m for m in fine.modules if m.startswith("dummy")] == ["dummy07_plugin"]
    broken = Process("check", str(bad), **crowded)
    assert broken.code in (2, 3)
    assert "dummy49" in broken.out + broken.err and "no_such_module_anywhere" in broken.out + broken.err


def test_explain_reaches_components_too(crowded: dict[str, str]) -> None:
    shown = Process("explain", "dummy00/encoder", **crowded)
    assert shown.code == 0 and "size  whole number  = 4" in shown.out


# the dispatcher -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("chekc",), 2, "did you mean `check`?"),
        (("--frobnicate",), 2, "unknown option `--frobnicate`"),
        ((), 2, ""),
        (("plugins", "--nonsense"), 2, "unrecognized arguments"),
        (("plugins", "show"), 2, "name a component"),
        (("plugins", "show", "vision/vitt"), 2, "did you mean `vision/vit`?"),
        (("explain", "E0000"), 2, "there is no code"),
        (("explain", "--help"), 0, ""),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else None,
)
def test_wrong_calls_end_in_one_line_and_exit_code_2(
    argv: tuple[str, ...], code: int, text: str, alone: dict[str, str]
) -> None:
    ended = Process(*argv, **alone)
    assert ended.code == code
    assert text in ended.err and "Traceback" not in ended.err


def test_an_internal_error_is_one_line_and_a_way_to_the_traceback(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from anyany import cli

    monkeypatch.setitem(cli.COMMANDS, "explain", ("anyany.no_such_command", "broken on purpose"))
    assert cli.main(["explain"]) == 3
    told = capsys.readouterr().err
    assert "internal error, please report: ModuleNotFoundError" in told and "ANYANY_DEBUG=1" in told
    assert "Traceback" not in told
    monkeypatch.setenv("ANYANY_DEBUG", "1")
    assert cli.main(["explain"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_one_line_and_130(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    from anyany import cli
    from anyany.cli import explain_cmd

    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(explain_cmd, "main", interrupted)
    assert cli.main(["explain"]) == 130
    assert capsys.readouterr().err == "anyany: interrupted\n"


def test_a_reader_that_goes_away_is_no_error(alone: dict[str, str]) -> None:
    command = f"{sys.executable} -m anyany explain | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **alone}
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")
