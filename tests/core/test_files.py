"""Atomic writes: failures, kills at every step, and what JSON can hold."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.files import (
    atomic_directory,
    atomic_path,
    finite,
    settle_directory,
    sha256_file,
    whole_directory,
    write_json,
    write_text,
)


def entries(folder):
    return sorted(item.name for item in folder.iterdir())


def test_a_file_and_its_folder_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "text.txt", "grüße\n")
    assert (tmp_path / "a" / "b" / "text.txt").read_bytes() == "grüße\n".encode()
    assert entries(tmp_path / "a" / "b") == ["text.txt"]


def test_a_file_gets_the_permissions_that_open_would_give(tmp_path):
    write_text(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    ours, plain = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain"))
    assert ours == plain


def test_an_error_in_the_body_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_path(path) as temporary:
        temporary.write_text("half a text \udce9", encoding="utf-8")
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["file"]


def test_the_old_file_stands_until_the_body_is_done(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("writer", [atomic_path, atomic_directory])
def test_a_full_disk_is_a_sentence(tmp_path, writer):
    with (
        pytest.raises(UserError, match=r"out must be a writable place with free space, got .*No s"),
        writer(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert entries(tmp_path) == []


@pytest.mark.parametrize("writer", [atomic_path, atomic_directory])
def test_a_file_in_place_of_the_folder_is_a_sentence(tmp_path, writer):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "out", tmp_path / "file" / "deeper" / "out"):
        with pytest.raises(UserError, match="out must be a writable place"), writer(path):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("writer", [atomic_path, atomic_directory])
def test_a_folder_without_permission_is_a_sentence(tmp_path, writer):
    (tmp_path / "closed").mkdir(mode=0o500)
    with (
        pytest.raises(UserError, match="out must be a writable place"),
        writer(tmp_path / "closed" / "out"),
    ):
        pass


@pytest.mark.parametrize("writer", [atomic_path, atomic_directory])
@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "elsewhere/image.png"),
        OSError("image file is truncated"),  # pillow's have neither number nor name
    ],
)
def test_errors_about_something_else_pass_through(tmp_path, writer, error):
    with pytest.raises(OSError, match=r"image") as caught, writer(tmp_path / "out"):
        raise error
    assert caught.value is error
    assert entries(tmp_path) == []


def test_a_directory_in_place_of_the_file_is_a_sentence(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out must be a writable place"):
        write_text(tmp_path / "out", "text")
    assert entries(tmp_path) == ["out"]


def test_json_is_sorted_readable_and_has_no_nan(tmp_path):
    value = {
        "b": [np.float32("nan"), np.int64(3), np.array([1.5, np.inf])],
        "a": {1: (True, None, "ü")},
        "c": float("-inf"),
    }
    write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "a": {"1": [True, None, "ü"]},
        "b": [None, 3, [1.5, None]],
        "c": None,
    }
    assert text.index('"a"') < text.index('"b"')
    assert "ü" in text


def test_json_keeps_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_json(tmp_path / "v.json", {"path": name})
    assert json.loads((tmp_path / "v.json").read_bytes()) == {"path": name}


def test_finite_keeps_what_is_finite():
    plain = {"a": [1, 2.5, "x", None, True]}
    assert finite(plain) == plain


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "f") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def write_model(path, text):
    with atomic_directory(path) as new:
        (new / "sub").mkdir()
        (new / "sub" / "file").write_text(text)


def read_model(path):
    return (whole_directory(path) / "sub" / "file").read_text()


def test_a_directory_is_made_replaced_and_left_alone_on_errors(tmp_path):
    model = tmp_path / "run" / "model"
    write_model(model, "one")
    assert read_model(model) == "one"
    (model / "stray").write_text("of the old one")
    write_model(model, "two")
    assert read_model(model) == "two"
    assert not (model / "stray").exists()
    with pytest.raises(UnicodeEncodeError), atomic_directory(model) as new:
        (new / "half").write_text("half a text \udce9", encoding="utf-8")
    assert read_model(model) == "two"
    assert entries(tmp_path / "run") == ["model"]


def test_a_directory_behind_a_link_is_replaced_behind_it(tmp_path):
    write_model(tmp_path / "real", "one")
    (tmp_path / "link").symlink_to("real")
    for text in ("two", "three"):
        write_model(tmp_path / "link", text)
        assert read_model(tmp_path / "link") == text
    assert (tmp_path / "link").is_symlink()
    assert entries(tmp_path) == ["link", "real"]


def test_a_failed_swap_puts_the_old_directory_back(tmp_path):
    write_model(tmp_path / "model", "old")
    with (
        pytest.raises(UserError, match="out must be a writable place"),
        atomic_directory(tmp_path / "model") as new,
    ):
        new.rmdir()  # the second rename has nothing to move
    assert read_model(tmp_path / "model") == "old"
    assert entries(tmp_path) == ["model"]


KILLED = """
import os, pathlib, shutil, signal, sys
from likeness.files import atomic_directory

kill_at, path, steps = int(sys.argv[1]), pathlib.Path(sys.argv[2]), [0]


def counted(function):
    def step(*arguments, **options):
        if steps[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps[0] += 1
        return function(*arguments, **options)

    return step


for module, name in ((os, "rename"), (os, "mkdir"), (os, "fsync"), (shutil, "rmtree")):
    setattr(module, name, counted(getattr(module, name)))
pathlib.Path.rename = counted(pathlib.Path.rename)
with atomic_directory(path) as new:
    (new / "sub").mkdir()
    (new / "sub" / "file").write_text("new")
"""


def test_killed_at_any_step_a_whole_directory_is_left(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    seen = []
    for kill_at in range(40):
        model = tmp_path / str(kill_at) / "model"
        write_model(model, "old")
        ended = subprocess.run([sys.executable, script, str(kill_at), model], check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        seen.append(read_model(model))
        if kill_at % 3 == 0:  # the next writer also finds its way, from any leftovers
            write_model(model, "next")
            assert read_model(model) == "next"
            assert entries(model.parent) == ["model"]
    else:
        pytest.fail("the script never ended by itself")
    assert len(seen) > 6
    assert seen == sorted(seen, reverse=True)  # old, ..., old, new, ...
    assert set(seen) == {"old", "new"}


@pytest.mark.parametrize("replaced", [False, True])
def test_what_a_killed_call_left_is_put_back_or_removed(tmp_path, replaced):
    aside, half = tmp_path / ".set.old", tmp_path / ".set.new"
    for folder in (aside, half, *([tmp_path / "set"] if replaced else [])):
        folder.mkdir()
        (folder / "which.txt").write_text(folder.name)
    settle_directory(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / "which.txt").read_text() == ("set" if replaced else ".set.old")
    settle_directory(tmp_path / "set")  # nothing to do
    settle_directory(tmp_path / "never")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
