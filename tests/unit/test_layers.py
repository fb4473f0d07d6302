"""The walls of the design: who may import whom, and which commands never load torch.

Read off the source (every import statement, also those inside functions) and off real processes.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "anyany"
PLUGINS = ROOT / "plugins"
HEAVY = (
    "torch",
    "transformers",
    "diffusers",
    "numpy",
    "PIL",
    "av",
    "soundfile",
    "rich",
    "safetensors",
    "huggingface_hub",
)


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(file: Path, *, only_top: bool = False) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of the import statements of a file; names imported from a package count as modules."""
    tree = ast.parse(file.read_text("utf-8"))
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    nodes = _top(tree.body) if only_top else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported: not those of functions, nor under `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        for inner in ("body", "orelse", "finalbody"):
            yield from _top([s for s in getattr(node, inner, []) if isinstance(s, ast.stmt)])


def offenders(files: list[Path], forbidden: tuple[str, ...], allowed: tuple[str, ...] = (), **how: bool) -> list[str]:
    """`file:line module` of every import of a forbidden package that is not under an allowed one."""

    def under(module: str, names: tuple[str, ...]) -> bool:
        return any(module == name or module.startswith(name + ".") for name in names)

    return [
        f"{file.relative_to(ROOT)}:{line} {module}"
        for file in files
        for line, module in imports(file, **how)
        if under(module, forbidden) and not under(module, allowed)
    ]


# who imports whom -----------------------------------------------------------------------------------------
def component_files() -> list[Path]:
    """All files of plugins but programs of their own (training, evaluation), which may use the whole library."""
    programs = {"train", "evaluate.py", "__main__.py"}
    return [f for f in modules(PLUGINS) if not programs & set(f.relative_to(PLUGINS).parts)]


def test_plugins_import_only_the_api() -> None:
    assert offenders(component_files(), ("anyany",), allowed=("anyany.api",)) == []


def test_plugins_do_not_import_each_other() -> None:
    found = []
    families = tuple(p.name for p in PLUGINS.iterdir() if p.is_dir() and p.name.startswith("anyany_"))
    for family in families:
        others = tuple(f for f in families if f != family)
        found += offenders([f for f in component_files() if f.is_relative_to(PLUGINS / family)], others)
    assert found == []


def test_the_core_imports_no_plugin() -> None:
    families = tuple(p.name for p in PLUGINS.iterdir() if p.is_dir())
    assert offenders(modules(CORE), families) == []


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        ("spec", ("anyany.engine", "anyany.cli", "anyany.pipeline", "anyany.media", "anyany.train", "anyany.serve")),
        ("kinds", ("anyany.engine", "anyany.cli", "anyany.pipeline", "anyany.spec", "anyany.registry")),
        ("errors", ("anyany.engine", "anyany.cli", "anyany.pipeline", "anyany.registry", "anyany.spec")),
        ("registry", ("anyany.engine", "anyany.cli", "anyany.pipeline", "anyany.spec")),
        ("engine", ("anyany.cli", "anyany.serve", "anyany.train", "anyany.testing")),
        ("media", ("anyany.engine", "anyany.cli", "anyany.spec", "anyany.registry")),
        ("weights", ("anyany.engine", "anyany.cli", "anyany.spec")),
    ],
)
def test_layers_know_only_what_is_below_them(layer: str, forbidden: tuple[str, ...]) -> None:
    assert offenders(modules(CORE / layer), forbidden) == []


def test_the_torch_free_core_imports_nothing_heavy_on_the_way() -> None:
    light = [CORE / "__init__.py", CORE / "api" / "__init__.py", CORE / "api" / "v1.py", CORE / "__main__.py"]
    for folder in ("kinds", "registry", "spec", "errors", "cli"):
        light += modules(CORE / folder)
    assert offenders(light, HEAVY, only_top=True) == []


def test_torch_is_in_no_file_of_kinds_registry_spec_and_errors() -> None:
    files = [f for folder in ("kinds", "registry", "spec", "errors") for f in modules(CORE / folder)]
    assert offenders(files, ("torch", "transformers", "diffusers")) == []


def test_plugin_modules_import_nothing_heavy() -> None:
    assert offenders(sorted(PLUGINS.glob("*/plugin.py")), HEAVY) == []
    assert offenders(sorted(PLUGINS.glob("*/__init__.py")), (*HEAVY, "anyany.api.torch")) == []


def test_the_walls_are_seen_by_these_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard guards: an import inside a function, a relative one and one behind TYPE_CHECKING are told apart."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "anyany" / "spec" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from ..engine import run\n    import numpy\n"
    )
    assert offenders([file], ("anyany.engine", "torch", "numpy")) == [
        "anyany/spec/x.py:3 torch", "anyany/spec/x.py:5 anyany.engine.run", "anyany/spec/x.py:6 numpy",
    ]  # fmt: skip
    assert offenders([file], ("anyany.engine", "torch", "numpy"), only_top=True) == []


# what processes load --------------------------------------------------------------------------------------
def loaded_by(*argv: str) -> tuple[int, set[str]]:
    """(exit code, modules loaded at the end) of `anyany ARGV` in a process of its own."""
    code = (
        "import sys\nfrom anyany.cli import main\n"
        f"code = main({list(argv)!r})\nprint('\\0'.join([str(code), *sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    first, *names = done.stderr.strip().splitlines()[-1].split("\0")
    return int(first), set(names)


@pytest.mark.parametrize(
    "argv",
    [
        ("--help",),
        ("--version",),
        ("check", "--help"),
        ("check", "pipelines/quickstart.yaml"),
        ("plugins",),
        ("plugins", "show", "vision/vit"),
        ("plugins", "doctor"),
        ("schema",),
        ("explain", "E101"),
    ],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(argv: tuple[str, ...]) -> None:
    code, names = loaded_by(*argv)
    assert code == 0
    assert sorted(names & set(HEAVY)) == []


def test_help_loads_no_module_of_any_command_nor_the_registry() -> None:
    _, names = loaded_by("--help")
    assert sorted(n for n in names if n.startswith("anyany")) == ["anyany", "anyany.cli"]


def test_one_command_loads_only_its_own_module() -> None:
    _, names = loaded_by("explain", "E101")
    assert [n for n in names if n.startswith("anyany.cli.")] == ["anyany.cli.explain_cmd"]
