"""PreActResNet-18: residual blocks with normalisation and ReLU before each convolution.

He et al. 2016 ("Identity mappings in deep residual networks") as in the code of Marrero Fernandez
et al. (FERAtt): a first convolution of 3 x 3 and stride 1 without pooling, four stages of two
blocks with 64, 128, 256 and 512 channels, and, unlike in the paper, no normalisation and ReLU
behind the last block. So the map is signed.

Shapes: N = images, C = channels, H, W = cells of the map.
"""

from __future__ import annotations

from torch import Tensor, nn

from likeness.models.spec import ModelSpec

_CHANNELS = (64, 128, 256, 512)
_BLOCKS = 2  # of each stage
NUM_FEATURES = _CHANNELS[-1]


class PreActBlock(nn.Module):
    """shortcut + conv(relu(bn(conv(relu(bn(x)))))), with convolutions of 3 x 3.

    Where the block changes the map's form, the shortcut is a 1 x 1 convolution of the first ReLU;
    otherwise it is x itself.

    Args:
        before: channels that come in.
        after: channels that go out.
        stride: of the first convolution.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """The map behind the block, signed."""
        active_NCHW = self.relu(self.bn1(map_NCHW))
        shortcut_NCHW = map_NCHW if self.shortcut is None else self.shortcut(active_NCHW)
        residual_NCHW: Tensor = self.conv2(self.relu(self.bn2(self.conv1(active_NCHW))))
        return residual_NCHW + shortcut_NCHW


def build_trunk(spec: ModelSpec) -> nn.Sequential:
    """The network up to the last map, `conv1` and `layer1` to `layer4`, with random weights.

    Convolutions start as torchvision's ResNets do (He et al. 2015, by the outputs), not as torch's
    default, which the authors' code uses.
    """
    net = nn.Sequential()
    before = _CHANNELS[0]
    net.add_module("conv1", nn.Conv2d(spec.bands, before, 3, padding=1, bias=False))
    for number, after in enumerate(_CHANNELS, start=1):
        stride = 1 if number == 1 else 2
        blocks = [PreActBlock(before, after, stride=stride)]
        blocks += [PreActBlock(after, after, stride=1) for _ in range(_BLOCKS - 1)]
        net.add_module(f"layer{number}", nn.Sequential(*blocks))
        before = after
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return net
