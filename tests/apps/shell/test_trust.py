"""What a self-paced run says of its training labels, from the front door."""

import pandas as pd
import pytest

from fixtures.front_door import likeness, small
from fixtures.scenes import write_ucmerced

PACED = (
    "objective.terms=[{loss: {name: self_paced}}]",
    "self_paced={warmup_epochs: 1, first_quantile: 0.3, noise: 0.4}",
    "epochs=3",
)


@pytest.fixture
def data(tmp_path):
    """Wrong labels: two pictures of each class lie in the folder of the class before it."""
    top = write_ucmerced(tmp_path / "data", per_class=10)
    folders = sorted(path for path in (top / "Images").iterdir() if path.is_dir())
    for folder, before in zip(folders, [folders[-1], *folders], strict=False):
        for number in (0, 1):
            name = f"{folder.name}{number:02d}.tif"
            (folder / name).rename(before / f"{before.name}{90 + number}.tif")
    return top


def test_the_least_trusted_labels_come_first(data, tmp_path):
    out = tmp_path / "run"
    ended = likeness("train", data, "--out", out, *small(*PACED))
    assert ended.code == 0
    trust = pd.read_csv(out / "trust.csv")
    assert trust.columns.tolist() == ["path", "label", "weight"]
    splits = pd.read_csv(out / "splits.csv")
    training = splits[splits["split"] == "train"].set_index("path")["label"]
    assert trust.set_index("path")["label"].sort_index().equals(training.sort_index())
    assert trust["weight"].between(0, 1).all()
    assert trust["weight"].is_monotonic_increasing
    wrong = trust["path"].str.contains("9[0-9].tif$")
    assert 0 < wrong.sum() < len(trust)
    assert trust["weight"][wrong].mean() < trust["weight"][~wrong].mean() - 0.1
    fully = (trust["weight"] == 1).sum()
    assert f"{fully} of {len(trust)} training images are trusted fully" in ended.out
    before = (out / "trust.csv").read_bytes()
    (out / "trust.csv").unlink()
    assert likeness("train", data, "--out", out, "--resume", *small(*PACED)).code == 0
    assert (out / "trust.csv").read_bytes() == before


def test_other_runs_trust_every_label(data, tmp_path):
    out = tmp_path / "run"
    assert likeness("train", data, "--out", out, *small("epochs=1")).code == 0
    assert not (out / "trust.csv").exists()
