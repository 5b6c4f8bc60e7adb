"""The wheel and the sdist carry what they must; the wheel answers `--help` on a lean install."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAN = ("typer", "rich", "pydantic", "yaml")  # what the issue allows beside the wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("dist")
    # The build tools are in the development environment: no isolation, no registry.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_the_wheel_holds_both_packages_configs_and_cards(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    for folder, package in (("core", "likeness"), ("apps", "likeness_apps")):
        sources = {
            path.relative_to(ROOT / folder).as_posix()
            for path in (ROOT / folder / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert sources <= names
    for folder in ("configs", "datasets"):
        shipped = {
            f"likeness_apps/_{folder}/{path.relative_to(ROOT / folder).as_posix()}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
        }
        assert shipped
        assert shipped <= names


def test_the_sdist_builds_the_same_wheel(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= names
    assert "configs/remote_sensing/smoke.yaml" in names
    assert not any(name.startswith((".venv", "runs", "demo")) for name in names)


def test_the_wheel_alone_answers_help_and_finds_its_configs(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    """Installed with --no-deps beside typer, rich, pydantic and pyyaml: no torch to be seen."""
    site = tmp_path / "site"
    zipfile.ZipFile(built[0]).extractall(site)
    blocker = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        heavy = ('torch', 'numpy', 'pandas', 'sklearn', 'matplotlib', 'rasterio', 'PIL')\n"
        "        if name.partition('.')[0] in heavy:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.path[:] = [{str(site)!r}] + [p for p in sys.path if 'likeness' not in p]\n"
        f"sys.path.append({sysconfig.get_paths()['purelib']!r})\n"
    )
    script = blocker + (
        "import likeness_apps, likeness_apps.shell.configs as configs\n"
        f"assert likeness_apps.__file__.startswith({str(site)!r}), likeness_apps.__file__\n"
        "assert 'smoke' in configs.names('remote_sensing'), configs.names('remote_sensing')\n"
        "assert configs.load('remote_sensing', 'smoke')['epochs'] >= 1\n"
        "from likeness_apps.cli import main\n"
        "sys.argv = ['likeness', 'remote-sensing', '--help']\n"
        "main()\n"
    )
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
