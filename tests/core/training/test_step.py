"""One step against closed forms: networks of one weight each."""

import pytest
import torch
from torch import nn

from likeness.batch import Batch
from likeness.models import Outputs
from likeness.objective import Objective, ObjectiveResult, Part
from likeness.training import Method, Update, build_fabric
from likeness.training.forward import build_forward
from likeness.training.methods.parts import resting
from likeness.training.step import take_step

LR = 0.1
X = torch.tensor([[1.0], [2.0]])
BATCH = Batch(labels=torch.tensor([0, 1]))


class OneWeight(nn.Module):
    """y = w x, twice: as feature and as embedding."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x):
        y = self.weight * x.double()
        return Outputs(y, {"embedding": y}, {})


class SquareLoss(Objective):
    """Mean square of the embedding; remembers what it is told."""

    needs_class_means = False

    def __init__(self):
        nn.Module.__init__(self)
        self.told = []

    def forward(self, outputs, batch, *, epoch=0.0):
        loss = outputs.embeddings["embedding"].square().mean()
        part = Part(loss.detach(), torch.tensor(len(batch.labels)))
        return ObjectiveResult(loss, {"square": part})

    def after_step(self, outputs, batch):
        self.told.append((outputs.embeddings["embedding"].detach().clone(), batch.labels))


class TwoNetworks(Method):
    """Metric loss mean((v w x)^2) moves w only; generator loss mean((v w x - 1)^2) moves v only."""

    def __init__(self, embedder, objective, *, alternating):
        super().__init__(embedder, objective)
        self.generator = OneWeight(3.0)
        self.alternating = alternating
        self.passes = 0

    def groups(self):
        return {"metric": [self.embedder, self.objective], "generator": [self.generator]}

    def updates(self, forward, batch, epoch):
        made = self._made(forward)
        yield Update(made.square().mean(), "metric", fresh_forward=self.alternating)
        if self.alternating:
            made = self._made(forward)
        yield Update((made - 1).square().mean(), "generator")

    def _made(self, forward):
        self.passes += 1
        return self.generator(forward().features_NF).features_NF


def step(method, *, images=X, clip_norm=None, chunk=None):
    optimisers = {
        name: torch.optim.SGD([p for module in modules for p in module.parameters()], lr=LR)
        for name, modules in method.groups().items()
    }
    fabric = build_fabric(accelerator="cpu")
    forward = build_forward(method.embedder, images, fabric, chunk=chunk)
    report = take_step(method, forward, BATCH, optimisers, fabric, epoch=0.0, clip_norm=clip_norm)
    assert all(parameter.grad is None for parameter in method.parameters())
    return report


SQUARES = 2.5  # mean of x^2
MEAN = 1.5  # mean of x


def test_ordinary_step():
    method = Method(OneWeight(2.0), SquareLoss())
    report = step(method)
    gradient = 2 * 2.0 * SQUARES
    assert method.embedder.weight.item() == pytest.approx(2.0 - LR * gradient)
    assert report.loss.item() == pytest.approx(4 * SQUARES)
    assert report.grad_norm.item() == pytest.approx(gradient)
    assert report.parts["square"].n_active == 2


class Resting(TwoNetworks):
    """The generator rests."""

    def __init__(self, embedder, objective):
        super().__init__(embedder, objective, alternating=True)

    def updates(self, forward, batch, epoch):
        outputs = forward()
        yield resting("generator", ("made",), outputs.features_NF)
        yield Update(outputs.features_NF.square().mean(), "metric")


def test_a_network_that_rests_stays_and_adds_nothing_to_the_norm():
    method = Resting(OneWeight(2.0), SquareLoss())
    report = step(method)
    assert report.grad_norm.item() == pytest.approx(2 * 2.0 * SQUARES)
    assert method.generator.weight.item() == 3.0


def test_it_does_so_on_another_device_too():
    """The norm of no gradients is where the others are (`meta` stands for an accelerator)."""
    method = Resting(OneWeight(2.0), SquareLoss()).to("meta")
    assert step(method, images=X.to("meta")).grad_norm.device.type == "meta"


def test_the_objective_is_told_the_embeddings_of_the_step():
    objective = SquareLoss()
    step(Method(OneWeight(2.0), objective))
    ((embeddings, labels),) = objective.told
    torch.testing.assert_close(embeddings, 2.0 * X.double())
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "chunks"])
def test_simultaneous_updates_take_all_gradients_from_one_forward_pass(chunk):
    method = TwoNetworks(OneWeight(2.0), SquareLoss(), alternating=False)
    step(method, chunk=chunk)
    w, v = 2.0, 3.0
    assert method.passes == 1
    assert method.embedder.weight.item() == pytest.approx(w - LR * 2 * w * v**2 * SQUARES)
    expected = v - LR * 2 * (v * w**2 * SQUARES - w * MEAN)
    assert method.generator.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [None, 1], ids=["whole", "chunks"])
def test_alternating_updates_see_each_other(chunk):
    method = TwoNetworks(OneWeight(2.0), SquareLoss(), alternating=True)
    step(method, chunk=chunk)
    w, v = 2.0, 3.0
    w -= LR * 2 * w * v**2 * SQUARES  # first the metric ...
    assert method.passes == 2
    assert method.embedder.weight.item() == pytest.approx(w)
    v -= LR * 2 * (v * w**2 * SQUARES - w * MEAN)  # ... then the generator, with the new w
    assert method.generator.weight.item() == pytest.approx(v)


def test_parts_of_several_groups_are_named_by_group():
    class Named(TwoNetworks):
        def updates(self, forward, batch, epoch):
            for update in super().updates(forward, batch, epoch):
                part = Part(update.loss.detach(), torch.tensor(1))
                yield update._replace(parts={"j": part})

    report = step(Named(OneWeight(2.0), SquareLoss(), alternating=False))
    assert list(report.parts) == ["metric.j", "generator.j"]
    total = sum(part.value.item() for part in report.parts.values())
    assert report.loss.item() == pytest.approx(total)


@pytest.mark.parametrize(("max_norm", "moved"), [(4.0, 4.0), (10.0, 10.0), (50.0, 10.0)])
def test_the_gradient_is_clipped_to_the_norm(max_norm, moved):
    method = Method(OneWeight(2.0), SquareLoss())  # its gradient is 10
    report = step(method, clip_norm=max_norm)
    assert method.embedder.weight.item() == pytest.approx(2.0 - LR * moved, rel=1e-6)
    assert report.grad_norm.item() == pytest.approx(10.0)


def test_a_frozen_parameter_stays():
    class Scaled(OneWeight):
        def __init__(self):
            super().__init__(2.0)
            self.scale = nn.Parameter(torch.tensor(1.0).double(), requires_grad=False)

        def forward(self, x):
            return super().forward(self.scale * x)

    method = Method(Scaled(), SquareLoss())
    step(method)
    assert method.embedder.scale.item() == 1.0
    assert method.embedder.weight.item() == pytest.approx(2.0 - LR * 10)


def test_two_updates_of_a_group_from_one_pass_are_refused():
    class Twice(Method):
        def updates(self, forward, batch, epoch):
            loss = forward().features_NF.mean()
            yield Update(loss)
            yield Update(2 * loss)

    with pytest.raises(ValueError, match="two updates from one forward pass"):
        step(Twice(OneWeight(2.0), SquareLoss()))
