"""Shapes are checked at run time in tests; `LIKENESS_PLAIN=1 pytest -m plain` tests error texts."""

import os

import pytest
import torch

HOOKED = os.environ.get("LIKENESS_PLAIN") != "1"
if HOOKED:
    from jaxtyping import install_import_hook

    install_import_hook(["likeness"], "beartype.beartype")

torch.set_num_threads(1)
os.environ.setdefault("LIKENESS_SALT", "of the tests, whatever the user's own is")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HOOKED and item.get_closest_marker("plain"):
            item.add_marker(pytest.mark.skip(reason="runs with LIKENESS_PLAIN=1"))
