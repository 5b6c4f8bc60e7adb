"""Gradient caching: chunks give the step that the whole batch gives."""

import copy

import pytest
import torch
from torch.nn import functional as F

from fixtures.tiny_training import LABELS, TinyEmbedder, TinyImages, tiny_spec, train
from likeness.training import build_fabric
from likeness.training.forward import build_forward

ROWS = torch.arange(0, 32, 4)  # 8 images, two of each class
IMAGES = TinyImages().images[ROWS].double()
CHUNKS = IMAGES.split(3)  # 3, 3, 2


def loss_of(outputs):
    """Reads everything: features, embeddings (pairwise, so no sum over images) and logits."""
    embeddings = outputs.embeddings["embedding"]
    pairwise = (embeddings @ embeddings.T).sigmoid().mean()
    entropy = F.cross_entropy(outputs.logits["class"], LABELS[ROWS])
    return pairwise + entropy + outputs.features_NF.square().mean()


def gradients(embedder, chunk, loss=loss_of):
    forward = build_forward(embedder, IMAGES, build_fabric(accelerator="cpu"), chunk=chunk)
    value = loss(forward())
    found = forward.gradients(value, list(embedder.parameters()), keep_graph=False)
    return value.detach(), found


def embedder_of(**options):
    torch.manual_seed(0)
    return TinyEmbedder(**options).double().train()


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_equals_the_whole_batch_without_batch_statistics(chunk):
    embedder = embedder_of(batch_norm=False, dropout=0.0)
    whole, expected = gradients(embedder, None)
    value, found = gradients(embedder, chunk)
    torch.testing.assert_close(value, whole)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_equals_the_uncached_step_on_the_same_chunks_with_batch_norm_and_dropout():
    embedder = embedder_of(batch_norm=True, dropout=0.5)
    plain = copy.deepcopy(embedder)
    torch.manual_seed(3)
    parts = [plain(chunk) for chunk in CHUNKS]  # one graph for all chunks
    together = type(parts[0])(
        torch.cat([part.features_NF for part in parts]),
        {"embedding": torch.cat([part.embeddings["embedding"] for part in parts])},
        {"class": torch.cat([part.logits["class"] for part in parts])},
    )
    expected = loss_of(together)
    expected.backward()
    after_plain = torch.get_rng_state()

    torch.manual_seed(3)
    value, found = gradients(embedder, 3)
    torch.testing.assert_close(value, expected.detach())
    for ours, theirs in zip(found, plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(embedder.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(torch.get_rng_state(), after_plain)


def test_running_statistics_move_in_the_second_pass_only():
    embedder = embedder_of(batch_norm=True)
    before = [buffer.clone() for buffer in embedder.buffers()]
    forward = build_forward(embedder, IMAGES, build_fabric(accelerator="cpu"), chunk=3)
    loss = loss_of(forward())
    assert all(map(torch.equal, before, embedder.buffers()))
    forward.gradients(loss, list(embedder.parameters()), keep_graph=False)
    assert embedder.backbone[1].num_batches_tracked.item() == 3
    assert not torch.equal(before[0], embedder.backbone[1].running_mean)


def test_a_layer_that_the_loss_applies_again_gets_both_gradients():
    def through_head_again(outputs):
        again = embedder.head(outputs.features_NF * 2.0)
        return (again - outputs.embeddings["embedding"]).square().mean()

    embedder = embedder_of(batch_norm=False, dropout=0.0)
    _, expected = gradients(embedder, None, through_head_again)
    _, found = gradients(embedder, 3, through_head_again)
    assert [item is None for item in found] == [item is None for item in expected]
    for ours, theirs in zip(found, expected, strict=True):
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_what_the_loss_does_not_touch_has_no_gradient():
    embedder = embedder_of(batch_norm=False, dropout=0.0)
    named = dict(embedder.named_parameters())
    for chunk in (None, 3):
        _, found = gradients(embedder, chunk, lambda outputs: outputs.features_NF.mean())
        missing = {name for name, item in zip(named, found, strict=True) if item is None}
        assert missing == {"head.weight", "head.bias", "classifier.weight", "classifier.bias"}


def test_a_whole_run_in_chunks(tmp_path):
    def trained(name, chunk):
        torch.manual_seed(0)
        embedder = TinyEmbedder(batch_norm=False, dropout=0.0)
        train(tmp_path / name, tiny_spec(grad_cache=chunk), embedder=embedder)
        return embedder

    whole, chunked = trained("whole", None), trained("chunked", 3)
    for ours, theirs in zip(chunked.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_outputs_of_a_half_precision_network_are_raised():
    embedder = TinyEmbedder(batch_norm=False, dropout=0.0)
    fabric = build_fabric("bf16-mixed", accelerator="cpu")
    outputs = build_forward(embedder, IMAGES.float(), fabric, chunk=None)()
    assert outputs.embeddings["embedding"].dtype == torch.float32
    exact = embedder(IMAGES.float()).embeddings["embedding"]
    assert not torch.equal(outputs.embeddings["embedding"], exact)
    torch.testing.assert_close(outputs.embeddings["embedding"], exact, rtol=0.05, atol=0.05)
