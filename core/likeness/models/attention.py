"""Mixed channel and spatial attention inside residual blocks: our reconstruction of DeMAL-CNN's.

He et al. 2022 ("DeMAL-CNN", Complex & Intelligent Systems) put channel-wise and spatial-wise
attention into their embedding network. Only the abstract could be read: everything here is
UNCONFIRMED, made of squeeze-and-excitation (Hu et al. 2018) for the channels and CBAM (Woo et al.
2018) for the places.

Shapes: N = images, C = channels, H, W = cells of the map, U_NCHW = the residual branch's output.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from likeness.models.spec import AttentionOrder, AttentionSpec

_KEY = ".attention."  # in the keys of this file's parameters, and in no others

_LEAST_HIDDEN = 4  # channels behind the squeeze
_WINDOW = 7  # side of the convolution over places
_OPEN = 5.0  # sigmoid(5) = 0.993: where gates that start open stand


class MixedAttention(nn.Module):
    """The end of a residual block: shortcut + attended residual, before the ReLU.

        of channels  l = W2 relu(W1 mean_hw U)               in R^C
        of places    k = conv7x7([mean_c V ; max_c V])       in R^(H W)
        parallel     A = sigmoid(l) sigmoid(k),  V = U
        sequential   A = sigmoid(l) sigmoid(k),  V = U sigmoid(l)
        sum          A = sigmoid(l + k),         V = U

    With the gate `residual` the block is shortcut + U (1 + alpha A); alpha, one number for each
    block, starts at 0, so that the network starts as the plain one, bit for bit. Nothing keeps
    alpha from going below 0: there, high attention damps. With `multiply` it is shortcut + U A, and
    the sigmoids start open, A = 0.987 everywhere (0.993 for `sum`).

    For the backward pass only U is kept: what is computed from it is computed again.

    Args:
        channels: C of the branch.
        order: see above; not `none`.
        options: see `AttentionSpec`.

    Attributes:
        places: the convolution over places; its output is k, shape (N, 1, H, W).
        alpha: see above; None with `multiply`.
    """

    def __init__(self, channels: int, order: AttentionOrder, options: AttentionSpec) -> None:
        super().__init__()
        hidden = max(channels // options.reduction, _LEAST_HIDDEN)
        self.order = order
        self.squeeze = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        self.places = nn.Conv2d(2, 1, _WINDOW, padding=_WINDOW // 2)
        if options.gate == "residual":
            self.alpha: nn.Parameter | None = nn.Parameter(torch.zeros(()))
        else:
            self.register_parameter("alpha", None)
            self._open()

    def forward(
        self, U_NCHW: Float[Tensor, "N C H W"], shortcut_NCHW: Float[Tensor, "N C H W"]
    ) -> Float[Tensor, "N C H W"]:
        """The sum of both branches; see the class."""
        if torch.is_grad_enabled() and U_NCHW.requires_grad:
            kept: Tensor = checkpoint(
                self._mix, U_NCHW, shortcut_NCHW, use_reentrant=False, preserve_rng_state=False
            )
            return kept
        return self._mix(U_NCHW, shortcut_NCHW)

    def _mix(self, U_NCHW: Tensor, shortcut_NCHW: Tensor) -> Tensor:
        scaled_NCHW, gain = self._factors(U_NCHW)
        if self.alpha is None:
            return torch.addcmul(shortcut_NCHW, scaled_NCHW, gain)
        gain = gain * self.alpha.to(gain.dtype)  # a float32 number would raise half precision
        return (shortcut_NCHW + U_NCHW).addcmul_(scaled_NCHW, gain)

    def _factors(self, U_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Two factors of U A, the first (N, C, H, W); large ones have the memory order of U."""
        logits_NC11 = self._channel_logits(U_NCHW)[:, :, None, None]
        if self.order == "sum":
            logits_N1HW = self._place_logits(U_NCHW)
            both_NCHW = torch.empty_like(U_NCHW).copy_(logits_NC11).add_(logits_N1HW)
            return U_NCHW, both_NCHW.sigmoid_()
        scaled_NCHW = U_NCHW * logits_NC11.sigmoid()
        seen_NCHW = scaled_NCHW if self.order == "sequential" else U_NCHW
        return scaled_NCHW, self._place_logits(seen_NCHW).sigmoid()

    def _channel_logits(self, U_NCHW: Tensor) -> Tensor:
        logits_NC: Tensor = self.expand(self.squeeze(U_NCHW.mean(dim=(2, 3))).relu())
        return logits_NC

    def _place_logits(self, seen_NCHW: Tensor) -> Tensor:
        statistics = [seen_NCHW.mean(dim=1), seen_NCHW.amax(dim=1)]
        logits_N1HW: Tensor = self.places(torch.stack(statistics, dim=1))
        return logits_N1HW

    def _open(self) -> None:
        for layer in (self.expand, self.places):
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.expand.bias, _OPEN)
        assert self.places.bias is not None
        nn.init.constant_(self.places.bias, 0.0 if self.order == "sum" else _OPEN)


class AttentiveBlock(nn.Module):
    """torchvision's residual block with attention before the addition; its keys are torchvision's.

    Args:
        block: whose layers are taken over.
        attention: made for the channels of its residual branch.
    """

    def __init__(self, block: BasicBlock | Bottleneck, attention: MixedAttention) -> None:
        super().__init__()
        self.conv1, self.bn1 = block.conv1, block.bn1
        self.conv2, self.bn2 = block.conv2, block.bn2
        self.is_bottleneck = isinstance(block, Bottleneck)
        if isinstance(block, Bottleneck):
            self.conv3, self.bn3 = block.conv3, block.bn3
        self.relu = block.relu
        self.downsample = block.downsample
        self.attention = attention

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """The map behind the block, non-negative."""
        U_NCHW = self.relu(self.bn1(self.conv1(map_NCHW)))
        U_NCHW = self.bn2(self.conv2(U_NCHW))
        if self.is_bottleneck:
            U_NCHW = self.bn3(self.conv3(self.relu(U_NCHW)))
        shortcut_NCHW = map_NCHW if self.downsample is None else self.downsample(map_NCHW)
        out_NCHW: Tensor = self.relu(self.attention(U_NCHW, shortcut_NCHW))
        return out_NCHW


def add_attention(net: ResNet, order: AttentionOrder, options: AttentionSpec) -> None:
    """Put attention into every residual block of `net`, in place.

    torch's generator is left as it was found, so that under one seed everything else of a model
    starts as it would without attention.
    """
    with torch.random.fork_rng(devices=[]):
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            for place, block in enumerate(stage):
                last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
                attention = MixedAttention(last.num_features, order, options)
                stage[place] = AttentiveBlock(block, attention)


def is_attention(key: str) -> bool:
    """Whether a key of a backbone's state dict belongs to its attention."""
    return _KEY in key
