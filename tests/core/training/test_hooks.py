"""The start of an epoch, and methods with networks of their own, through the front door."""

from functools import partial

import pytest
import torch

from fixtures.tiny_training import (
    LABELS,
    ROWS,
    TinyEmbedder,
    TinyImages,
    tiny_data,
    tiny_objective,
    tiny_spec,
    train,
)
from fixtures.watched_runs import Stop, StoppedAfter
from likeness.training import Method, Update


class Noting:
    """A hook that wants embeddings in some epochs and counts its calls as saved state."""

    def __init__(self, epochs):
        self.epochs, self.calls, self.count = epochs, [], torch.zeros(())

    def wants_embeddings(self, epoch):
        return epoch in self.epochs

    def on_epoch_start(self, epoch, embeddings, labels):
        self.calls.append((epoch, embeddings, labels))
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"].clone()


class CountingImages(TinyImages):
    def __init__(self):
        super().__init__()
        self.clean = []

    def __getitem__(self, item):
        if isinstance(item, int):
            self.clean.append(item)
        return super().__getitem__(item)


def test_hooks_share_one_pass_over_the_clean_images(tmp_path):
    images = CountingImages()
    hooks = [Noting({0, 2}), Noting({2})]
    _, _, objective = train(tmp_path, data=tiny_data(images=images), hooks=hooks)
    assert objective.needs_class_means  # a third reader, in epoch 0
    assert images.clean == [*range(ROWS), *range(ROWS)]
    assert [call[0] for call in hooks[0].calls] == [0, 1, 2]
    assert hooks[0].calls[1][1] is None
    assert hooks[0].calls[2][1] is hooks[1].calls[2][1]
    assert torch.equal(hooks[0].calls[0][2], LABELS)


def test_class_means_come_from_the_untrained_network_in_evaluation_mode(tmp_path):
    spec = tiny_spec()
    objective = tiny_objective(spec)
    told = []
    imprint = objective.imprint

    def noting(embeddings, labels):
        told.append(embeddings)
        imprint(embeddings, labels)

    objective.imprint = noting
    torch.manual_seed(1)
    embedder = TinyEmbedder()
    expected = embedder.eval()(TinyImages().images).embeddings["embedding"].detach()
    train(tmp_path, spec, embedder=embedder, objective=objective)
    (embeddings,) = told
    torch.testing.assert_close(embeddings["embedding"], expected)


def test_a_hook_keeps_its_state_and_is_not_called_twice_for_an_epoch(tmp_path):
    cut = partial(StoppedAfter, steps=6)
    with pytest.raises(Stop):
        train(tmp_path, checkpoint_steps=1, hooks=[Noting(())], method=cut)
    hook = Noting(())
    train(tmp_path, resume=True, hooks=[hook])
    assert [call[0] for call in hook.calls] == [2]
    assert hook.count == 3


class WithCritic(Method):
    """Alternating: a critic learns the classes from features, then the model learns."""

    def __init__(self, embedder, objective):
        super().__init__(embedder, objective)
        self.critic = torch.nn.Linear(32, 4)

    def groups(self):
        return {"critic": [self.critic], "model": [self.embedder, self.objective]}

    def updates(self, forward, batch, epoch):
        logits = self.critic(forward().features_NF.detach())
        loss = torch.nn.functional.cross_entropy(logits, batch.labels)
        yield Update(loss, "critic", fresh_forward=True)
        loss, parts = self.objective(forward(), batch, epoch=epoch)
        yield Update(loss, "model", parts=parts)


def test_a_method_with_a_network_of_its_own_resumes_exactly(tmp_path):
    critics = []

    class Kept(WithCritic):
        def __init__(self, embedder, objective):
            super().__init__(embedder, objective)
            critics.append(self.critic)

    class Cut(Kept):
        left = 6

        def after_step(self, outputs, batch):
            Cut.left -= 1
            if Cut.left < 0:
                raise Stop
            super().after_step(outputs, batch)

    spec = tiny_spec(optimiser={"name": "adamw", "lr": 0.01})
    _, whole, _ = train(tmp_path / "whole", spec, method=Kept)
    with pytest.raises(Stop):
        train(tmp_path / "cut", spec, method=Cut, checkpoint_steps=2)
    _, resumed, _ = train(tmp_path / "cut", spec, method=Kept, resume=True)
    for ours, theirs in ((resumed, whole), (critics[2], critics[0])):
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), name
    header = (tmp_path / "whole/logs/train.csv").read_text().splitlines()[0]
    assert "loss_model.classification" in header
