"""What an objective is made of: terms, their weights, and the parts that they come to.

Shapes: N = samples, D = embedding dimension, C = classes (or labels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor, nn

from likeness.batch import Batch
from likeness.config import Spec
from likeness.errors import UserError, require
from likeness.losses.base import BatchLoss, PairLoss
from likeness.objective.memory import CrossBatchMemory
from likeness.pairs import Pairs
from likeness.selection import AnySelection, Miner
from likeness.synthesis import Synthesiser

LabelKind = Literal["class", "subclass"]


class LinearWeight(Spec):
    """A weight that goes linearly from `start` to `end` over the first `epochs` epochs."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    epochs: float = Field(gt=0)

    def at(self, epoch: float) -> float:
        """The weight at a (fractional) epoch."""
        share = min(max(epoch / self.epochs, 0.0), 1.0)
        return self.start + (self.end - self.start) * share


Weight = Annotated[float, Field(ge=0)] | LinearWeight


@runtime_checkable
class Heads(Protocol):
    """What the objective reads of a model's output: raw embeddings and logits by head."""

    @property
    def embeddings(self) -> Mapping[str, Tensor]:
        """Head name -> (N, D)."""
        ...

    @property
    def logits(self) -> Mapping[str, Tensor]:
        """Head name -> (N, C)."""
        ...


class Part(NamedTuple):
    """One term of the sum, unweighted: its value and the number of active pairs behind it."""

    value: Tensor
    n_active: Tensor


class ObjectiveResult(NamedTuple):
    """The scalar to minimise and its parts by name."""

    loss: Tensor
    parts: dict[str, Part]


class Term(nn.Module):
    """A loss with its miners, weight and head, on classes or on sub-classes, maybe with a memory.

    `differentiable` hands the miners the graph. Miners that read the logits go by classes always.
    `synthetic` lets it see what a synthesis on its head makes, where there is one.
    """

    def __init__(
        self,
        loss: PairLoss,
        miner: Miner | None,
        weight: Weight,
        head: str,
        *,
        differentiable: bool = False,
        labels: LabelKind = "class",
        memory: CrossBatchMemory | None = None,
        synthetic: bool = True,
    ) -> None:
        super().__init__()
        self.memory, self.synthetic = memory, synthetic
        self.loss, self.miner, self.weight, self.head = loss, miner, weight, head
        self.differentiable, self.labels = differentiable, labels

    def labels_of(self, batch: Batch) -> Tensor:
        """What the loss tells apart: classes (or several labels), or the sub-classes of now.

        Raises:
            UserError: if it is sub-classes and the batch has none.
        """
        if self.labels == "class":
            return batch.labels
        require(batch.subclass is not None, "subclass", "given for terms on sub-classes", None)
        assert batch.subclass is not None
        return batch.subclass

    def select(self, pairs: Pairs, outputs: Heads, batch: Batch) -> AnySelection | None:
        """What the miners choose; None without miners."""
        return None if self.miner is None else self.choose(pairs, self.seen(outputs, batch))

    def seen(self, outputs: Heads, batch: Batch) -> Batch:
        """The batch as the miners see it: with the graph of its logits, or without."""
        return batch.with_logits(outputs.logits) if self.differentiable else batch

    def choose(self, pairs: Pairs, seen: Batch) -> AnySelection:
        """What the miners choose of pairs; there must be miners."""
        assert self.miner is not None
        return self.miner(pairs if self.differentiable else pairs.detach(), seen)


class BatchTerm(nn.Module):
    """A loss of the embeddings themselves, its weight and its head."""

    def __init__(self, loss: BatchLoss, weight: Weight, head: str) -> None:
        super().__init__()
        self.loss, self.weight, self.head = loss, weight, head


class HeadSynthesis(nn.Module):
    """A synthesis of embeddings and the head that it reads."""

    def __init__(self, synthesiser: Synthesiser, head: str) -> None:
        super().__init__()
        self.synthesiser, self.head = synthesiser, head


def weight_at(weight: Weight, epoch: float) -> float:
    """The weight at a (fractional) epoch, scheduled or not."""
    return weight.at(epoch) if isinstance(weight, LinearWeight) else weight


def head_of(by_name: Mapping[str, Tensor], name: str, kind: str) -> Tensor:
    """One head's tensor.

    Raises:
        UserError: if there is no such head, naming those of this `kind`.
    """
    if name not in by_name:
        raise UserError(f"head must be one of the {kind} {', '.join(by_name)}, got {name!r}")
    return by_name[name]
