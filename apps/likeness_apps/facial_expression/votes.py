"""What several annotators said of a picture: labels, distributions, and how far they agree.

FER+ asked ten taggers for one of ten answers: the eight expressions, `unknown`, and `nf` (not a
face). Two rules make one label of their votes.

- Ours (`judge`): the answer with the most votes, if no other has as many. Two that share the first
  place are a tie; `unknown` and `nf` are outcomes, no labels.
- The authors' (`official_shares`; read in their code, microsoft/FERPlus): an answer that only one
  tagger gave does not count; then, for a label, an answer needs more than half of what is left.

Legend: N pictures, A the ten answers, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from likeness.errors import UserError, require
from likeness_apps.facial_expression.expressions import EXPRESSIONS

UNKNOWN, NOT_A_FACE = "unknown", "nf"
ANSWERS = (*EXPRESSIONS, UNKNOWN, NOT_A_FACE)
COLUMNS = tuple(f"votes_{answer}" for answer in ANSWERS)  # of a manifest
LABEL, TIE, NO_VOTES = "label", "tie", "no votes"  # outcomes beside `unknown` and `nf`
Mode = Literal["majority", "probability", "multi_target"]

_FACES = len(EXPRESSIONS)
_ENOUGH, _AT_MOST = 0.75, 3  # probability: the votes that are looked for, by how many expressions
_SHARE = 0.3  # multi_target: of the votes, that makes an expression count


def votes_of(rows: pd.DataFrame) -> Int64[np.ndarray, "N A"]:
    """The votes in a manifest's rows, in the order of `ANSWERS`."""
    votes_NA: np.ndarray = rows[list(COLUMNS)].to_numpy(np.int64)
    return votes_NA


def read_votes(cells: Sequence[str], where: str) -> list[int]:
    """Ten cells of a table as numbers of votes; `4` and `4.0` are the same.

    Raises:
        UserError: if they are not ten whole numbers >= 0; `where` says where they stand.
    """
    try:
        votes = [float(cell) for cell in cells]
    except ValueError:
        votes = []
    good = len(votes) == len(ANSWERS) and all(vote >= 0 and vote % 1 == 0 for vote in votes)
    rule = f"{len(ANSWERS)} whole numbers >= 0"
    require(good, f"votes in {where}", rule, ",".join(cells))
    return [int(vote) for vote in votes]


def judge(votes_NA: Int64[np.ndarray, "N A"]) -> tuple[list[str], list[str]]:
    """One label for each picture, by our rule.

    Returns:
        The labels ("" = none), and the outcomes: `label`, `tie`, `unknown`, `nf` or `no votes`.
    """
    first_N, alone_N = _first(votes_NA)
    labels, outcomes = [], []
    for first, alone, total in zip(first_N, alone_N, votes_NA.sum(axis=1), strict=True):
        outcome = LABEL if first < _FACES else ANSWERS[first]
        if not alone:
            outcome = TIE if total else NO_VOTES
        outcomes.append(outcome)
        labels.append(ANSWERS[first] if outcome == LABEL else "")
    return labels, outcomes


def official_labels(votes_NA: Int64[np.ndarray, "N A"], mode: Mode = "majority") -> list[str]:
    """One label for each picture by a rule of the authors of FER+; "" = none.

    The expression that counts most, the first of equals; see `official_shares`.
    """
    shares_NC = official_shares(votes_NA, mode)
    chosen_N = shares_NC.argmax(axis=1)
    return [
        EXPRESSIONS[chosen] if shares_C.any() else ""
        for chosen, shares_C in zip(chosen_N, shares_NC, strict=True)
    ]


def official_shares(
    votes_NA: Int64[np.ndarray, "N A"], mode: Mode
) -> Float64[np.ndarray, "N {len(EXPRESSIONS)}"]:
    """What each expression counts for a picture, by the rules of the authors of FER+.

    First, answers of a single tagger are removed. Then an expression counts as many votes as it
    has, if by the mode it is

    - majority: alone more than half of the votes;
    - probability: one of the most frequent answers that together have 75 % of the votes, at most
      three. Equals are taken together; where four come so, or `unknown` or `nf` comes first, or
      they have no more than half of the votes, none counts;
    - multi_target: at least 30 % of the votes; if those have no more than half, none counts.

    Args:
        votes_NA: in the order of `ANSWERS`.
        mode: as in the authors' paper (Barsoum et al. 2016).

    Returns:
        Rows that sum to 1 in the order of `EXPRESSIONS`; a row of zeros if the authors leave the
        picture out.
    """
    rules = {"majority": _by_majority, "probability": _by_probability, "multi_target": _by_share}
    require(mode in rules, "mode", f"one of {', '.join(rules)}", mode)
    heard_NA = np.where(votes_NA > 1, votes_NA, 0)
    counted = [rules[mode](heard_A) for heard_A in heard_NA]
    counted_NA = np.array(counted, dtype=np.float64).reshape(-1, len(ANSWERS))
    left_out_N = counted_NA.argmax(axis=1) >= _FACES  # the first of equals is an expression
    counts_NC = np.where(left_out_N[:, None], 0.0, counted_NA[:, :_FACES])
    total_N1 = counts_NC.sum(axis=1, keepdims=True)
    shares_NC: np.ndarray = counts_NC / np.where(total_N1 > 0, total_N1, 1.0)
    return shares_NC


def distributions(rows: pd.DataFrame, classes: Sequence[str]) -> Float64[np.ndarray, "N C"] | None:
    """Which share of the votes for one of the classes each class got, as `Domain` needs it.

    All votes count, also those of a single tagger; votes for other answers do not.

    Args:
        rows: of a manifest.
        classes: C expressions.

    Returns:
        Rows that sum to 1; None if the set has no votes.

    Raises:
        UserError: if a class is no expression, or a picture has no vote for any of the classes.
    """
    if not set(COLUMNS) <= set(rows.columns):
        return None
    for name in classes:
        require(name in EXPRESSIONS, "class", f"one of {', '.join(EXPRESSIONS)}", name)
    votes_NC = votes_of(rows)[:, [EXPRESSIONS.index(name) for name in classes]]
    total_N1 = votes_NC.sum(axis=1, keepdims=True)
    if (bare_N := total_N1[:, 0] == 0).any():
        path, named = rows["path"].iloc[int(bare_N.argmax())], ", ".join(classes)
        raise UserError(f"votes of {path} must be for one of {named} at least once, got 0")
    shares_NC: np.ndarray = votes_NC / total_N1
    return shares_NC


@dataclass(frozen=True, eq=False)
class HumanAgreement:
    """One tagger against the others of the same picture, see `human_agreement`.

    Attributes:
        asked_NC: probability that the others' label is this expression.
        agreed_NC: probability that it is, and that the tagger gave it.
        given_NA: probability that the others have a label, and that the tagger gave this answer.
        confusion_CA: expected number of pictures by the others' label and the tagger's answer.
    """

    asked_NC: Float64[np.ndarray, "N C"]
    agreed_NC: Float64[np.ndarray, "N C"]
    given_NA: Float64[np.ndarray, "N A"]
    confusion_CA: Float64[np.ndarray, "C A"]

    @property
    def accuracy(self) -> float:
        """How often a tagger agrees with the others' label, where they have one; nan if never."""
        return _ratio(self.agreed_NC.sum(), self.asked_NC.sum())

    @property
    def recall_C(self) -> Float64[np.ndarray, " C"]:
        """The same for each label of the others, in the order of `EXPRESSIONS`; nan if none has."""
        asked_C, agreed_C = self.asked_NC.sum(axis=0), self.agreed_NC.sum(axis=0)
        return np.array([_ratio(*pair) for pair in zip(agreed_C, asked_C, strict=True)])

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls that there are; nan without any."""
        recalls = [recall for recall in self.recall_C if not math.isnan(recall)]
        return _ratio(sum(recalls), len(recalls))

    @property
    def no_majority(self) -> float:
        """In which share of the pictures (and taggers) the others have no label; nan without any.

        They are left out of the other figures.
        """
        count = len(self.asked_NC)
        return _ratio(count - self.asked_NC.sum(), count)


def human_agreement(
    votes_NA: Int64[np.ndarray, "N A"], classes: Sequence[str] = EXPRESSIONS
) -> HumanAgreement:
    """How well a human does at the task of a model: leave one annotator out.

    One of a picture's taggers, each as likely, is judged by the label that the others' votes give
    by our rule. Nothing is drawn: the expectation is computed from the counts, since taggers who
    gave the same answer cannot be told apart. An answer `unknown` or `nf` to a picture for which
    the others have a label is wrong. Others than all ten give the label, so that a figure of a
    model is not quite of the same task; pass the pictures that the model answered.

    Args:
        votes_NA: in the order of `ANSWERS`, at least two for each picture.
        classes: the expressions that count as a label of the others; with another one they have
            none.

    Raises:
        UserError: if a picture has fewer votes.
    """
    total_N = votes_NA.sum(axis=1)
    fewest = int(total_N.min(initial=2))
    require(fewest >= 2, "votes", "of at least two taggers for each picture", fewest)
    asked_NC = np.zeros((len(votes_NA), _FACES))
    agreed_NC = np.zeros_like(asked_NC)
    given_NA = np.zeros((len(votes_NA), len(ANSWERS)))
    confusion_CA = np.zeros((_FACES, len(ANSWERS)))
    counts_A = np.isin(ANSWERS, classes)
    for answer in range(len(ANSWERS)):
        others_NA = votes_NA.copy()
        others_NA[:, answer] -= 1
        first_N, alone_N = _first(others_NA)
        given_N = votes_NA[:, answer] > 0
        (rows,) = np.nonzero(given_N & alone_N & counts_A[first_N])
        labels, likely = first_N[rows], votes_NA[rows, answer] / total_N[rows]
        asked_NC[rows, labels] += likely
        given_NA[rows, answer] += likely
        agreed_NC[rows, labels] += np.where(labels == answer, likely, 0.0)
        np.add.at(confusion_CA[:, answer], labels, likely)
    return HumanAgreement(asked_NC, agreed_NC, given_NA, confusion_CA)


def _first(votes_NA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The answer with the most votes, and whether no other has as many."""
    most_N1 = votes_NA.max(axis=1, keepdims=True)
    return votes_NA.argmax(axis=1), (votes_NA == most_N1).sum(axis=1) == 1


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def _by_majority(heard_A: np.ndarray) -> np.ndarray:
    return np.where(heard_A > heard_A.sum() / 2, heard_A, 0)


def _by_probability(heard_A: np.ndarray) -> np.ndarray:
    counted_A, taken = np.zeros_like(heard_A), 0
    while taken < _ENOUGH * heard_A.sum() and np.count_nonzero(counted_A) < _AT_MOST:
        left_A = np.where(counted_A > 0, 0, heard_A)
        equals = np.flatnonzero(left_A == left_A.max())
        faces = equals[equals < _FACES]
        counted_A[faces] = heard_A[faces]
        if len(faces) < len(equals):  # no expression: the end, and all if it comes first
            if not counted_A.any():
                counted_A[equals[0]] = heard_A[equals[0]]
            break
        taken = counted_A.sum()
    several = np.count_nonzero(counted_A) > _AT_MOST
    if several or counted_A.sum() <= heard_A.sum() / 2:
        return np.zeros_like(heard_A)
    return counted_A


def _by_share(heard_A: np.ndarray) -> np.ndarray:
    counted_A = np.where(heard_A >= _SHARE * heard_A.sum(), heard_A, 0)
    return counted_A if counted_A.sum() > heard_A.sum() / 2 else np.zeros_like(heard_A)
