"""A folder as pip would leave it, full of plugins: one broken, the others fine. For tests of discovery and start.

`write_site(folder)` makes it; put the folder on PYTHONPATH, or give it to `Registry(path=[folder])`.
"""

from __future__ import annotations

from pathlib import Path

FINE = '''
"""Cards of namespace `{namespace}`."""
from anyany.api.v1 import Call, Card, Config, Kind, Port, card, hookimpl, option

class {Class}Config(Config):
    size: int = option(4, low=1, doc="how large")
    mode: str = option("soft", choices=("soft", "hard"))

def calls(config, facts):
    return {{"encode": Call(takes={{"image": Port("image")}}, gives={{"out": Port("features", "N D", D=config.size)}})}}

@hookimpl
def anyany_cards():
    return [card("{namespace}/encoder", role="encoder", about="a dummy", config={Class}Config, calls=calls,
                 impl="{module}:Encoder", tiny={{"size": 2}})]
'''
BROKEN = "import no_such_module_anywhere\n"


def write_dist(folder: Path, namespace: str, text: str | None = None, *, dist: str | None = None,
               version: str = "1.0") -> Path:  # fmt: skip
    """One distribution with one plugin module; gives the module's file."""
    module = f"{namespace.replace('-', '_')}_plugin"
    name = dist or f"anyany_{namespace.replace('-', '_')}"
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[anyany.v1]\n{namespace} = {module}\n\n[console_scripts]\nx = y:z\n")
    file = folder / f"{module}.py"
    default = FINE.format(
        namespace=namespace, module=module, Class=namespace.replace("-", " ").title().replace(" ", "")
    )
    file.write_text(default if text is None else text)
    return file


def write_site(folder: Path, count: int = 50) -> Path:
    """`count` plugins `dummy00`, `dummy01`, …, the last of them broken."""
    for i in range(count):
        write_dist(folder, f"dummy{i:02d}", BROKEN if i == count - 1 else None)
    return folder
