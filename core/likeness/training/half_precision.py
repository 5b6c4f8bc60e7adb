"""A guard against wrong gradients: what torch's bfloat16 convolutions cannot do on a processor."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from likeness.errors import UserError


@torch.no_grad()
def require_exact_gradients(embedder: nn.Module, image_CHW: Tensor) -> None:
    """Refuse a network whose weight gradients bfloat16 would leave partly unwritten on a CPU.

    Tried with torch 2.14.1: with oneDNN, a convolution of stride > 1 and a kernel > 1 over a map of
    one column gives a weight gradient whose unused taps hold whatever was in memory. That happens
    where the last stage of a ResNet sees images of 16 columns, say.

    Args:
        embedder: the network; it sees one image in evaluation mode, and nothing of it changes.
        image_CHW: an image as it will be trained on.

    Raises:
        UserError: naming the first such layer.
    """
    narrow: list[str] = []

    def note(name: str, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        if given[0].shape[-1] == 1 and max(layer.kernel_size) > 1 and max(layer.stride) > 1:
            narrow.append(name)

    mode = embedder.training
    with ExitStack() as hooks:
        for name, layer in embedder.named_modules():
            if isinstance(layer, nn.Conv2d):
                hook = layer.register_forward_pre_hook(partial(note, name))
                hooks.callback(hook.remove)
        embedder.eval()(image_CHW[None])
    embedder.train(mode)
    if narrow:
        raise UserError(
            "precision must be 32-true where a convolution of stride 2 sees a map of one column "
            f"on a CPU, as {narrow[0]} does (wider images help, too), got bf16-mixed"
        )
