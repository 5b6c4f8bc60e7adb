"""The benchmark of maps measures what it says, on a network that nobody trained."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.lesion_models import untrained
from likeness.bundle import load_bundle
from likeness.models.explain import grad_cam, mask_overlap, upsample
from likeness_apps.skin_lesion.sample import write_sample

sys.path.insert(0, str(Path(__file__).parents[4] / "benchmarks"))
import explanations


def test_all_figures_and_the_masks_by_hand(tmp_path, monkeypatch):
    data = write_sample(tmp_path, layout="ham10000", per_class=8, size=(30, 40))
    model = untrained(data, tmp_path / "model", attention="sum")
    bundle = load_bundle(model)
    files = explanations.chosen_files(bundle, data, "test", 5, 0)
    assert len(files) == 5
    splits = bundle.splits.set_index("path")["split"]
    assert {splits[path.relative_to(data).as_posix()] for path in files} == {"test"}
    out = tmp_path / "out.json"
    words = ["explanations.py", str(model), str(data), "--images", "5", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(out)])
    explanations.main()
    facts = json.loads(out.read_text())
    assert facts["masks"]["grad_cam"] == {"images": 0, "reason": explanations.NO_MASKS}
    names = [stage["name"] for stage in facts["randomisation"]["stages"]]
    assert (names[0], names[-1]) == ("class layer", "conv1")
    assert facts["attention"]["gates"] == [0.0] * 8
    assert -1 <= facts["attention_and_grad_cam"]["correlation"] <= 1
    assert facts["ms_per_image"]["grad_cam"] > 0
    assert str(tmp_path) not in out.read_text()  # no path of a machine in a published result
    mask = np.zeros((30, 40), np.uint8)
    mask[:15] = 255
    for path in files[:2]:
        Image.fromarray(mask).save(path.parent / f"{path.stem}_segmentation.png")
    facts = explanations.measured(bundle, files, 1)
    images, _ = explanations.read(bundle, files)
    labels = bundle.embedder(images).logits["class"].argmax(1)
    half = torch.zeros(64, 64, dtype=torch.bool)
    half[:32] = True
    maps = upsample(grad_cam(bundle.embedder, images[:2], labels[:2]), 64, 64)
    expected = np.array([mask_overlap(one, half) for one in maps]).mean(axis=0)
    found = facts["masks"]["grad_cam"]
    assert found["images"] == 2
    assert found["energy_inside"] == pytest.approx(expected[0], rel=1e-4)
    assert found["mask_share"] == 0.5
