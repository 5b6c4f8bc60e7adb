"""`explain` on a network that nobody trained: what is written, and what never is."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.front_door import assert_refused, likeness
from fixtures.lesion_models import untrained
from fixtures.lesions import dicom_bytes
from likeness.bundle import load_bundle
from likeness.data.cache import load_image
from likeness.data.transforms import to_tensor
from likeness.inference.blocks import answer_prepared
from likeness.inference.predictor import Predictor
from likeness.models.explain import grad_cam, mask_overlap, upsample
from likeness_apps.skin_lesion.cases.similar import similar_cases
from likeness_apps.skin_lesion.domain import DOMAIN
from likeness_apps.skin_lesion.explain.maps import classes_to_explain, gate_sentence
from likeness_apps.skin_lesion.explain.page import explanation_page
from likeness_apps.skin_lesion.explain.picture import STRENGTH, outlined, overlay, write_picture
from likeness_apps.skin_lesion.explain.run import explain_image, prepare
from likeness_apps.skin_lesion.layouts.dicom import patient_of
from likeness_apps.skin_lesion.sample import write_sample

FILES = ["explanation.html", "explanation.json", "explanation.png"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    return write_sample(root, layout="ham10000", per_class=8, size=(60, 80))


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    return untrained(data, tmp_path_factory.mktemp("runs") / "model", attention="parallel")


def some(bundle, split, place=0):
    rows = bundle.splits
    return rows[rows["split"] == split].iloc[place]


@pytest.fixture(scope="module")
def bundle(model):
    return load_bundle(model)


@pytest.fixture(scope="module")
def explained(model, bundle, data, tmp_path_factory):
    """A test image with the training data at hand."""
    out = tmp_path_factory.mktemp("explained") / "out"
    row = some(bundle, "test")
    given = ("explain", model, data / row["path"], "--out", out, "--cases", data)
    ended = likeness(*given, application="skin-lesion")
    assert ended.code == 0, ended.err
    return out, json.loads((out / "explanation.json").read_text()), row


def facts_of(bundle, image, **options):
    """What explanation.json would say."""
    image = Path(image)
    return explain_image(prepare(DOMAIN, bundle, **options), image, image.name).facts


def test_it_answers_as_predict_does(explained, model, data):
    out, facts, row = explained
    assert sorted(path.name for path in out.iterdir()) == FILES
    said = Predictor(model)({"path": [data / row["path"]]})
    assert facts["label"] == said["label"][0]
    for name, value in facts["probabilities"].items():
        assert value == pytest.approx(float(said[f"p_{name}"][0]), abs=1e-6)
    assert facts["readout"] == {"readout": "softmax", "temperature": 2.0}
    assert facts["known_as"] == {"split": "test", "label": row["label"]}
    assert facts["status"] == "ok"
    assert facts["disclaimer"].startswith("Research only, not a medical device")


def test_the_cases_are_the_similar_cases(explained, bundle, data):
    _, facts, row = explained
    image = to_tensor(load_image(data / row["path"], bundle.preprocessing), bundle.preprocessing)
    with torch.no_grad():
        embedding = bundle.embedder.embed(image[None]).numpy()
    found = similar_cases(embedding, [row["group"]], None, bundle)
    expected = found.known.rows["path"].iloc[found.images_NK[0]].tolist()
    cases = facts["similar"]["cases"]
    assert [case["name"] for case in cases] == expected
    percentiles = [case["percentile"] for case in cases]
    assert percentiles == pytest.approx(found.percentiles_NK[0].tolist())
    labels = bundle.splits.set_index("path")["label"]
    assert [case["label"] for case in cases] == [labels[name] for name in expected]
    agreement = facts["similar"]["agreement"]
    assert agreement["with_predicted_class"] == sum(c["label"] == facts["label"] for c in cases)
    assert agreement["malignant"] == sum(case["label"] == "mel" for case in cases)
    assert all(case["picture"] for case in cases)


def test_the_maps_are_those_of_the_network(explained):
    _, facts, _ = explained
    names = [one["name"] for one in facts["maps"]]
    expected = ["attention", f"grad_cam {facts['label']}", "grad_cam mel"]
    assert names == list(dict.fromkeys(expected))
    attention = facts["maps"][0]
    assert attention["cells"] == [8, 8]  # of 64 pixels: the second stage
    assert "gate is 0" in attention["about"]
    assert 0 < attention["low"] <= attention["high"] < 1
    assert facts["maps"][1]["cells"] == [2, 2]


def test_the_page_loads_nothing_and_holds_every_picture(explained):
    out, facts, _ = explained
    page = (out / "explanation.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert page.count("<img") == 1 + len(facts["maps"]) + len(facts["similar"]["cases"])
    assert page.count("not a medical device") >= 2
    with Image.open(out / "explanation.png") as picture:
        assert picture.size[0] > 1000
        assert set(picture.info) <= {"dpi"}


def test_without_the_training_data_no_picture_of_them(bundle, data):
    row = some(bundle, "test", 1)
    made = explain_image(prepare(DOMAIN, bundle, k=3), data / row["path"], "a.jpg")
    assert len(made.facts["similar"]["cases"]) == 3
    assert not any(case["picture"] for case in made.facts["similar"]["cases"])
    page = explanation_page(made)
    assert page.count("<img") == 1 + len(made.facts["maps"])
    assert page.count("no picture") == 3


def test_an_image_of_the_training_data_never_meets_its_lesion(bundle, data, tmp_path):
    rows = bundle.splits
    training = rows[rows["split"] == "train"]
    several = training[training.duplicated("group", keep=False)].iloc[0]
    renamed = shutil.copy(data / several["path"], tmp_path / "renamed.jpg")
    facts = facts_of(bundle, renamed, k=50)
    shown = {case["name"] for case in facts["similar"]["cases"]}
    own = set(training["path"][training["group"] == several["group"]])
    assert len(own) > 1
    assert not shown & own
    assert len(shown) == training["group"].nunique() - 1
    assert facts["notes"][0].startswith("The model was trained on this very image")


def test_a_recompressed_copy_is_known_by_its_looks(bundle, data, tmp_path):
    row = some(bundle, "train")
    with Image.open(data / row["path"]) as picture:
        picture.save(tmp_path / "copy.jpg", quality=60)
    plain = facts_of(bundle, tmp_path / "copy.jpg", k=1)
    assert plain["similar"]["cases"][0]["name"] == row["path"]  # nobody can know without pictures
    shown = facts_of(bundle, tmp_path / "copy.jpg", cases=data)
    assert row["path"] not in {case["name"] for case in shown["similar"]["cases"]}
    assert shown["similar"]["same_picture_left_out"] >= 1
    assert len(shown["similar"]["cases"]) == 5


def test_other_names_are_found_by_content(bundle, data, tmp_path):
    for number, path in enumerate(sorted(data.rglob("*.jpg"))):
        place = tmp_path / "ab"[number % 2]
        place.mkdir(exist_ok=True)
        shutil.copy(path, place / f"{number}.jpg")
    facts = facts_of(bundle, data / some(bundle, "test")["path"], cases=tmp_path)
    assert all(case["picture"] for case in facts["similar"]["cases"])


def test_equal_names_of_other_pictures_show_none(bundle, data, tmp_path):
    for path in data.rglob("*.jpg"):
        (tmp_path / path.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / path.relative_to(data))
    facts = facts_of(bundle, data / some(bundle, "test")["path"], cases=tmp_path)
    assert len(facts["similar"]["cases"]) == 5
    assert not any(case["picture"] for case in facts["similar"]["cases"])


# --- masks ----------------------------------------------------------------------------------------


def test_the_overlap_is_that_of_the_class_map(bundle, data, tmp_path):
    image = shutil.copy(data / some(bundle, "test")["path"], tmp_path / "a.jpg")
    mask = np.zeros((60, 80), np.uint8)
    mask[15:45, 10:50] = 255
    Image.fromarray(mask).save(tmp_path / "a_segmentation.png")
    made = explain_image(prepare(DOMAIN, bundle), Path(image), "a.jpg")
    tensor = to_tensor(load_image(image, bundle.preprocessing), bundle.preprocessing)[None]
    cells = grad_cam(bundle.embedder, tensor, bundle.classes.index(made.facts["label"]))
    large = np.kron(mask > 0, np.ones((6, 6), bool))  # the picture is drawn at 480 x 360
    expected = mask_overlap(upsample(cells, *large.shape)[0], torch.from_numpy(large))
    found = made.facts["maps"][1]["mask_overlap"]
    assert found["energy_inside"] == pytest.approx(expected.energy_inside, abs=1e-5)
    assert found["mask_share"] == pytest.approx(0.25, abs=1e-9)
    assert made.facts["mask"] == {"there": True, "reason": ""}
    assert "of it lies on the lesion" in explanation_page(made)


def test_a_mask_of_another_image_is_told_of(bundle, data, tmp_path):
    image = shutil.copy(data / some(bundle, "test")["path"], tmp_path / "a.jpg")
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(tmp_path / "a_segmentation.png")
    facts = facts_of(bundle, image)
    assert not facts["mask"]["there"]
    assert any("10 x 10 pixels" in note for note in facts["notes"])
    assert facts["maps"][0]["mask_overlap"] is None


# --- other inputs ---------------------------------------------------------------------------------


def test_a_folder_gives_one_page_for_each(model, bundle, data, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for place, name in enumerate(("one.jpg", "two.jpg")):
        shutil.copy(data / some(bundle, "test", place)["path"], folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    given = ("explain", model, folder, "--out", tmp_path / "out")
    ended = likeness(*given, application="skin-lesion")
    assert ended.code == 0, ended.err
    places = sorted((tmp_path / "out").iterdir())
    told = [json.loads((place / "explanation.json").read_text()) for place in places]
    assert sorted(facts["status"] for facts in told) == ["error", "ok", "ok"]
    assert "cannot be explained" in ended.out
    for place, facts in zip(places, told, strict=True):
        files = sorted(path.name for path in place.iterdir())
        assert files == (FILES if facts["status"] == "ok" else FILES[1:2])


def test_no_name_or_comment_of_the_file_gets_out(model, bundle, data, tmp_path):
    image = tmp_path / "Erika Mustermann 1964.jpg"
    exif = Image.Exif()
    exif[0x010E], exif[0x9286] = "MUSTERMANN", "MUSTERMANN"
    with Image.open(data / some(bundle, "test")["path"]) as picture:
        picture.save(image, exif=exif, comment=b"MUSTERMANN")
    ended = likeness("explain", model, image, "--out", tmp_path / "out", application="skin-lesion")
    assert ended.code == 0, ended.err
    written = b"".join((tmp_path / "out" / name).read_bytes() for name in FILES)
    assert b"mustermann" not in (written + ended.out.encode() + ended.err.encode()).lower()


def test_a_dicom_image_and_its_patient(bundle, data, tmp_path, monkeypatch):
    monkeypatch.setenv("LIKENESS_SALT", "a salt of sixteen letters")
    file = tmp_path / "image.dcm"
    with Image.open(data / some(bundle, "test")["path"]) as picture:
        pixels = np.asarray(picture)
    file.write_bytes(dicom_bytes(pixels, PatientID="4711", PatientName="Mustermann^Erika"))
    patient = patient_of(file)
    assert len(patient) == 16
    assert patient_of(data / some(bundle, "test")["path"]) == ""
    before = facts_of(bundle, file, k=1)["similar"]["cases"][0]["name"]
    # The same patient is in the training data: the nearest case so far was theirs.
    group = bundle.splits.set_index("path")["group"][before]
    theirs = bundle.splits.assign(group=bundle.splits["group"].replace(group, patient))
    facts = facts_of(replace(bundle, splits=theirs), file, k=50)
    assert before not in {case["name"] for case in facts["similar"]["cases"]}
    assert "ustermann" not in json.dumps(facts)


def test_an_image_out_of_scope_has_no_answer_and_is_explained_all_the_same(
    bundle, data, monkeypatch, tmp_path
):
    plain = facts_of(bundle, data / some(bundle, "test")["path"])

    def outside(*given):
        for block in answer_prepared(*given):
            yield replace(block, outside=["it looks like nothing known"])

    monkeypatch.setattr("likeness_apps.skin_lesion.explain.run.answer_prepared", outside)
    made = explain_image(prepare(DOMAIN, bundle), data / some(bundle, "test")["path"], "a.jpg")
    facts = made.facts
    assert (facts["status"], facts["label"], facts["probabilities"]) == ("out_of_scope", "", {})
    assert any("it looks like nothing known" in note for note in facts["notes"])
    assert [one["name"] for one in facts["maps"]] == [one["name"] for one in plain["maps"]]
    assert facts["similar"]["cases"] == plain["similar"]["cases"]
    assert facts["similar"]["agreement"]["with_predicted_class"] is None
    assert "No answer" in explanation_page(made)
    write_picture(tmp_path / "a.png", made)


def test_pictures_with_letters_in_them_are_not_shown(bundle, data):
    suspicious = replace(DOMAIN, remarks_on=lambda pixels: ["letters"])
    asked = prepare(suspicious, bundle, cases=data)
    made = explain_image(asked, data / some(bundle, "test")["path"], "a.jpg")
    assert (made.picture_HW3 == made.picture_HW3[0, 0]).all()
    assert any(note.startswith("Letters may be burned into") for note in made.facts["notes"])
    assert not any(case["picture"] for case in made.facts["similar"]["cases"])


# --- other models ---------------------------------------------------------------------------------


def test_a_model_without_attention_class_layer_and_gallery(data, tmp_path):
    bundle = load_bundle(untrained(data, tmp_path / "a", logits=False, keep_gallery=False))
    image = data / some(bundle, "test")["path"]
    made = explain_image(prepare(DOMAIN, bundle, cases=data), image, "a.jpg")
    facts = made.facts
    notes = " ".join(facts["notes"])
    assert facts["maps"] == []
    assert facts["readout"]["readout"] == "nearest_centre"
    assert set(facts["probabilities"]) == {"bkl", "mel", "nv"}
    assert "no spatial attention of its own" in notes
    assert "no class layer" in notes
    assert "No similar cases: model must keep its training embeddings" in notes
    assert "None can be shown" in explanation_page(made)
    write_picture(tmp_path / "a.png", made)
    assert (tmp_path / "a.png").is_file()


def test_the_gate_decides_what_bright_means():
    assert "keeps" in gate_sentence(None)
    assert "amplifies what it sees there, by 25.0% at most" in gate_sentence(0.25)
    assert "damps what it sees there, by 0.1% at most" in gate_sentence(-0.001)
    assert "nothing of this attention" in gate_sentence(0.0)


@pytest.mark.parametrize(
    ("classes", "probabilities", "predicted", "expected"),
    [
        (["mel", "nv"], [0.2, 0.8], 1, [1, 0]),
        (["mel", "nv"], [0.8, 0.2], 0, [0]),
        (["bcc", "Melanoma", "nv"], [0.5, 0.1, 0.4], 2, [2, 1]),  # melanoma before the likelier
        (["bcc", "akiec", "nv"], [0.2, 0.3, 0.5], 2, [2, 1]),
        (["benign", "malignant"], [0.9, 0.1], 0, [0, 1]),
        (["cat", "dog"], [0.9, 0.1], 0, [0]),  # nobody knows what is malignant
    ],
)
def test_the_class_that_must_not_be_missed(classes, probabilities, predicted, expected):
    assert classes_to_explain(classes, np.array(probabilities), predicted) == expected


def test_an_overlay_by_hand():
    picture = np.full((4, 4, 3), 200, np.uint8)
    values = np.zeros((4, 4))
    values[1, 1] = 1.0
    drawn = overlay(picture, values)
    assert (drawn[0] == 200).all()  # where a map is lowest, the picture is bare
    yellow = np.array([0.993248, 0.906157, 0.143936]) * 255  # viridis at 1
    np.testing.assert_allclose(drawn[1, 1], 200 * (1 - STRENGTH) + STRENGTH * yellow, atol=1)
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    lined = outlined(np.zeros((9, 9, 3), np.uint8), mask)
    assert lined[4, 4].sum() == 0
    assert (lined[4, 5] == 255).all()
    assert (lined[4, 7] == 0).all()


# --- mistakes -------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(model, bundle, data, tmp_path):
    image = data / some(bundle, "test")["path"]
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "a").write_text("")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(51):
        (many / f"{number}.jpg").write_bytes(b"")
    out = tmp_path / "out"
    for given, sentence in (
        ((model, image, "--out", occupied), "out must be a new or empty directory"),
        ((model, broken, "--out", out), "image must be readable, got"),
        ((model, many, "--out", out), "image must be one image or a folder of at most 50, got 51"),
        ((model, tmp_path / "none.jpg", "--out", out), "input must be an existing folder, image"),
    ):
        assert_refused(likeness("explain", *given, application="skin-lesion"), sentence)
    assert not out.exists()
