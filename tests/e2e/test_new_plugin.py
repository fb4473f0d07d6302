"""`anyany new plugin` writes a package that installs beside anyany, passes its own tests and is listed.

It is installed with pip into a folder of its own, so that the environment under test stays as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anyany.cli import main


def run(*argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A process that sees `env` on top of this one's environment."""
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(folder of the written package, environment in which it is installed)."""
    folder = tmp_path_factory.mktemp("outside")
    made = run("-m", "anyany", "new", "plugin", "acme-thermal", cwd=folder)
    assert made.returncode == 0, made.stderr
    package, site = folder / "acme-thermal", folder / "site"
    pip = (
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    )
    done = run(*pip, "--target", str(site), str(package), cwd=folder)
    assert done.returncode == 0, done.stderr
    return package, {"PYTHONPATH": str(site), "ANYANY_CACHE": str(folder / "cache")}


def test_its_own_tests_pass(installed: tuple[Path, dict[str, str]]) -> None:
    package, env = installed
    done = run("-m", "pytest", "-p", "no:cacheprovider", cwd=package, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_it_shows_up_in_the_list(installed: tuple[Path, dict[str, str]]) -> None:
    package, env = installed
    done = run("-m", "anyany", "plugins", "--json", cwd=package.parent, **env)
    listed = {c["name"]: c for c in json.loads(done.stdout)["components"]}
    assert listed["acme-thermal/encoder"]["dist"] == "anyany_acme_thermal"
    assert listed["acme-thermal/encoder"]["role"] == "encoder"
    assert "vision/vit" in listed


def test_its_options_and_ports_are_shown(installed: tuple[Path, dict[str, str]]) -> None:
    package, env = installed
    done = run("-m", "anyany", "plugins", "show", "acme-thermal/encoder", cwd=package.parent, **env)
    assert "gives  patches  features [N=64 D=128]" in done.stdout
    assert "resolution  whole number  = 64" in done.stdout


def test_the_doctor_finds_nothing_to_mend(installed: tuple[Path, dict[str, str]]) -> None:
    package, env = installed
    done = run("-m", "anyany", "plugins", "doctor", cwd=package.parent, **env)
    assert done.returncode == 0
    assert "ok      acme-thermal: 1 component" in done.stdout


def test_its_pipeline_checks_and_runs_on_a_picture(installed: tuple[Path, dict[str, str]]) -> None:
    from PIL import Image

    package, env = installed
    spec = package / "anyany_acme_thermal" / "specs" / "acme-thermal.yaml"
    checked = run("-m", "anyany", "check", str(spec), cwd=package.parent, **env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    Image.new("RGB", (50, 30), "red").save(package.parent / "red.png")
    done = run("-m", "anyany", "run", str(spec), "--in", "picture=red.png", "--json", cwd=package.parent, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["outputs"]["vectors"]["kind"] == "features"


# what it refuses ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "made"),
    [("Acme Thermal", "acme-thermal"), ("acme_thermal", "acme-thermal"), ("anyany-acme", "acme"), ("A..b--C", "a-b-c")],
)
def test_names_are_made_tidy(tmp_path: Path, written: str, made: str) -> None:
    assert main(["new", "plugin", written, "--dir", str(tmp_path)]) == 0
    package = tmp_path / made / f"anyany_{made.replace('-', '_')}"
    assert (package / "plugin.py").is_file()
    for file in package.rglob("*.py"):
        compile(file.read_text(), str(file), "exec")


@pytest.mark.parametrize("name", ["", "1st", "émile", "../up", "a/b", "-", "x" * 80])
def test_names_that_make_no_package_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "plugin", "--dir", str(tmp_path), "--", name]) == 2
    assert "makes no name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme").mkdir()
    assert main(["new", "plugin", "acme", "--dir", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "acme").iterdir()) == []


def test_a_namespace_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "plugin", "vision", "--dir", str(tmp_path)]) == 2
    assert "taken by an installed plugin" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_an_error_of_the_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "plugin", "acme", "--dir", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_new_pipeline_checks(tmp_path: Path) -> None:
    assert main(["new", "pipeline", "my first", "--dir", str(tmp_path)]) == 0
    assert main(["check", str(tmp_path / "my-first.yaml")]) == 0
    assert main(["new", "pipeline", "my first", "--dir", str(tmp_path)]) == 2
