"""Several processes, one loss.

Modules are not wrapped. Every process computes the loss of the whole batch from embeddings gathered
with their gradient, so all processes hold the same loss L. The backward pass of the gathering sums
the processes' gradients: with W processes, process r gets W * dL/d(its embeddings), hence
W * dL/dw through its own images only. The mean over processes is then exactly dL/dw for the
network; for parameters that the loss reads directly (proxies) all processes hold dL/dw already, and
the mean leaves it. So one mean is right for every parameter.

"Equal to one process" holds for the loss, given equal embeddings, and for whole steps of networks
without batch statistics: a batch norm sees the images of its own process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from likeness.errors import require
from likeness.models import Outputs

T = TypeVar("T")


def build_fabric(
    precision: str = "32-true", *, devices: int = 1, accelerator: str = "auto"
) -> Fabric:
    """Fabric for `fit`, not yet launched.

    Args:
        precision: `32-true` or `bf16-mixed`.
        devices: processes, >= 1.
        accelerator: `auto`, `cpu`, `cuda` or `mps`.
    """
    require(devices >= 1, "devices", ">= 1", devices)
    strategy = "auto" if devices == 1 else "ddp"
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
    )


def share(batch: Sequence[T], *, rank: int, world: int) -> Sequence[T]:
    """Process `rank`'s part of a global batch; the parts are equal and follow each other.

    Raises:
        UserError: if the batch cannot be cut into equal parts.
    """
    require(len(batch) % world == 0, "batch size", f"a multiple of {world} devices", len(batch))
    size = len(batch) // world
    return batch[rank * size : (rank + 1) * size]


def gather(outputs: Outputs, fabric: Fabric) -> Outputs:
    """The outputs of all processes in the order of the global batch, with their gradient."""
    if fabric.world_size == 1:
        return outputs
    return map_outputs(lambda part: _gather(part, fabric), outputs)


def average_gradients(parameters: Iterable[nn.Parameter], fabric: Fabric) -> None:
    """Replace every gradient by its mean over the processes, in one message per dtype."""
    if fabric.world_size == 1:
        return
    _average([item.grad for item in parameters if item.grad is not None], fabric)


def average_statistics(module: nn.Module, fabric: Fabric) -> None:
    """Replace running statistics by their mean, so that all processes hold the same model."""
    if fabric.world_size == 1:
        return
    _average([item for item in module.buffers() if item.is_floating_point()], fabric)


def start_equal(module: nn.Module, fabric: Fabric) -> None:
    """Copy the first process's parameters and buffers to all."""
    if fabric.world_size == 1:
        return
    for tensor in module.state_dict().values():
        message = tensor.detach().contiguous()
        torch.distributed.broadcast(message, src=0)
        tensor.detach().copy_(message)


def from_first(value: float, fabric: Fabric) -> float:
    """The first process's value, on all processes."""
    if fabric.world_size == 1:
        return value
    message = torch.tensor([value], dtype=torch.float64, device=fabric.device)
    torch.distributed.broadcast(message, src=0)
    return float(message)


def map_outputs(change: Callable[[Tensor], Tensor], outputs: Outputs) -> Outputs:
    """`change` applied to every tensor."""
    return Outputs(
        change(outputs.features_NF),
        {name: change(item) for name, item in outputs.embeddings.items()},
        {name: change(item) for name, item in outputs.logits.items()},
    )


def _gather(part: Tensor, fabric: Fabric) -> Tensor:
    whole = fabric.all_gather(part, sync_grads=True)
    assert isinstance(whole, Tensor)
    return whole.reshape(-1, *part.shape[1:])


@torch.no_grad()
def _average(tensors: Sequence[Tensor], fabric: Fabric) -> None:
    for dtype in sorted({item.dtype for item in tensors}, key=str):
        same = [item for item in tensors if item.dtype == dtype]
        flat = torch.cat([item.reshape(-1) for item in same])
        torch.distributed.all_reduce(flat)
        flat /= fabric.world_size
        for item, mean in zip(same, flat.split([item.numel() for item in same]), strict=True):
            item.copy_(mean.view_as(item))
