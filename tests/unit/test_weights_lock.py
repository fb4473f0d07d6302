"""SPEC.lock: written atomically, read strictly, and never moved by accident."""

from __future__ import annotations

import json
import os
import threading

import pytest

from anyany.weights.errors import WeightsError
from anyany.weights.lock import Lock, LockedFile, lock_path, read_lock, write_lock

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = COMMIT[::-1]


@pytest.fixture
def lock():
    made = Lock(plugins={"mini": "0.1.0"}, seed=3)
    made.pin("hub:a/b", COMMIT)
    made.add_files("hub:a/b", {"model.safetensors": LockedFile(bytes=12, hash="sha256:" + "0" * 64)})
    made.add_facts("hub:a/b/unet", {"json(config.json: width)": 320})
    return made


def test_a_lock_is_read_back_as_it_was_written(lock, tmp_path):
    path = lock_path(tmp_path / "talk.yaml")
    assert path.endswith("talk.yaml.lock")
    write_lock(path, lock)
    assert read_lock(path) == lock
    assert os.listdir(tmp_path) == ["talk.yaml.lock"]


def test_an_absent_lock_is_empty(tmp_path):
    assert read_lock(tmp_path / "none.lock") == Lock()


def test_a_lock_knows_whether_it_changed(lock, tmp_path):
    write_lock(tmp_path / "l", lock)
    assert not lock.changed
    lock.pin("hub:a/b", COMMIT)
    lock.add_facts("hub:a/b/unet", {"json(config.json: width)": 320})
    assert not lock.changed
    lock.add_facts("hub:a/b/unet", {"json(config.json: depth)": 4})
    assert lock.changed


def test_a_pin_moves_only_when_it_is_taken_out_first(lock):
    with pytest.raises(WeightsError, match="the lock pins hub:a/b") as caught:
        lock.pin("hub:a/b", OTHER)
    assert caught.value.code == "E472"
    lock.unpin("hub:a/b")
    assert lock.facts == {}
    lock.pin("hub:a/b", OTHER)
    assert lock.sources["hub:a/b"].commit == OTHER


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no anyany_lock"),
        ('{"anyany_lock": 2}', "has format 2"),
        ('{"anyany_lock": 1, "plugin": {}}', "unknown entries: plugin"),
        ('{"anyany_lock": 1, "plugins": {"a": 1}}', "plugins is not"),
        ('{"anyany_lock": 1, "seed": "x"}', "seed is not"),
        ('{"anyany_lock": 1, "facts": {"a": {"b": []}}}', "facts is not"),
        ('{"anyany_lock": 1, "facts": {"a": {"b": true}}}', "facts is not"),
        ('{"anyany_lock": 1, "sources": []}', "sources is not"),
        ('{"anyany_lock": 1, "sources": {"hub:a/b": {"commit": "main"}}}', "not a full commit"),
        (json.dumps({"anyany_lock": 1, "sources": {"h": {"commit": COMMIT, "files": {"f": {"bytes": 1}}}}}), "files.f"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path, text, said):
    (tmp_path / "l").write_text(text)
    with pytest.raises(WeightsError) as caught:
        read_lock(tmp_path / "l")
    assert caught.value.code == "E471"
    assert said in caught.value.message
    assert str(tmp_path / "l") in caught.value.message


def test_readers_never_see_half_a_lock(tmp_path):
    path = tmp_path / "l"
    write_lock(path, Lock(seed=0))
    done = threading.Event()

    def write() -> None:
        for seed in range(60):
            write_lock(path, Lock(seed=seed, plugins={f"p{i}": "1" for i in range(200)}))
        done.set()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while not done.is_set():
        read_lock(path)
    for writer in writers:
        writer.join()
    assert os.listdir(tmp_path) == ["l"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        write_lock(tmp_path / "file" / "l", Lock())
    assert caught.value.code == "E475"
