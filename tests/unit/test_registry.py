"""The registry: namespaces are imported when named, broken plugins are set aside, the cache is only a shortcut.

Each test has a folder of plugins as pip would leave it, and a cache folder of its own.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins_for_tests.dummy_site import write_dist, write_site

from anyany.api.v1 import Call, Kind, Port, card, hookimpl
from anyany.registry import PluginWarning, Registry, UnknownCard


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable folder for plugins; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("ANYANY_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def fresh(site: Path) -> Registry:
    """The registry of a new process, as far as one process can."""
    for name, module in list(sys.modules.items()):
        if str(site) in str(getattr(module, "__file__", "")):
            del sys.modules[name]
    return Registry(path=[str(site)])


def quiet_names(registry: Registry) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        return registry.names()


def test_a_namespace_is_imported_only_when_it_is_named(site: Path) -> None:
    write_site(site, 5)
    registry = fresh(site)
    assert registry.namespaces() == tuple(f"dummy{i:02d}" for i in range(5))
    assert "dummy00_plugin" not in sys.modules
    assert registry.card("dummy01/encoder").role == "encoder"
    assert "dummy01_plugin" in sys.modules and "dummy00_plugin" not in sys.modules


def test_names_come_from_the_cache_without_an_import(site: Path) -> None:
    write_site(site, 5)
    names = quiet_names(fresh(site))
    assert names == [f"dummy{i:02d}/encoder" for i in range(4)]
    again = fresh(site)
    assert quiet_names(again) == names
    assert not any(name.startswith("dummy") for name in sys.modules)


def test_a_changed_plugin_file_is_read_anew(site: Path) -> None:
    file = write_dist(site, "acme")
    assert fresh(site).names() == ["acme/encoder"]
    file.write_text(file.read_text().replace("acme/encoder", "acme/renamed"))
    assert fresh(site).names() == ["acme/renamed"]


def test_a_touched_but_equal_plugin_file_is_not_imported_again(site: Path) -> None:
    import os

    file = write_dist(site, "acme")
    fresh(site).names()
    os.utime(file, (1, 1))
    assert fresh(site).names() == ["acme/encoder"]
    assert "acme_plugin" not in sys.modules


def test_a_new_version_of_a_distribution_is_read_anew(site: Path) -> None:
    write_dist(site, "acme")
    assert fresh(site).describe()["acme"]["version"] == "1.0"
    (site / "anyany_acme-1.0.dist-info").rename(site / "anyany_acme-2.0.dist-info")
    assert fresh(site).describe()["acme"]["version"] == "2.0"


def test_a_damaged_cache_is_ignored(site: Path, tmp_path: Path) -> None:
    write_dist(site, "acme")
    fresh(site).names()
    for file in (tmp_path / "cache").iterdir():
        file.write_text('{"format": 1, "core"')
    assert fresh(site).names() == ["acme/encoder"]


def test_without_a_writable_cache_everything_works(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ANYANY_CACHE", str(tmp_path / "file" / "cache"))
    write_dist(site, "acme")
    assert fresh(site).names() == ["acme/encoder"]
    assert fresh(site).card("acme/encoder").name == "acme/encoder"


def test_a_broken_plugin_is_set_aside_with_one_warning(site: Path) -> None:
    write_site(site, 3)
    registry = fresh(site)
    with pytest.warns(
        PluginWarning, match="`dummy02` is set aside: it needs the module `no_such_module_anywhere`"
    ) as all_:
        registry.names()
        registry.names()
    assert len(all_) == 1
    broken = registry.quarantined()["dummy02"]
    assert broken.last_line == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    assert broken.where.endswith("dummy02_plugin.py:1")
    assert registry.card("dummy00/encoder").name == "dummy00/encoder"
    with pytest.raises(UnknownCard, match="its plugin `dummy02` is broken") as caught:
        registry.card("dummy02/encoder")
    assert caught.value.code == "E801"


def test_a_cached_quarantine_ends_when_something_is_installed(site: Path) -> None:
    write_dist(site, "acme", "import soon_installed\nfrom anyany.api.v1 import hookimpl\n\n"
               "@hookimpl\ndef anyany_cards():\n    return []\n")  # fmt: skip
    registry = fresh(site)
    quiet_names(registry)
    assert "acme" in registry.quarantined()
    (site / "soon_installed.py").write_text("")
    (site / "soon_installed-1.0.dist-info").mkdir()
    registry = fresh(site)
    quiet_names(registry)
    assert "acme" not in registry.quarantined()


HOOK = "from anyany.api.v1 import Call, Config, Port, card, hookimpl\n"
CARDS = "@hookimpl\ndef anyany_cards():\n"


def one(name: str, **more: object) -> str:
    """The source text of a card."""
    calls = '{"a": Call(takes={}, gives={"x": Port("text")})}'
    return f'card("{name}", role="encoder", calls={calls}, impl="a:B", **{more!r})'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def anyany_cards():\n    return []\n", "`anyany_cards` lacks the decorator @hookimpl"),
        ("@hookimpl\ndef anyany_cards():\n    return None\n", None),
        ("@hookimpl\ndef anyany_cards():\n    return 3\n", "anyany_cards gives a int, not a list"),
        ("@hookimpl\ndef anyany_cards():\n    return ['acme/a']\n", "not a Card"),
        (CARDS + f"    return [{one('acme/a')}] * 2\n", "declared twice"),
        (CARDS + f"    return [{one('other/a')}]\n", "outside the plugin's namespace"),
        (CARDS + f"    return [{one('acme/A b')}]\n", "a name is `namespace/name`"),
        (CARDS + f"    return [{one('acme/a', tiny={'w': 1})}]\n", "unknown option `w`"),
        ("@hookimpl\ndef anyany_cards(wrong):\n    return []\n", "a hook does not fit the API"),
        ("@hookimpl\ndef anyany_crads():\n    return []\n", "a hook does not fit the API"),
        ("@hookimpl\ndef anyany_cards():\n    raise ValueError('no')\n", "ValueError while it was loaded: no"),
        ("raise SystemExit(7)\n", "SystemExit while it was loaded: 7"),
        ("def broken(:\n", "SyntaxError while it was loaded"),
        ("class C(Config):\n    a: Nowhere = 3\n@hookimpl\ndef anyany_cards():\n"
         "    return [card('acme/a', role='encoder', calls={}, impl='a:B', config=C)]\n", "NameError"),
        ("class C(Config):\n    a: list = []\n@hookimpl\ndef anyany_cards():\n"
         "    return [card('acme/a', role='encoder', calls={}, impl='a:B', config=C)]\n", "a mutable default"),
    ],
)  # fmt: skip
def test_every_kind_of_broken_plugin_is_explained(site: Path, body: str, reason: str | None) -> None:
    write_dist(site, "acme", HOOK + body)
    registry = fresh(site)
    names = quiet_names(registry)
    if reason is None:  # pluggy drops None: a plugin without cards is no error
        assert "acme" not in registry.quarantined()
        return
    assert names == []
    assert reason in registry.quarantined()["acme"].reason


def test_two_distributions_cannot_share_a_namespace(site: Path) -> None:
    write_dist(site, "acme", dist="first")
    write_dist(site, "acme", dist="second")
    registry = fresh(site)
    with pytest.raises(UnknownCard, match="claimed by first and second") as caught:
        registry.card("acme/encoder")
    assert caught.value.code == "E802"
    assert "pip uninstall" in registry.quarantined()["acme"].advice


def test_a_stranger_cannot_take_a_namespace_of_anyany(site: Path) -> None:
    write_dist(site, "vision", dist="anyany")
    write_dist(site, "vision", dist="stranger", version="9.0")
    registry = fresh(site)
    assert registry.entries["vision"].dist == "anyany"
    assert "claimed by anyany and stranger" in registry.quarantined()["vision@stranger"].reason


def test_a_distribution_found_twice_counts_once_where_it_comes_first(tmp_path: Path) -> None:
    write_dist(tmp_path / "a", "acme", version="1.0")
    write_dist(tmp_path / "b", "acme", version="2.0")
    registry = Registry(path=[str(tmp_path / "a"), str(tmp_path / "b")], cache=False)
    assert registry.entries["acme"].version == "1.0"
    assert registry.quarantined() == {}


@pytest.mark.parametrize(
    ("name", "code", "near"),
    [
        ("acme/encodr", "E101", ("acme/encoder",)),
        ("amce/encoder", "E102", ("acme/encoder",)),
        ("encoder", "E103", ("acme/encoder",)),
        ("acme/encoder@7", "E104", ("acme/encoder@1",)),
        ("", "E103", ()),
        ("a/b/c", "E103", ()),
    ],
)
def test_an_unknown_name_gets_suggestions(site: Path, name: str, code: str, near: tuple[str, ...]) -> None:
    write_dist(site, "acme")
    with pytest.raises(UnknownCard) as caught:
        fresh(site).card(name)
    assert (caught.value.code, caught.value.suggestions) == (code, near)


class TwoMajors:
    """A plugin object with an old and a new major version of one component."""

    @hookimpl
    def anyany_cards(self):  # type: ignore[no-untyped-def]
        calls = {"run": Call(takes={"x": Port("text")}, gives={"y": Port("text")})}
        return [
            card("own/thing", role="transform", calls=calls, impl="a:B", major=m, about=f"major {m}") for m in (1, 2)
        ]

    @hookimpl
    def anyany_kinds(self):  # type: ignore[no-untyped-def]
        return [Kind(name="smell", group="media")]


def test_a_major_version_is_chosen_with_at_and_the_highest_without() -> None:
    registry = Registry(path=())
    registry.add("own", TwoMajors())
    assert registry.card("own/thing").about == "major 2"
    assert registry.card("own/thing@1").about == "major 1"
    assert registry.names() == ["own/thing"]


def test_kinds_of_a_plugin_join_the_built_in_ones() -> None:
    registry = Registry(path=())
    assert "smell" not in registry.kinds()
    registry.add("own", TwoMajors())
    assert registry.kinds()["smell"].group == "media" and "image" in registry.kinds()


def test_kinds_of_plugins_in_the_cache_are_known_without_an_import(site: Path) -> None:
    body = "@hookimpl\ndef anyany_kinds():\n    return [Kind(name='smell', group='media', axes=('N',))]\n"
    write_dist(site, "acme", "from anyany.api.v1 import Kind, hookimpl\n" + body)
    fresh(site).describe()
    registry = fresh(site)
    assert registry.kinds()["smell"] == Kind(name="smell", group="media", axes=("N",))
    assert "acme_plugin" not in sys.modules


def test_adding_a_broken_plugin_says_why() -> None:
    with pytest.raises(ValueError, match="outside the plugin's namespace `other`"):
        Registry(path=()).add("other", TwoMajors())


def test_events_reach_the_plugins_that_are_loaded() -> None:
    seen = []

    class Listener:
        @hookimpl
        def anyany_events(self, event):  # type: ignore[no-untyped-def]
            seen.append(event)

    registry = Registry(path=())
    registry.add("listener", Listener())
    registry.manager.hook.anyany_events(event={"name": "start"})
    assert seen == [{"name": "start"}]


def test_the_folder_of_a_plugin_is_found_without_importing_it(site: Path) -> None:
    write_dist(site, "acme")
    assert fresh(site).folder("acme") == site.resolve()
    assert "acme_plugin" not in sys.modules
    with pytest.raises(LookupError, match="namespace `nowhere`"):
        fresh(site).folder("nowhere")


def test_a_plugin_that_imports_torch_gets_a_remark(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyany.registry.loading.HEAVY", ("heavy_stand_in",))
    (site / "heavy_stand_in.py").write_text("")
    write_dist(site, "acme", "import heavy_stand_in\n" + HOOK + "@hookimpl\ndef anyany_cards():\n    return []\n")
    assert "imports heavy_stand_in" in fresh(site).describe()["acme"]["remarks"][0]


def test_descriptions_are_json(site: Path) -> None:
    write_dist(site, "acme")
    told = json.loads(json.dumps(fresh(site).describe()["acme"]["cards"][0]))
    assert told["options"][0] == {
        "name": "size", "type": "whole number", "schema": {"type": "integer"}, "default": 4, "low": 1,
        "doc": "how large",
    }  # fmt: skip
    assert told["calls"]["encode"]["gives"]["out"]["text"] == "features [N D=4]"
