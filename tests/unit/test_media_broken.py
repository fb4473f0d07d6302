"""Every broken input fails with its own clear error; damage at random never ends in anything else than MediaError."""

from __future__ import annotations

import random
import resource
import warnings
from pathlib import Path

import pytest

from anyany.media import CODES, MediaError, load
from anyany.testing.broken_files import Broken, make_broken, make_good


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[Broken]:
    return make_broken(tmp_path_factory.mktemp("broken"))


def test_each_broken_input_is_told_what_is_wrong_and_what_to_do(broken: list[Broken]) -> None:
    wrong = []
    for case in broken:
        try:
            load(case.kind, case.path)
            wrong.append(f"{case.name}: no error")
        except MediaError as error:
            named = error.path is not None and error.path[:40] == case.path.replace("\0", "\\0")[:40]
            if error.code != case.code or case.says not in error.message or not error.help or not named:
                wrong.append(f"{case.name}: wanted {case.code} {case.says!r}, got {error}")
    assert not wrong, "\n".join(wrong)


def test_there_are_sixty_of_them_and_their_names_differ(broken: list[Broken]) -> None:
    assert len({case.name for case in broken}) == len(broken) >= 60


def test_errors_of_libraries_never_show(broken: list[Broken]) -> None:
    for case in broken:
        with pytest.raises(MediaError) as caught:
            load(case.kind, case.path)
        assert "did not expect" not in caught.value.message, case.name
        assert "Traceback" not in str(caught.value)


def test_a_picture_of_1600_million_pixels_takes_no_memory_and_warns_nobody(broken: list[Broken]) -> None:
    huge = [case for case in broken if case.name.startswith("huge")]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for case in huge:
            with pytest.raises(MediaError):
                load(case.kind, case.path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024, f"{grown} KiB"


def test_the_good_files_beside_them_load(tmp_path: Path) -> None:
    for kind, path in make_good(tmp_path).items():
        assert load(kind, path) is not None


def test_random_damage_ends_in_media_errors_only(tmp_path: Path) -> None:
    dice = random.Random(0)
    good = make_good(tmp_path)
    target = tmp_path / "damaged"
    codes = set()
    for turn in range(300):
        kind = list(good)[turn % len(good)]
        data = bytearray(Path(good[kind]).read_bytes())
        for _ in range(dice.choice((1, 5, 40))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.4:
            del data[dice.randrange(len(data)) :]
        target.write_bytes(data)
        try:
            load(kind, target)
        except MediaError as error:
            assert "did not expect" not in error.message, error
            codes.add(error.code)
    assert len(codes) >= 4


def test_every_code_has_one_line() -> None:
    assert all(501 <= int(code[1:]) <= 529 and len(text) > 10 and "\n" not in text for code, text in CODES.items())


def test_errors_survive_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(MediaError("E501", "no such file", "look again", "cat.png")))
    assert (error.code, error.message, error.help, error.path) == ("E501", "no such file", "look again", "cat.png")
