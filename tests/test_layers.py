"""Arrows run one way: apps -> core; inside core as DESIGN says; apps never import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "core").rglob("*.py")) + sorted((ROOT / "apps").rglob("*.py"))
APPS = ("remote_sensing", "skin_lesion", "person_reid", "facial_expression", "benchmark")

# Who may not be imported by whom, room by room (prefix of the importer -> forbidden prefixes).
GEOMETRY = (
    "likeness.rows",
    "likeness.geometry",
    "likeness.relations",
    "likeness.pairs",
    "likeness.selection",
    "likeness.batch",
    "likeness.proxies",
)
METHODS = (
    *("likeness.losses", "likeness.mining"),
    *("likeness.regularisers", "likeness.distillation", "likeness.synthesis"),
)
ABOVE_METHODS = (
    "likeness.objective",
    "likeness.training",
    "likeness.models",
    "likeness.data",
    "likeness.sampling",
    "likeness.evaluation",
    "likeness.search",
    "likeness.inference",
    "likeness.bundle",
)
FORBIDDEN = {
    **dict.fromkeys(GEOMETRY, (*METHODS, *ABOVE_METHODS)),
    **dict.fromkeys(METHODS, ABOVE_METHODS),
    "likeness.objective": ("likeness.training", "likeness.data", "likeness.inference"),
    "likeness.sampling": ("likeness.training", "likeness.objective", "likeness.models"),
    "likeness.models": ("likeness.training", "likeness.objective", "likeness.losses"),
    "likeness.data": ("likeness.training", "likeness.objective", "likeness.models"),
    "likeness.evaluation": (
        "likeness.models",
        "likeness.training",
        "likeness.data",
        "likeness.objective",
        "likeness.bundle",
        "likeness.inference",
    ),
    "likeness.subclasses": (
        "likeness.models",
        "likeness.training",
        "likeness.data",
        "likeness.objective",
        "likeness.bundle",
        "likeness.inference",
    ),
    "likeness.self_paced": (
        "likeness.models",
        "likeness.training",
        "likeness.data",
        "likeness.objective",
        "likeness.bundle",
        "likeness.inference",
    ),
    "likeness.search": (
        "likeness.evaluation",
        "likeness.models",
        "likeness.data",
        "likeness.bundle",
    ),
    **dict.fromkeys(
        ("likeness.bundle", "likeness.readout_record"),
        ("likeness.inference", "likeness.training", "likeness.objective"),
    ),
    "likeness.inference": ("likeness.training", "likeness.objective", "likeness.losses"),
}


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT / path.relative_to(ROOT).parts[0])
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def breaks(name: str, imports: list[str]) -> list[str]:
    """The imports that a module of this name may not have."""
    found = []
    if inside(name, "likeness"):
        found += [i for i in imports if inside(i, "likeness_apps") or inside(i, "typer")]
        if name != "likeness.bundle":
            found += [i for i in imports if inside(i, "yaml")]
        if not inside(name, "likeness.training"):
            found += [i for i in imports if inside(i, "lightning") or inside(i, "rich")]
        for room, forbidden in FORBIDDEN.items():
            if inside(name, room):
                found += [i for i in imports if any(inside(i, f) for f in forbidden)]
    for app in APPS:
        if inside(name, f"likeness_apps.{app}"):
            others = [other for other in APPS if other != app]
            found += [i for i in imports if any(inside(i, f"likeness_apps.{o}") for o in others)]
    if inside(name, "likeness_apps.shell"):
        found += [i for i in imports if any(inside(i, f"likeness_apps.{app}") for app in APPS)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path))
def test_imports_run_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert breaks(module_name(path), list(imported(tree))) == []


@pytest.mark.parametrize(
    ("name", "import_"),
    [
        ("likeness.pairs", "likeness.losses.triplet"),
        ("likeness.losses.triplet", "likeness.training"),
        ("likeness.evaluation.retrieval", "likeness.models.embedder"),
        ("likeness.config", "yaml"),
        ("likeness.data.decode", "likeness_apps.cli"),
        ("likeness_apps.remote_sensing.cli", "likeness_apps.skin_lesion.cli"),
        ("likeness_apps.shell.train", "likeness_apps.remote_sensing.layouts"),
    ],
)
def test_a_broken_layer_is_seen(name: str, import_: str) -> None:
    assert breaks(name, [import_]) == [import_]


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    """No pickle is loaded and nothing from a file is executed."""
    forbidden = {("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("yaml", "load")}
    forbidden |= {("joblib", "load"), ("np", "load_pickle")}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"line {node.lineno}"
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            assert (node.func.value.id, node.func.attr) not in forbidden, f"line {node.lineno}"
            allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
            assert all(isinstance(v, ast.Constant) and v.value is False for v in allowed)


def test_no_package_shadows_a_library() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()
    assert not (ROOT / "tests" / "__init__.py").exists()
