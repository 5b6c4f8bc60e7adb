"""bfloat16 on a processor: gradients that would be rubbish are refused before training."""

import copy

import pytest
import torch

from likeness.errors import UserError
from likeness.models import ModelSpec, build_embedder
from likeness.training.half_precision import require_exact_gradients


def network(**options):
    torch.manual_seed(0)
    return build_embedder(
        ModelSpec(backbone="resnet18", image_size=(32, 16), **options), num_classes=2
    )


def test_a_stride_over_one_column_is_refused_by_name():
    with pytest.raises(UserError, match=r"precision must be 32-true .*layer4\.0\.conv1 does"):
        require_exact_gradients(network(), torch.zeros(3, 32, 16))


@pytest.mark.parametrize("size", [(16, 32), (32, 32), (64, 24)])
def test_wider_images_pass(size):
    require_exact_gradients(network(), torch.zeros(3, *size))


def test_without_that_stride_it_passes():
    require_exact_gradients(network(last_stride=1), torch.zeros(3, 32, 16))


def test_nothing_of_the_network_changes():
    embedder = network(last_stride=1).train()
    before = copy.deepcopy(embedder.state_dict())
    require_exact_gradients(embedder, torch.ones(3, 32, 16))
    assert embedder.training
    assert all(torch.equal(before[name], item) for name, item in embedder.state_dict().items())
    assert not any(module._forward_pre_hooks for module in embedder.modules())


def test_gradients_of_what_passes_agree_with_float32():
    """The guard's claim, for the narrowest map that it lets through: two columns."""
    torch.manual_seed(0)
    map_NCHW, weight = torch.randn(16, 32, 4, 2), torch.randn(64, 32, 3, 3) * 0.05
    found = {}
    for half in (False, True):
        used = weight.clone().requires_grad_()
        torch.full((64, 32, 3, 3), 1e30, dtype=torch.bfloat16)  # rubbish for unwritten memory
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = torch.nn.functional.conv2d(map_NCHW, used, stride=2, padding=1)
        (found[half],) = torch.autograd.grad(out.float().square().sum(), used)
    torch.testing.assert_close(
        found[True], found[False], rtol=0.05, atol=0.02 * float(found[False].abs().max())
    )
