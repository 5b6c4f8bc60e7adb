"""The generated faces: public layouts, repeatable, votes with confusions, subjects apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from likeness.data.checks import check
from likeness.errors import UserError
from likeness_apps.facial_expression.domain import DOMAIN
from likeness_apps.facial_expression.drawn_looks import variants
from likeness_apps.facial_expression.expressions import EXPRESSIONS
from likeness_apps.facial_expression.layouts import recognise
from likeness_apps.facial_expression.sample import SAMPLES, generator, votes_of, write_sample
from likeness_apps.facial_expression.votes import human_agreement
from likeness_apps.facial_expression.votes import votes_of as votes_in
from likeness_apps.shell.generated import is_generated


def test_the_layout_of_ferplus(tmp_path: Path) -> None:
    root = write_sample(tmp_path / "a", per_class=10)
    manifest = recognise(root)
    assert manifest.layout == "ferplus"
    assert Counter(manifest.table["split"]) == {"train": 48, "val": 16, "test": 16}
    assert (votes_in(manifest.table).sum(axis=1) == 10).all()
    assert is_generated(manifest.root)
    assert check(manifest).errors == ()
    assert {f.code for f in manifest.findings} <= {"no-label-tie", "no-label-unknown"}
    truth = pd.read_csv(root / "truth.csv")
    assert Counter(truth["expression"]) == dict.fromkeys(EXPRESSIONS, 10)
    drawn = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    splits = manifest.table["path"].str[-14:].map(truth.set_index("picture")["usage"])
    assert splits.map(drawn).tolist() == manifest.table["split"].tolist()
    assert (truth.groupby("subject")["usage"].nunique() == 1).all()
    assert truth["subject"].nunique() >= 6
    smiles = Counter(truth.loc[truth["expression"] == "happiness", "variant"])
    assert set(smiles) == set(variants("happiness"))
    again = write_sample(tmp_path / "b", per_class=10)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        assert path.read_bytes() == (again / path.relative_to(root)).read_bytes()


def test_the_layout_of_fer2013(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_CACHE", str(tmp_path / "cache"))
    root = write_sample(tmp_path, layout="fer2013", per_class=10)
    manifest = recognise(root)
    assert manifest.layout == "fer2013"
    assert Counter(manifest.table["label"]) == dict.fromkeys(sorted(manifest.classes), 10)
    assert "contempt" not in manifest.classes
    assert is_generated(manifest.root)  # though the pictures lie in the cache
    assert (manifest.findings, check(manifest).errors) == ((), ())


def test_taggers_mostly_see_what_was_drawn_and_mix_up_what_looks_alike() -> None:
    drawn = [name for name in EXPRESSIONS for _ in range(150)]
    votes_NA = np.array([votes_of(name, generator(n)) for n, name in enumerate(drawn)])
    assert (votes_NA.sum(axis=1) == 10).all()
    said = votes_NA.reshape(8, 150, 10).sum(axis=1) / 1500
    assert (said.argmax(axis=1) == np.arange(8)).all()
    fear = dict(zip(EXPRESSIONS, said[EXPRESSIONS.index("fear")], strict=False))
    assert fear["surprise"] > 0.05 > fear["happiness"] == 0
    agreement = human_agreement(votes_NA)
    assert 0.6 < agreement.accuracy < 0.85
    assert agreement.no_majority < 0.1


@pytest.mark.plain
def test_what_cannot_be_written(tmp_path: Path) -> None:
    assert tuple(SAMPLES) == DOMAIN.samples
    with pytest.raises(UserError, match="layout must be one of ferplus, fer2013, got 'jaffe'"):
        write_sample(tmp_path, layout="jaffe")
    with pytest.raises(UserError, match="per_class must be from 10 to 10000, got 3"):
        write_sample(tmp_path, per_class=3)
