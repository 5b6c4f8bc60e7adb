"""What is printed is what was meant, letter by letter, and nothing when quiet."""

import io
import os
import subprocess
import sys

import pytest

from likeness_apps.shell import console
from likeness_apps.shell.console import figure, progress, say, show_table


def test_names_are_never_markup(capsys):
    name = "[red]roof[/red] :smile: [/] \\[x"
    say(name)
    assert capsys.readouterr().out == name + "\n"
    show_table(name, ("[bold]",), [(name,)])
    printed = capsys.readouterr().out
    assert printed.count(name) == 2
    assert "[bold]" in printed


def test_long_lines_are_not_broken(capsys):
    path = "a/" * 200
    say(path)
    assert capsys.readouterr().out == path + "\n"


def test_quiet_is_quiet(capsys):
    say("a", quiet=True)
    show_table("a", ("b",), [("c",)], quiet=True)
    with progress("a", quiet=True) as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_for_terminals(capsys, monkeypatch):
    with progress("checking") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(console.sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress("checking") as advance:
        advance(1, 2)
        advance(2, 2)
    assert "checking" in screen.getvalue()
    assert "2/2" in screen.getvalue()


def test_numbers_are_flush_right(capsys):
    show_table("t", ("name", "count"), [("a", 5), ("b", 1000)], numeric=("count",))
    row = next(line for line in capsys.readouterr().out.splitlines() if " a " in line)
    assert row.index("5") == row.rindex("│") - 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"value": 0.91234, "low": 0.9, "high": 1.0}, "0.912 [0.900, 1.000]"),
        ({"value": 1, "low": None, "high": None}, "1.000"),
        ({"value": 0.5}, "0.500"),
        ({"value": None, "low": None}, "undefined"),
        ({"value": float("nan")}, "undefined"),
        ({"value": 0.5, "low": float("nan"), "high": float("nan")}, "0.500"),
    ],
)
def test_figures(value, text):
    assert figure(value) == text


def test_a_name_that_the_terminal_cannot_show(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    code = (
        "import sys\n"
        "from likeness_apps.cli import main\n"
        "sys.argv = ['likeness', 'remote-sensing', 'inspect', sys.argv[1]]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"image files in it" in done.stderr
