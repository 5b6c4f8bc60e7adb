"""The Predictor: the bundle's own numbers, whatever carries the images; bad ones are rows."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fixtures.dark_lines import skin_like
from fixtures.scenes import save
from likeness.bundle import Bundle, Gallery, load_bundle, save_bundle
from likeness.card import SECTIONS
from likeness.data.decode import decode
from likeness.data.steps import CropDarkBorder, CropToMask, ShadesOfGrey, shades_of_grey
from likeness.data.transforms import Preprocessing
from likeness.errors import UserError
from likeness.inference import shards
from likeness.inference.blocks import answer_paths
from likeness.inference.hashed import answer_hashed
from likeness.inference.predictor import Predictor
from likeness.inference.readers import available_readouts, reader_of
from likeness.models import ModelSpec, build_embedder

CLASSES = ["beach", "forest", "ü, river"]
MEAN, STD = [0.2, 0.3, 0.4], [0.5, 0.6, 0.7]
SIZE = 16


def write_bundle(directory, *, space="cosine", classes=3, metrics=None, readouts=True, size=SIZE):
    torch.manual_seed(5)
    spec = ModelSpec(
        backbone="resnet18", stem="small", image_size=size, embedding_dim=6, space=space
    )
    generator = torch.Generator().manual_seed(6)
    gallery = Gallery(torch.randn(12, 6, generator=generator), torch.arange(12) % 3)
    save_bundle(
        directory,
        build_embedder(spec, num_classes=classes),
        config={"model": spec.model_dump(mode="json")},
        classes=CLASSES,
        preprocessing=Preprocessing(bands=3, size=size, mean=MEAN, std=STD),
        splits=pd.DataFrame(columns=["path", "label", "split", "group", "sha256"]),
        metrics=metrics or {},
        provenance={"data_licence": "research only"},
        card="# Card\n\n" + "\n\n".join(f"## {heading}\n\nSaid." for heading in SECTIONS) + "\n",
        centres_CD=torch.randn(3, 6, generator=generator) if readouts else None,
        gallery=gallery if readouts else None,
    )
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture(scope="module")
def bundle(model):
    return load_bundle(model)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Nine files, of which two are no usable image."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(6):
        pixels = generator.integers(0, 256, (SIZE + index, SIZE + 2 * index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    (root / "0b.png").write_bytes((root / "0.png").read_bytes()[:60])
    (root / "2b.png").write_bytes(b"")
    (root / "4.png").rename(root / "4.jpg")  # a PNG by content
    Image.fromarray(generator.integers(0, 256, (20, 20), dtype=np.uint8)).save(root / "9.png")
    return root


def by_hand(bundle: Bundle, path, size=(SIZE, SIZE)):
    """One image at a time, with arithmetic of our own around the network."""
    pixels = decode(path)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    planes = [
        (np.asarray(resized)[..., band] / 255.0 - MEAN[band]) / STD[band] for band in range(3)
    ]
    with torch.no_grad():
        outputs = bundle.embedder(torch.tensor(np.stack(planes), dtype=torch.float32)[None])
    return outputs.embeddings["embedding"][0].numpy(), outputs.logits["class"][0].numpy()


def test_the_numbers_are_the_networks_own(bundle, images):
    names = sorted(os.listdir(images))
    columns = Predictor(bundle, batch_size=4, root=images)({"path": names})
    assert columns["path"] == names
    for row, name in enumerate(names):
        if name in ("0b.png", "2b.png"):
            assert columns["status"][row] == "error"
            assert columns["reason"][row]
            assert columns["label"][row] == ""
            assert np.isnan(columns["p_beach"][row])
            continue
        _, logits = by_hand(bundle, images / name)
        powers = np.exp(logits.astype(float))
        wanted = powers / powers.sum()
        assert (columns["status"][row], columns["reason"][row]) == ("ok", "")
        mine = [columns[f"p_{label}"][row] for label in CLASSES]
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
        assert columns["label"][row] == CLASSES[wanted.argmax()]
        assert columns["model_id"][row] == bundle.model_id


@pytest.mark.parametrize("space", ["cosine", "euclidean"])
def test_embeddings_are_what_search_compares(tmp_path, images, space):
    bundle = load_bundle(write_bundle(tmp_path / "model", space=space))
    columns = Predictor(bundle, columns="embed", root=images)({"path": ["1.png", "2b.png"]})
    raw, _ = by_hand(bundle, images / "1.png")
    wanted = raw / np.linalg.norm(raw) if space == "cosine" else raw
    np.testing.assert_allclose(columns["embedding"][0], wanted, atol=1e-5)
    assert np.isnan(columns["embedding"][1]).all()
    assert columns["embedding"].dtype == np.float32


def test_images_in_memory_and_files_agree(bundle, images):
    names = [name for name in sorted(os.listdir(images)) if name not in ("0b.png", "2b.png")]
    predictor = Predictor(bundle, root=images)
    from_files = predictor({"path": names})
    from_memory = predictor.predict_images([decode(images / name) for name in names])
    for label in CLASSES:
        np.testing.assert_array_equal(from_files[f"p_{label}"], from_memory[f"p_{label}"])
    assert "path" not in from_memory


def test_images_that_are_no_squares(tmp_path, images):
    bundle = load_bundle(write_bundle(tmp_path / "model", size=(32, 16)))
    predictor = Predictor(bundle, columns="embed", batch_size=4)
    assert predictor.prepare(images / "0.png").shape == (3, 32, 16)
    names = ["0.png", "1.png", "2.png", "9.png"]
    of_files = predictor({"path": [str(images / name) for name in names]})["embedding"]
    of_arrays = predictor.predict_images([decode(images / name) for name in names])["embedding"]
    np.testing.assert_allclose(of_arrays, of_files, atol=1e-6)
    for name, found in zip(names, of_files, strict=True):
        raw, _ = by_hand(bundle, images / name, size=(32, 16))
        np.testing.assert_allclose(found, raw / np.linalg.norm(raw), atol=1e-5)
    mirrored = Predictor(bundle, views="flips").predict_images([decode(images / "9.png")])
    assert mirrored["status"].tolist() == ["ok"]
    with pytest.raises(UserError, match=r"^views must be one or flips for images of 32 x 16 pix"):
        Predictor(bundle, views="dihedral")


def test_steps_of_the_bundle_are_done_wherever_the_pixels_come_from(bundle, tmp_path):
    """Files, bytes with the file's name, and arrays; a mask lies beside the first picture."""
    pixels = skin_like(np.random.default_rng(0), SIZE, SIZE + 8)
    pixels[:, :8] = 0
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[2:10, 12:22] = 255
    save(tmp_path / "0.png", pixels)
    save(tmp_path / "0_segmentation.png", mask)
    save(tmp_path / "1.png", pixels)
    save(tmp_path / "2.png", np.zeros((9, 9, 3), np.uint8))
    save(tmp_path / "2_segmentation.png", mask)
    steps = (ShadesOfGrey(), CropDarkBorder(), CropToMask(margin=0.0))
    made = bundle.preprocessing.model_copy(update={"steps": steps})
    predictor = Predictor(replace(bundle, preprocessing=made), columns="embed", root=tmp_path)
    names = [f"{number}.png" for number in range(3)]
    found = predictor({"path": names})
    assert found["status"].tolist() == ["ok", "ok", "error"]
    assert "its mask has 24 x 16 pixels, the image 9 x 9" in found["reason"][2]
    by_bytes = answer_hashed(predictor, names, tmp_path).blocks[0]
    np.testing.assert_allclose(by_bytes.embeddings_BD, found["embedding"], atol=1e-5)
    (whole,) = predictor.predict_images([pixels])["embedding"]
    np.testing.assert_allclose(whole, found["embedding"][1], atol=1e-5)
    grey = shades_of_grey(pixels)
    plain = Predictor(bundle, columns="embed")
    for row, part in enumerate((grey[2:10, 12:22], grey[:, 8:])):
        (wanted,) = plain.predict_images([part])["embedding"]
        np.testing.assert_allclose(found["embedding"][row], wanted, atol=1e-5)


def test_arrays_that_do_not_fit_are_rows(bundle):
    good = np.zeros((20, 30, 3), np.uint8)
    wrong = [good[..., 0], good[..., :2], good.astype(np.int64), np.zeros((0, 3, 3), np.uint8)]
    columns = Predictor(bundle).predict_images([good, *wrong, good])
    assert columns["status"].tolist() == ["ok", "error", "error", "error", "error", "ok"]
    assert "2 bands where 3 are expected" in columns["reason"][2]
    assert columns["p_forest"][0] == columns["p_forest"][5]


def test_no_images_give_no_rows(bundle):
    columns = Predictor(bundle)({"path": [], "other": []})
    assert list(columns)[:2] == ["path", "other"]
    assert all(len(column) == 0 for column in columns.values())


def test_pickled_it_answers_the_same(bundle, images):
    predictor = Predictor(bundle, root=images, readout="knn")
    again = pickle.loads(pickle.dumps(predictor))  # noqa: S301 our own object
    batch = {"path": ["1.png", "0b.png", "3.png"]}
    mine, other = predictor(batch), again(batch)
    assert list(mine) == list(other)
    for name, column in mine.items():
        np.testing.assert_array_equal(column, other[name])


def test_a_model_given_by_path(model, bundle, images):
    batch = {"path": ["1.png"]}
    mine = Predictor(model, root=images)(batch)
    np.testing.assert_array_equal(mine["p_beach"], Predictor(bundle, root=images)(batch)["p_beach"])


def test_it_leaves_the_bundle_as_it_was(bundle):
    bundle.embedder.train()
    Predictor(bundle)
    assert bundle.embedder.training
    bundle.embedder.eval()


def test_readouts_of_a_bundle(bundle, images):
    assert available_readouts(bundle) == ["softmax", "nearest_centre", "knn"]
    embeddings, logits = zip(*(by_hand(bundle, images / f"{i}.png") for i in range(3)), strict=True)
    embeddings, logits = np.stack(embeddings), np.stack(logits)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    cosines = unit @ (bundle.centres_CD / bundle.centres_CD.norm(dim=1, keepdim=True)).numpy().T
    read = reader_of(bundle, "nearest_centre")(embeddings, logits)
    np.testing.assert_array_equal(read.labels_N, cosines.argmax(axis=1))
    powers = np.exp(cosines)
    np.testing.assert_allclose(read.scores_NC, powers / powers.sum(1, keepdims=True), atol=1e-5)

    gallery = bundle.gallery.embeddings_MD.numpy()
    near = unit @ (gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T
    votes = bundle.gallery.labels_M.numpy()[np.argsort(-near, axis=1)[:, :4]]
    read = reader_of(bundle, "knn", k=4)(embeddings, logits)
    for label in range(3):
        np.testing.assert_allclose(read.scores_NC[:, label], (votes == label).mean(axis=1))

    columns = Predictor(bundle, readout="knn", k=4, root=images)({"path": ["0.png", "1.png"]})
    np.testing.assert_allclose(columns["p_beach"], read.scores_NC[:2, 0], atol=1e-6)


def test_the_recorded_temperature_is_applied(bundle, images):
    hot = replace(bundle, metrics={"temperature": {"softmax": 4.0}})
    batch = {"path": ["1.png", "2.png", "3.png"]}
    plain = Predictor(bundle, root=images)(batch)
    cooled = Predictor(hot, root=images)(batch)
    assert cooled["label"].tolist() == plain["label"].tolist()
    first, second = (np.stack([c[f"p_{label}"] for label in CLASSES]) for c in (plain, cooled))
    powers = first.astype(float) ** 0.25  # softmax(z / 4) is softmax(z) ** (1 / 4), renormalised
    np.testing.assert_allclose(second, powers / powers.sum(axis=0), atol=1e-5)


def test_a_model_without_a_class_layer(tmp_path, images):
    predictor = Predictor(write_bundle(tmp_path / "centres", classes=0), root=images)
    assert predictor.settings["readout"] == "nearest_centre"
    columns = predictor({"path": ["1.png", "0b.png"]})
    assert sum(columns[f"p_{label}"][0] for label in CLASSES) == pytest.approx(1, abs=1e-6)
    bare = Predictor(write_bundle(tmp_path / "bare", classes=0, readouts=False), root=images)
    with pytest.raises(UserError, match="model must be one with classes or centres, got"):
        bare({"path": ["1.png"]})
    written = shards.embed(bare, images, tmp_path / "e.npy")
    assert (written.ok, written.errors) == (7, 2)


class Broken(torch.nn.Module):
    """Gives nan for images darker than the mean, and zeros for black ones."""

    def __init__(self, embedder):
        super().__init__()
        self.inner = embedder
        self.embedding_dim, self.num_classes = embedder.embedding_dim, embedder.num_classes

    def forward(self, images):
        outputs = self.inner(images)
        level = images.mean(dim=(1, 2, 3))
        embeddings = outputs.embeddings["embedding"].clone()
        embeddings[level < 0.3] = float("nan")
        embeddings[level < -0.3] = 0.0
        return outputs._replace(embeddings={"embedding": embeddings})


def test_an_unusable_answer_is_a_failed_row(bundle):
    predictor = Predictor(bundle)
    predictor.embedder = Broken(predictor.embedder).eval()
    white, grey, black = (np.full((SIZE, SIZE, 3), level, np.uint8) for level in (255, 100, 0))
    columns = predictor.predict_images([white, grey, black, white])
    assert columns["status"].tolist() == ["ok", "error", "error", "ok"]
    assert "not finite, or its embedding is zero" in columns["reason"][1]
    assert np.isnan(columns["p_beach"][1:3]).all()


def test_every_file_bad(bundle, images):
    blocks = list(answer_paths(Predictor(bundle, batch_size=2), ["0b.png", "2b.png", ""], images))
    assert [len(block.ok_B) for block in blocks] == [2, 1]
    assert not any(block.ok_B.any() for block in blocks)
    assert blocks[0].logits_BL.shape == (2, 3)
    assert blocks[1].reasons == ["no path"]
    assert blocks[0].embeddings_BD.shape == (2, 6)


def test_blocks_carry_what_an_evaluation_needs(bundle, images):
    names = ["0.png", "0b.png", "1.png", "3.png"]
    blocks = list(answer_paths(Predictor(bundle, batch_size=3), names, images))
    logits = np.concatenate([block.logits_BL for block in blocks])
    embeddings = np.concatenate([block.embeddings_BD for block in blocks])
    labels = [name for block in blocks for name in block.labels]
    assert labels[1] == ""
    assert np.isnan(logits[1]).all()
    for row in (0, 2, 3):
        raw, wanted = by_hand(bundle, images / names[row])
        np.testing.assert_allclose(logits[row], wanted, atol=1e-4)
        np.testing.assert_allclose(embeddings[row], raw / np.linalg.norm(raw), atol=1e-5)
        assert labels[row] == CLASSES[wanted.argmax()]


def test_shards_and_calls_agree(bundle, images, tmp_path):
    predictor = Predictor(bundle, batch_size=3, root=images)
    shards.predict(predictor, images, tmp_path / "p.parquet", part_rows=3)
    table = pq.read_table(tmp_path / "p.parquet")
    columns = predictor({"path": sorted(os.listdir(images))})
    for name in ("path", "status", "reason", "label", "model_id"):
        assert table[name].to_pylist() == list(columns[name]), name
    for label in CLASSES:
        np.testing.assert_array_equal(table[f"p_{label}"].to_numpy(), columns[f"p_{label}"])
    assert table.schema.metadata[b"data_licence"] == b"research only"
    assert table.schema.metadata[b"normalised"] == b"true"


@pytest.mark.parametrize(("found", "device"), [(None, "cpu"), (torch.device("meta"), "meta")])
def test_auto_takes_an_accelerator_where_there_is_one(bundle, monkeypatch, found, device):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    predictor = Predictor(bundle, device="auto")
    assert predictor.device == device
    assert {weight.device.type for weight in predictor.embedder.parameters()} == {device}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"threads": 0}, "threads must be >= 1, got 0"),
        ({"readout": "knn", "k": 13}, "k must be from 1 to the gallery's size 12, got 13"),
        ({"device": "cuda:99"}, "device must be one that this machine has, got 'cuda:99'"),
        ({"device": "toaster"}, "device must be one that this machine has, got 'toaster'"),
    ],
)
def test_mistakes_are_one_sentence(bundle, options, sentence):
    with pytest.raises(UserError, match=f"^{sentence}$"):
        Predictor(bundle, **options)


def test_a_readout_that_is_not_there(tmp_path):
    bundle = load_bundle(write_bundle(tmp_path / "m", readouts=False))
    with pytest.raises(UserError, match=r"readout must be one that the model has \(softmax\), got"):
        Predictor(bundle, readout="knn")


def test_a_batch_without_paths(bundle):
    with pytest.raises(UserError, match=r"batch must be columns with 'path', got \['image'\]"):
        Predictor(bundle)({"image": ["1.png"]})


@pytest.mark.parametrize("record", [1.5, {"softmax": 0.0}, {"softmax": float("nan")}])
def test_a_broken_temperature_is_refused(bundle, record):
    with pytest.raises(UserError, match=r"^metrics\.temperature.* must be "):
        Predictor(replace(bundle, metrics={"temperature": record}))
