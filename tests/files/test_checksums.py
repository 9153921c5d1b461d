import os
import random
import shutil
import subprocess

import pytest

from winnow.errors import UserError
from winnow.files.checksums import find_damage, write_sums
from winnow.files.local_files import resolve_model_folder

CONTENT = {"config.json": b"{}", "model.safetensors": (2).to_bytes(8, "little") + b"{}", "vocab.txt": b"good\nbad\n"}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    write_sums(folder)
    return folder


def change(path, content):
    path.write_bytes(content)
    os.utime(path, (0, 0))  # the time of a change has a few milliseconds; in a test it may be that of the file before


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_the_list_is_one_of_sha256sum(folder):
    def sha256sum():
        return subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)

    assert sha256sum().stdout.splitlines() == ["model.safetensors: OK", "vocab.txt: OK", "config.json: OK"]
    change(folder / "vocab.txt", b"good\nbat\n")
    assert "vocab.txt: FAILED" in sha256sum().stdout


def test_without_a_list_nothing_is_checked_and_an_added_file_or_another_card_is_no_damage(folder):
    for name in ("notes.txt", "README.md"):
        (folder / name).write_text("notes")
    write_sums(folder)
    (folder / "README.md").write_text("other notes")
    assert find_damage(folder) == ""
    (folder / "more.txt").write_text("notes")
    assert find_damage(folder) == ""
    change(folder / "config.json", b'{"a": 1}')
    assert "if this is a change on purpose, delete SHA256SUMS" in find_damage(folder)
    (folder / "SHA256SUMS").unlink()
    assert find_damage(folder) == ""


@pytest.mark.parametrize("name", [*CONTENT, "SHA256SUMS"])
def test_a_flipped_bit_a_cut_file_and_a_lost_file_are_found(folder, name):
    path, rng = folder / name, random.Random(0)
    content = path.read_bytes()
    for _ in range(20):
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        change(path, content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        assert str(folder) in find_damage(folder), (at, bit)
    for line in range(content.count(b"\n")):  # a list without its last lines looks like a whole one
        change(path, b"".join(content.splitlines(keepends=True)[:line]))
        assert find_damage(folder).startswith(f"{path} is damaged")
    path.unlink()
    assert find_damage(folder).startswith(f"{path} is missing") == (name != "SHA256SUMS")


def test_only_the_files_that_are_read_are_checked(folder):
    change(folder / "vocab.txt", b"")
    assert find_damage(folder, lambda name: name == "config.json") == ""


def test_a_damaged_model_is_refused_with_what_makes_it_again(folder):
    change(folder / "model.safetensors", CONTENT["model.safetensors"] + b" ")
    with pytest.raises(UserError, match=r"model\.name=.*model\.safetensors is damaged.*; copy the folder again\."):
        resolve_model_folder(str(folder))
    (folder.parent / "result.json").write_text("{}")
    with pytest.raises(UserError, match=rf"with resume=true hydra\.run\.dir={folder.parent} makes the model again\."):
        resolve_model_folder(str(folder.parent))
