"""Scope: strangers are told from the known kind, whatever the network is worth; and the rows."""

import os
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from fixtures.scoped_model import (
    embedder_of,
    looks,
    seen,
    spots,
    strangers,
    write_model,
    write_pictures,
)
from likeness.bundle import load_bundle
from likeness.errors import UserError
from likeness.files import write_json
from likeness.inference import shards
from likeness.inference.parts import Parts
from likeness.inference.predictor import Predictor
from likeness.inference.scope import NEIGHBOURS, Scope, Seen, fit_scope, scope_of
from likeness.provenance import PROVENANCE_FILE, seal

REASON = re.compile(r"unlike the training images: score (\d+\.\d\d) > (\d+\.\d\d)")


@pytest.fixture(scope="module")
def network():
    return embedder_of(0)


@pytest.fixture(scope="module")
def known(network):
    return seen(network, spots(60, 1))


@pytest.fixture(scope="module")
def fitted(network, known):
    record, told = fit_scope(known, seen(network, spots(100, 2)), space="cosine")
    return Scope(record, known.embeddings_ND, "cosine"), told


def noise_embeddings(count, seed=0, dim=6):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_strangers_are_told_from_the_known_kind(network, fitted):
    scope, _ = fitted
    own = scope.scores(seen(network, spots(60, 3)))
    assert (own > scope.threshold).mean() <= 0.1
    for kind, pictures in strangers(20, 4).items():
        scores = scope.scores(seen(network, pictures))
        truth = [0] * len(own) + [1] * len(scores)
        assert roc_auc_score(truth, np.concatenate([own, scores])) > 0.98, kind
        assert (scores > scope.threshold).mean() >= 0.9, kind


def test_a_network_that_learnt_nothing_spoils_nothing():
    """Embeddings drawn at random say nothing; looks still do."""
    known = Seen(looks(spots(60, 1)), noise_embeddings(60, 1))
    held = Seen(looks(spots(100, 2)), noise_embeddings(100, 2))
    scope = Scope(fit_scope(known, held, space="cosine")[0], known.embeddings_ND, "cosine")
    own = scope.scores(Seen(looks(spots(60, 3)), noise_embeddings(60, 3)))
    assert (own > scope.threshold).mean() <= 0.1
    for kind, pictures in strangers(20, 4).items():
        scores = scope.scores(Seen(looks(pictures), noise_embeddings(20, 5)))
        assert (scores > scope.threshold).mean() >= 0.9, kind


def test_an_embedding_far_from_all_others_is_enough(known):
    """The looks are the known kind's; only the network sees a difference."""
    draw = np.random.default_rng(0)
    near = (np.eye(6)[0] + draw.normal(0, 0.05, (160, 6))).astype(np.float32)
    training = Seen(known.looks_NF, near[:60])
    held = Seen(looks(spots(100, 2)), near[60:])
    scope = Scope(fit_scope(training, held, space="cosine")[0], near[:60], "cosine")
    far = Seen(looks(spots(10, 3)), np.tile(np.eye(6, dtype=np.float32)[1], (10, 1)))
    assert (scope.scores(far) > 5 * scope.threshold).all()
    assert (scope.distances(far)[:, 0] < 2 * float(scope.record.units_2[0])).all()


@pytest.mark.parametrize("space", ["cosine", "euclidean", "dot"])
def test_the_score_is_the_larger_share_of_two_distances(known, space):
    """By loops over the training images."""
    held = Seen(looks(spots(30, 2)), noise_embeddings(30))
    record, told = fit_scope(known, held, space=space, kept=0.9)
    asked = Seen(looks(spots(4, 3)), noise_embeddings(4, 7))
    found = Scope(record, known.embeddings_ND, space).scores(asked)

    def unit(rows):
        return [row / np.linalg.norm(row) if space == "cosine" else row for row in rows]

    def kth(query, gallery):
        return sorted(float(np.sqrt(((query - row) ** 2).sum())) for row in gallery)[NEIGHBOURS - 1]

    origin, whitening = record.origin_F.numpy(), record.whitening_FF.numpy()

    def both(of: Seen):
        white = [(row - origin) @ whitening for row in of.looks_NF]
        gallery = [(row - origin) @ whitening for row in known.looks_NF]
        pairs = zip(white, unit(of.embeddings_ND), strict=True)
        others = unit(known.embeddings_ND)
        return [(kth(look, gallery), kth(row, others)) for look, row in pairs]

    units = [sorted(column)[26] for column in zip(*both(held), strict=True)]  # 27 of 30 within
    np.testing.assert_allclose(record.units_2.numpy(), units, rtol=1e-4)
    wanted = [max(a / units[0], b / units[1]) for a, b in both(asked)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    scores = sorted(max(a / units[0], b / units[1]) for a, b in both(held))
    assert told["threshold"] == pytest.approx(scores[26], rel=1e-4)
    assert told["validation_refused"] == 3
    assert (told["training_images"], told["validation_images"]) == (60, 30)


def test_looks_are_whitened(fitted):
    scope, _ = fitted
    covariance = np.cov(scope.known_MF.T)
    assert np.diag(covariance).max() < 1.3
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.5


@pytest.mark.parametrize(("held", "refused"), [(1, 0), (199, 0), (200, 1)])
def test_few_validation_images_are_all_kept(known, network, held, refused):
    _, told = fit_scope(known, seen(network, spots(held, 2)), space="cosine")
    assert told["validation_refused"] == refused


def test_training_images_that_are_all_the_same():
    same = Seen(np.repeat(looks(spots(1, 1)), 20, axis=0), np.ones((20, 6), np.float32))
    scope = Scope(fit_scope(same, same, space="cosine")[0], same.embeddings_ND, "cosine")
    assert scope.reasons(same) == [""] * 20
    assert all(scope.reasons(Seen(looks(strangers(3, 0)["noise"]), same.embeddings_ND[:3])))


def test_absurd_pixels_are_far_away_and_stop_nothing(fitted, known):
    scope, _ = fitted
    mad = known.looks_NF[:3].copy()
    mad[0, 4], mad[1, 0], mad[2, 2] = np.inf, np.nan, 1e38
    assert all(scope.reasons(Seen(mad, known.embeddings_ND[:3])))


@pytest.mark.parametrize(
    ("train", "val", "options", "sentence"),
    [
        (1, 5, {}, "scope_check must be off with fewer than 2 training images, got 1"),
        (5, 0, {}, "scope_check must be off without validation images, got 0"),
        (5, 5, {"kept": 1.0}, r"kept must be in \(0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_fitted(train, val, options, sentence):
    parts = (Seen(looks(spots(6, 1))[:n], noise_embeddings(n)) for n in (train, val))
    with pytest.raises(UserError, match=f"^{sentence}$"):
        fit_scope(*parts, space="cosine", **options)


# The bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("scoped") / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five of the known kind, two of each other kind, and one broken file."""
    root = tmp_path_factory.mktemp("pictures") / "in"
    write_pictures(root, {"own": spots(5, 1), **strangers(2, 4)})
    (root / "broken.png").write_bytes(b"no image")
    return root


def expected(name: str) -> str:
    if name == "broken.png":
        return "error"
    return "ok" if name.startswith("own") else "out_of_scope"


def test_the_record_survives_the_bundle(model, fitted, known):
    bundle = load_bundle(model)
    record, _ = fit_scope(known, seen(embedder_of(0), spots(40, 2)), space="cosine")
    for name, tensor in record.tensors().items():
        assert torch.equal(tensor, bundle.scope.tensors()[name]), name
    assert scope_of(bundle).threshold == float(record.threshold[0])


def test_a_model_without_a_record_checks_nothing(tmp_path, folder):
    plain = load_bundle(write_model(tmp_path / "model", scope=False))
    assert plain.scope is None
    columns = Predictor(plain, root=folder)({"path": sorted(os.listdir(folder))})
    assert set(columns["status"]) == {"ok", "error"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"origin_F": None}, "scope must be a record of origin_F, .*, got"),
        pytest.param(
            {"origin_F": torch.zeros(3)},
            r"scope.whitening_FF must be \(3, 3\), got",
            marks=pytest.mark.plain,
        ),
        ({"known_MF": torch.zeros(0, 41)}, "scope.known_MF must be"),
        ({"units_2": torch.tensor([1.0, 0.0])}, "scope.units_2 and threshold must be > 0"),
        ({"threshold": torch.tensor([torch.nan])}, "scope.threshold must be finite"),
    ],
)
def test_a_broken_record_is_refused(tmp_path, change, sentence):
    model = write_model(tmp_path / "model")
    tensors = load_file(model / "weights.safetensors")
    for name, tensor in change.items():
        tensors.pop(f"scope.{name}")
        if tensor is not None:
            tensors[f"scope.{name}"] = tensor
    save_file(tensors, model / "weights.safetensors")
    write_json(model / PROVENANCE_FILE, seal(model, {"seed": 0}))
    with pytest.raises(UserError, match=f"^{sentence}"):
        load_bundle(model)


def test_a_record_needs_its_gallery(tmp_path):
    with pytest.raises(UserError, match="scope must be beside a gallery of training embeddings"):
        write_model(tmp_path / "model", gallery=None)


# The rows


def test_strangers_get_no_label(model, folder):
    names = sorted(os.listdir(folder))
    columns = Predictor(model, batch_size=4, root=folder)({"path": names})
    plain = Predictor(replace(load_bundle(model), scope=None), root=folder)({"path": names})
    assert columns["status"].tolist() == [expected(name) for name in names]
    for row, status in enumerate(columns["status"]):
        if status == "ok":
            assert columns["label"][row] == plain["label"][row]
            assert columns["p_small"][row] == pytest.approx(plain["p_small"][row], abs=1e-6)
            continue
        assert columns["label"][row] == ""
        assert np.isnan(columns["p_large"][row])
        if status == "out_of_scope":
            score, threshold = map(float, REASON.fullmatch(columns["reason"][row]).groups())
            assert score >= threshold
            assert plain["status"][row] == "ok"


def test_embeddings_state_nothing_and_are_given(model, folder, tmp_path):
    names = sorted(os.listdir(folder))
    columns = Predictor(model, columns="embed", root=folder)({"path": names})
    assert columns["status"].tolist() == [
        "error" if name == "broken.png" else "ok" for name in names
    ]
    written = shards.embed(Predictor(model), folder, tmp_path / "out.parquet")
    assert (written.ok, written.errors, written.refused) == (13, 1, 0)


def test_tables_hold_what_calls_give(model, folder, tmp_path):
    predictor = Predictor(model, batch_size=4, root=folder)
    written = shards.predict(predictor, folder, tmp_path / "out.csv", part_rows=5)
    assert (written.rows, written.ok, written.errors, written.refused) == (14, 5, 1, 8)
    assert written.exit_code == 0
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, dtype=str)
    assert table["status"].tolist() == [expected(name) for name in table["path"]]
    refused = table[table["status"] == "out_of_scope"]
    assert all(REASON.fullmatch(reason) for reason in refused["reason"])
    assert set(refused["label"]) == set(refused["p_large"]) == {""}


def test_only_strangers_end_with_exit_code_1(model, tmp_path):
    write_pictures(tmp_path / "in", {"noise": strangers(2, 4)["noise"]})
    written = shards.predict(Predictor(model), tmp_path / "in", tmp_path / "out.csv")
    assert (written.ok, written.refused, written.exit_code) == (0, 2, 1)


def test_a_stopped_call_goes_on_to_the_same_table(model, folder, tmp_path):
    predictor = Predictor(model, batch_size=2)
    shards.predict(predictor, folder, tmp_path / "whole.csv", part_rows=4)

    def stop(done, total):
        if done > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.predict(predictor, folder, tmp_path / "o.csv", part_rows=4, on_progress=stop)
    written = shards.predict(predictor, folder, tmp_path / "o.csv", part_rows=4)
    assert written.resumed == 8
    assert (written.ok, written.errors, written.refused) == (5, 1, 8)
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_killed_after_the_table_was_in_place_the_counts_are_kept(
    model, folder, tmp_path, monkeypatch
):
    """The folder is noted as done, then removed: a call that dies in between is told again."""
    removed = shards.close

    def die(parts: Parts, ok: int, refused: int) -> None:
        monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        removed(parts, ok, refused)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "close", die)
        with pytest.raises(KeyboardInterrupt):
            shards.predict(Predictor(model), folder, tmp_path / "out.csv")
    monkeypatch.undo()
    written = shards.predict(Predictor(model), folder, tmp_path / "out.csv")
    assert (written.ok, written.errors, written.refused, written.resumed) == (5, 1, 8, 14)
