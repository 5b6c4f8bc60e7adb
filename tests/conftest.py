"""Shapes are checked at run time in tests; `LIKENESS_PLAIN=1 pytest -m plain` tests error texts."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

HOOKED = os.environ.get("LIKENESS_PLAIN") != "1"
if HOOKED:
    from jaxtyping import install_import_hook

    install_import_hook(["likeness"], "beartype.beartype")

torch.set_num_threads(1)
# A machine under load may be slow: that is no failure of an example.
settings.register_profile("likeness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("likeness")
os.environ.setdefault("LIKENESS_SALT", "of the tests, whatever the user's own is")


def pytest_runtest_setup() -> None:
    """What is drawn without a seed is the same for a test alone and among others."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HOOKED and item.get_closest_marker("plain"):
            item.add_marker(pytest.mark.skip(reason="runs with LIKENESS_PLAIN=1"))
