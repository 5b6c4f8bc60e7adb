"""Images to outputs and losses to gradients: at once, or in chunks for batches beyond memory.

Shapes: N = images of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from likeness.models import Outputs
from likeness.training.distributed import gather, map_outputs


@runtime_checkable
class Forward(Protocol):
    """One batch's way through the network and back."""

    def __call__(self) -> Outputs:
        """A forward pass with the parameters as they are now; outputs of the global batch."""
        ...

    def gradients(
        self, loss: Tensor, parameters: Sequence[nn.Parameter], *, keep_graph: bool
    ) -> list[Tensor | None]:
        """dloss/dparameter for each, None where the loss does not depend on it."""
        ...


def build_forward(
    embedder: nn.Module, images_NCHW: Tensor, fabric: Fabric, *, chunk: int | None
) -> Forward:
    """The whole batch at once, or `chunk` images at a time (gradient caching)."""
    if chunk is None:
        return WholeForward(embedder, images_NCHW, fabric)
    return ChunkedForward(embedder, images_NCHW, fabric, chunk=chunk)


class WholeForward:
    """The ordinary way: one graph from the images to the loss."""

    def __init__(self, embedder: nn.Module, images_NCHW: Tensor, fabric: Fabric) -> None:
        self._embedder, self._images, self._fabric = embedder, images_NCHW, fabric

    def __call__(self) -> Outputs:
        """A forward pass with the parameters as they are now."""
        local = run_network(self._embedder, self._images, self._fabric.autocast)
        return gather(local, self._fabric)

    def gradients(
        self, loss: Tensor, parameters: Sequence[nn.Parameter], *, keep_graph: bool
    ) -> list[Tensor | None]:
        """dloss/dparameter for each, None where the loss does not depend on it."""
        return list(
            torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True)
        )


class _Pass(NamedTuple):
    """A first pass: its outputs as leaves, and the generators' states before each chunk."""

    leaves: list[Tensor]
    generators: list[list[Tensor]]


class ChunkedForward:
    """Gradient caching (Gao et al. 2021): one chunk's graph in memory, the whole batch's loss.

    The first pass embeds the chunks without a graph; the loss is differentiated down to the
    outputs; the second pass embeds each chunk again, with the same random numbers, and carries
    those gradients on to the parameters. Running statistics move in the second pass only. For
    networks without batch statistics the step equals the ordinary one; a batch norm sees its chunk.

    Args:
        embedder: the network.
        images_NCHW: images of this process.
        fabric: precision and gathering.
        chunk: images per chunk, >= 1.
    """

    def __init__(
        self, embedder: nn.Module, images_NCHW: Tensor, fabric: Fabric, *, chunk: int
    ) -> None:
        self._embedder, self._fabric = embedder, fabric
        self._chunks = images_NCHW.split(chunk)
        self._passes: list[_Pass] = []

    def __call__(self) -> Outputs:
        """A first pass with the parameters as they are now; its outputs are leaves."""
        kept = [buffer.clone() for buffer in self._embedder.buffers()]
        generators: list[list[Tensor]] = []
        parts: list[Outputs] = []
        with torch.no_grad():
            for chunk in self._chunks:
                generators.append(_generator_states(self._fabric.device))
                parts.append(run_network(self._embedder, chunk, self._fabric.autocast))
            for buffer, before in zip(self._embedder.buffers(), kept, strict=True):
                buffer.copy_(before)
        leaves = [
            torch.cat(same).requires_grad_()
            for same in zip(*(_tensors(part) for part in parts), strict=True)
        ]
        self._passes.append(_Pass(leaves, generators))
        unread = iter(leaves)
        return gather(map_outputs(lambda _: next(unread), parts[0]), self._fabric)

    def gradients(
        self, loss: Tensor, parameters: Sequence[nn.Parameter], *, keep_graph: bool
    ) -> list[Tensor | None]:
        """dloss/dparameter for each, None where the loss does not depend on it."""
        leaves = [leaf for one in self._passes for leaf in one.leaves]
        found = list(
            torch.autograd.grad(
                loss, [*parameters, *leaves], retain_graph=keep_graph, allow_unused=True
            )
        )
        totals: list[Tensor | None] = [*found[: len(parameters)]]
        upstream = found[len(parameters) :]
        own = {id(parameter) for parameter in self._embedder.parameters()}
        places = [place for place, item in enumerate(parameters) if id(item) in own]
        for one in self._passes if places else ():
            here, upstream = upstream[: len(one.leaves)], upstream[len(one.leaves) :]
            if all(gradient is None for gradient in here):
                continue  # another loss's pass: its running statistics are not moved twice
            through = self._second_pass(one, here, [parameters[place] for place in places])
            for place, gradient in zip(places, through, strict=True):
                totals[place] = _sum(totals[place], gradient)
        return totals

    def _second_pass(
        self, one: _Pass, upstream: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]
    ) -> list[Tensor | None]:
        now = _generator_states(self._fabric.device)
        totals: list[Tensor | None] = [None] * len(parameters)
        start = 0
        for chunk, states in zip(self._chunks, one.generators, strict=True):
            _restore_generators(states, self._fabric.device)
            outputs = _tensors(run_network(self._embedder, chunk, self._fabric.autocast))
            reached = [
                (output, gradient[start : start + len(chunk)])
                for output, gradient in zip(outputs, upstream, strict=True)
                if gradient is not None and output.requires_grad
            ]
            start += len(chunk)
            if not reached:
                continue
            found = torch.autograd.grad(
                [output for output, _ in reached],
                parameters,
                grad_outputs=[gradient for _, gradient in reached],
                allow_unused=True,
            )
            totals = [_sum(total, part) for total, part in zip(totals, found, strict=True)]
        _restore_generators(now, self._fabric.device)
        return totals


def run_network(
    embedder: nn.Module, images_NCHW: Tensor, autocast: Callable[[], AbstractContextManager[None]]
) -> Outputs:
    """The network in its precision; what comes out is float32 at least, for the losses."""
    with autocast():
        outputs: Outputs = embedder(images_NCHW)
    return map_outputs(_raised, outputs)


def _raised(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _tensors(outputs: Outputs) -> list[Tensor]:
    """In the order of `map_outputs`."""
    return [outputs.features_NF, *outputs.embeddings.values(), *outputs.logits.values()]


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _generator_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _restore_generators(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
