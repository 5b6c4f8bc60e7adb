"""One set of answers, its thresholds and its figures, for all tests here."""

import json

import pytest

from fixtures.clinical import QUICK, SHARES, lesions
from likeness_apps.skin_lesion.clinical.measures import (
    Clinical,
    clinical_figures,
)


@pytest.fixture(scope="module")
def ham():
    return lesions(shares=SHARES)


@pytest.fixture(scope="module")
def record():
    """Of validation images on another scale than those of `ham`."""
    return Clinical().recorded(*lesions(seed=1, shares=SHARES, tilt=2.0))


@pytest.fixture(scope="module")
def figures(ham, record):
    return clinical_figures(*ham, json.loads(json.dumps(record)), QUICK)
