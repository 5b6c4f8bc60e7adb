"""What the documents show runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer
from click import Context

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)


PYTHON = [(path, code) for path in DOCUMENTS for code in blocks(path, "python")]
SHELL = [
    (path, line)
    for path in DOCUMENTS
    for code in blocks(path, "bash")
    for line in code.replace("\\\n", " ").splitlines()
    if line.startswith("likeness ")
]


def test_the_readme_shows_python_and_commands() -> None:
    assert any(path.name == "README.md" for path, _ in PYTHON)
    assert any(path.name == "README.md" for path, _ in SHELL)


@pytest.mark.parametrize(("path", "code"), PYTHON, ids=lambda item: getattr(item, "name", "code"))
def test_python_blocks_run(path: Path, code: str) -> None:
    torch.manual_seed(0)
    exec(compile(code, str(path), "exec"), {"__name__": "document"})
    assert code.strip()


@pytest.mark.parametrize(("path", "line"), SHELL, ids=lambda item: getattr(item, "name", "line"))
def test_shell_lines_name_real_commands_and_options(path: Path, line: str) -> None:
    from likeness_apps.cli import app

    command = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    context = Context(command, info_name="likeness")
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"{path.name}: {line}"
        command = command.commands[words.pop(0)]
        context = Context(command, info_name=command.name, parent=context)
    arguments = [word for word in words if word not in ("...",)]
    command.parse_args(context, arguments)  # raises on an unknown option or a missing argument


def test_contributing_example_is_a_loss() -> None:
    code = next(code for path, code in PYTHON if path.name == "CONTRIBUTING.md")
    names: dict[str, object] = {"__name__": "document"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]], requires_grad=True)
    loss = names["EasiestPositive"](margin=0.0, space="euclidean")  # type: ignore[operator]
    value = loss(embeddings, torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(2**0.5)
    value.backward()
    assert embeddings.grad is not None
