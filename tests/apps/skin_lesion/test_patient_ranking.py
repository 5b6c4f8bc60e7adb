"""Top-k sensitivity per patient against a loop over patients and random breaking of ties."""

from __future__ import annotations

import numpy as np
import pytest

from likeness.errors import UserError
from likeness.evaluation.resampling import Bootstrap
from likeness_apps.skin_lesion.patient_ranking import NO_MALIGNANT, top_k_per_patient

QUICK = Bootstrap(50)


def lesions(seed=0, ties=False):
    """40 patients with 1 to 30 lesions, some without a malignant one."""
    rng = np.random.default_rng(seed)
    patients = np.repeat([f"IP_{n}" for n in range(40)], rng.integers(1, 31, size=40))
    truth = rng.random(len(patients)) < 0.06
    scores = rng.random(len(patients)) + 0.5 * truth
    return truth, np.round(scores, 1) if ties else scores, patients


def by_loop(truth, scores, patients, k):
    """(found, malignant) of every patient with malignant lesions; equal scores in file order."""
    counts = []
    for patient in sorted(set(patients)):
        rows = [i for i in range(len(truth)) if patients[i] == patient]
        if any(truth[i] for i in rows):
            best = sorted(rows, key=lambda i: -scores[i])[:k]
            counts.append((sum(truth[i] for i in best), sum(truth[i] for i in rows)))
    return counts


@pytest.mark.parametrize("k", [1, 5, 15])
def test_both_figures_equal_a_loop(k):
    truth, scores, patients = lesions()
    counts = by_loop(truth, scores, patients, k)
    found = top_k_per_patient(truth, scores, patients, k=k, bootstrap=QUICK)
    pooled = sum(hits for hits, _ in counts) / sum(total for _, total in counts)
    assert found.sensitivity.value == pytest.approx(pooled)
    assert found.sensitivity.count == truth.sum()
    assert found.patient_mean.value == pytest.approx(np.mean([h / t for h, t in counts]))
    assert found.patient_mean.count == len(counts)
    assert found.patient_mean.skipped == {NO_MALIGNANT: 40 - len(counts)}
    assert found.tied == 0
    ill = {patient for patient, is_ill in zip(patients, truth, strict=True) if is_ill}
    assert found.longer == sum((patients == patient).sum() > k for patient in ill)


def test_ties_at_the_cut_are_worth_their_chance():
    """The mean over 144 random orders of equal scores, within 4 standard errors."""
    truth, scores, patients = lesions(3, ties=True)
    found = top_k_per_patient(truth, scores, patients, k=3, bootstrap=QUICK)
    assert found.tied > 3
    rng = np.random.default_rng(0)
    values = []
    for _ in range(144):
        order = rng.permutation(len(truth))
        counts = by_loop(truth[order], scores[order], patients[order], 3)
        values.append(sum(hits for hits, _ in counts) / sum(total for _, total in counts))
    assert found.sensitivity.value == pytest.approx(np.mean(values), abs=4 * np.std(values) / 12)


def test_closed_forms():
    patients = np.repeat(["a", "b"], 4)
    truth = np.array([1, 0, 0, 0, 1, 1, 0, 0])
    scores = np.array([4.0, 3, 2, 1, 1, 2, 3, 4])
    found = top_k_per_patient(truth, scores, patients, k=1, bootstrap=QUICK)
    assert (found.sensitivity.value, found.patient_mean.value) == (pytest.approx(1 / 3), 0.5)
    constant = top_k_per_patient(truth, np.zeros(8), patients, k=3, bootstrap=QUICK)
    assert constant.sensitivity.value == pytest.approx(0.75)
    assert constant.tied == 2
    everything = top_k_per_patient(truth, scores, patients, k=4, bootstrap=QUICK)
    assert (everything.sensitivity.value, everything.longer) == (1.0, 0)


def test_interval_is_a_literal_bootstrap_over_patients():
    truth, scores, patients = lesions(1)
    counts = np.array(by_loop(truth, scores, patients, 5))
    found = top_k_per_patient(truth, scores, patients, k=5, bootstrap=Bootstrap(300, seed=4))
    draws = np.random.default_rng(4).integers(len(counts), size=(300, len(counts)))
    shares = [counts[draw, 0].sum() / counts[draw, 1].sum() for draw in draws]
    ends = tuple(np.quantile(shares, [0.025, 0.975]))
    # `np.unique` sorts patients as `sorted` does, so the draws are the same.
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx(ends)


def test_order_of_lesions_does_not_matter():
    truth, scores, patients = lesions(2, ties=True)
    order = np.random.default_rng(5).permutation(len(truth))
    first = top_k_per_patient(truth, scores, patients, k=4, bootstrap=QUICK)
    again = top_k_per_patient(truth[order], scores[order], patients[order], k=4, bootstrap=QUICK)
    assert again.sensitivity.value == pytest.approx(first.sensitivity.value)
    assert (again.tied, again.longer) == (first.tied, first.longer)


def test_without_malignant_lesions_it_is_undefined():
    found = top_k_per_patient(np.zeros(3, int), np.arange(3.0), np.array(["a", "a", "b"]))
    assert np.isnan([found.sensitivity.value, found.patient_mean.value]).all()
    assert found.sensitivity.skipped == {NO_MALIGNANT: 2}
    assert (found.longer, found.tied) == (0, 0)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"^k must be >= 1, got 0"):
        top_k_per_patient(np.array([1]), np.array([0.5]), np.array(["a"]), k=0)
    with pytest.raises(UserError, match=r"^patients must be 1 names, got 2"):
        top_k_per_patient(np.array([1]), np.array([0.5]), np.array(["a", "b"]))
