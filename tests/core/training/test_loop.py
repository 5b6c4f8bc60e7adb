"""The loop through its front door, on a run of twelve steps."""

import csv
import math
import sys

import numpy as np
import pytest
import torch

from fixtures.tiny_training import (
    LABELS,
    ROWS,
    TinyEmbedder,
    TinyImages,
    accuracy,
    tiny_data,
    tiny_objective,
    tiny_spec,
    train,
)
from likeness.errors import UserError
from likeness.objective import Objective, ObjectiveResult
from likeness.training import Method, TrainingData


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(embedder):
    return {name: tensor.clone() for name, tensor in embedder.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def scripted(scores, seen=None):
    """A validation that returns these scores one after another and notes the weights it saw."""
    left = list(scores)

    def validate(embedder):
        assert not embedder.training
        assert not torch.is_grad_enabled()
        if seen is not None:
            seen.append(weights(embedder))
        return {"map_at_r": 0.0, "accuracy": left.pop(0)}

    return validate


def test_training_learns(tmp_path):
    torch.manual_seed(5)
    before = accuracy(TinyEmbedder().eval())["accuracy"]
    result, embedder, _ = train(tmp_path, tiny_spec(epochs=12, clip_norm=5.0))
    after = accuracy(embedder.eval())["accuracy"]
    assert before <= 0.5
    assert after >= 0.9
    assert result.best_score == after
    assert result.history["train_loss"].iloc[-1] < 0.6 * result.history["train_loss"].iloc[0]


def test_workers_change_nothing(tmp_path):
    _, alone, _ = train(tmp_path / "0", tiny_spec(workers=0))
    _, helped, _ = train(tmp_path / "2", tiny_spec(workers=2))
    assert_equal(weights(alone), weights(helped))


def test_what_validation_draws_changes_nothing(tmp_path):
    def drawing(embedder):
        torch.rand(100)
        np.random.random(3)  # noqa: NPY002
        return accuracy(embedder)

    _, plain, _ = train(tmp_path / "plain")
    _, drawn, _ = train(tmp_path / "drawn", validate=drawing)
    assert_equal(weights(plain), weights(drawn))


def test_another_seed_is_another_run(tmp_path):
    torch.manual_seed(0)
    start = TinyEmbedder().state_dict()

    def trained(seed):
        embedder = TinyEmbedder()
        embedder.load_state_dict(start)
        return train(tmp_path / str(seed), tiny_spec(seed=seed), embedder=embedder)[1]

    assert not torch.equal(trained(1).head.weight, trained(2).head.weight)


# --- the best epoch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.3, 0.9, 0.5], 2),
        ([0.5, 0.5, 0.5], 1),
        ([math.nan, 0.2, math.nan], 2),
    ],
    ids=["middle", "ties-go-to-the-first", "nan-is-never-better"],
)
def test_the_best_weights_are_loaded_at_the_end(tmp_path, scores, best):
    seen = []
    result, embedder, _ = train(tmp_path, validate=scripted(scores, seen))
    assert result.best_epoch == best
    assert result.best_score == scores[best - 1]
    assert_equal(weights(embedder), seen[best - 1])


@pytest.mark.parametrize("quiet", [True, False])
def test_if_no_score_is_a_number_the_last_weights_are_kept_and_a_sentence_says_so(
    tmp_path, capsys, quiet
):
    seen = []
    validate = scripted([math.nan] * 3, seen)
    result, embedder, _ = train(tmp_path, validate=validate, quiet=quiet)
    assert (result.best_epoch, result.epochs) == (3, 3)
    assert math.isnan(result.best_score)
    assert_equal(weights(embedder), seen[-1])
    told = [line for line in capsys.readouterr().err.splitlines() if "monitor" in line]
    assert told == [
        "monitor must be a number after some epoch to choose the best one, got nan for 'accuracy' "
        "after each of 3 epochs; the last epoch's weights are kept, another score is map_at_r"
    ]
    again, embedder, _ = train(tmp_path, validate=scripted([]), resume=True, quiet=quiet)
    assert (again.best_epoch, again.already_finished) == (3, True)
    assert_equal(weights(embedder), seen[-1])


def test_a_run_without_a_number_that_runs_out_of_patience(tmp_path, capsys):
    spec = tiny_spec(epochs=10, patience=2)
    result, _, _ = train(tmp_path, spec, validate=scripted([math.nan] * 2))
    assert (result.epochs, result.best_epoch, result.stopped_early) == (2, 2, True)
    assert "after each of 2 epochs" in capsys.readouterr().err


def test_a_run_with_one_number_says_nothing(tmp_path, capsys):
    train(tmp_path, validate=scripted([math.nan, 0.2, math.nan]))
    assert capsys.readouterr().err == ""


def test_the_objective_goes_back_to_the_best_epoch_too(tmp_path):
    seen = []
    spec = tiny_spec()
    objective = tiny_objective(spec)
    validate = scripted([0.9, 0.1, 0.2])

    def noting(embedder):
        seen.append(weights(objective))
        return validate(embedder)

    train(tmp_path, spec, objective=objective, validate=noting)
    assert_equal(weights(objective), seen[0])


def test_without_validation_the_last_epoch_counts(tmp_path):
    result, _, _ = train(tmp_path, validate=None)
    assert result.best_epoch == 3
    assert math.isnan(result.best_score)
    columns = list(result.history)
    assert columns == ["epoch", "train_loss", "active", "lr", "images_per_s", "seconds"]


def test_without_a_monitor_the_last_epoch_is_kept_and_scores_are_only_logged(tmp_path, capsys):
    seen = []
    validate = scripted([0.3, 0.9, 0.5], seen)
    result, embedder, _ = train(tmp_path, tiny_spec(monitor=None), validate=validate)
    assert result.best_epoch == 3
    assert math.isnan(result.best_score)
    assert_equal(weights(embedder), seen[-1])
    assert result.history["val_accuracy"].tolist() == [0.3, 0.9, 0.5]
    assert capsys.readouterr().err == ""
    again, embedder, _ = train(tmp_path, tiny_spec(monitor=None), validate=None, resume=True)
    assert (again.best_epoch, again.already_finished) == (3, True)
    assert_equal(weights(embedder), seen[-1])


def test_early_stopping(tmp_path):
    spec = tiny_spec(epochs=10, patience=2)
    scores = [0.1, 0.6, 0.5, 0.6, 0.9]
    result, _, _ = train(tmp_path, spec, validate=scripted(scores))
    assert (result.epochs, result.best_epoch, result.stopped_early) == (4, 2, True)
    again, _, _ = train(tmp_path, spec, validate=scripted([]), resume=True)
    assert again.already_finished
    assert again.stopped_early


def test_patience_that_lasts_to_the_end_stops_nothing_early(tmp_path):
    spec = tiny_spec(patience=2)
    result, _, _ = train(tmp_path, spec, validate=scripted([0.9, 0.1, 0.1]))
    assert (result.epochs, result.stopped_early) == (3, False)


def test_patience_without_validation_is_refused(tmp_path):
    with pytest.raises(UserError, match="patience must be null without validation, got 2"):
        train(tmp_path, tiny_spec(patience=2), validate=None)


def test_an_unknown_monitor_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"monitor must be one of the scores f1, got 'accuracy'"):
        train(tmp_path, validate=lambda embedder: {"f1": 0.5})


# --- logs -----------------------------------------------------------------------------------------


def test_logs(tmp_path):
    result, _, _ = train(tmp_path)
    steps, epochs = rows_of(tmp_path / "logs/train.csv"), rows_of(tmp_path / "logs/epochs.csv")
    assert [row["step"] for row in steps] == [str(step) for step in range(1, 13)]
    assert [row["epoch"] for row in steps] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    assert list(epochs[0]) == [
        "epoch", "train_loss", "active", "val_accuracy", "lr", "images_per_s", "seconds"
    ]  # fmt: skip
    for number, row in enumerate(epochs):
        own = steps[4 * number : 4 * number + 4]
        for column, source in (("train_loss", "loss"), ("active", "active")):
            mean = sum(float(step[source]) for step in own) / 4
            assert float(row[column]) == pytest.approx(mean, rel=1e-12)
        assert float(row["lr"]) == float(own[-1]["lr"])
    for step in steps:
        parts = float(step["loss_centre_structured"]) + float(step["loss_classification"])
        assert float(step["loss"]) == pytest.approx(parts, rel=1e-6)
        active = float(step["active_centre_structured"]) + float(step["active_classification"])
        assert float(step["active"]) == active
    assert result.history["val_accuracy"].tolist() == [float(row["val_accuracy"]) for row in epochs]


def test_learning_rates_follow_the_schedule(tmp_path):
    train(tmp_path)  # warm-up over the first of three epochs, then a cosine
    rates = [float(row["lr"]) for row in rows_of(tmp_path / "logs/train.csv")]
    warm = [0.05 * share for share in (0.25, 0.5, 0.75, 1.0)]
    falling = [0.05 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates == pytest.approx(warm + falling)


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "logs/tensorboard"))
    events.Reload()
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "logs/train.csv")]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    assert [event.step for event in events.Scalars("epoch/val_accuracy")] == [4, 8, 12]


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="--tensorboard must be used with tensorboard installed"):
        train(tmp_path, tensorboard=True)


def test_quiet_shows_nothing(tmp_path, capsys):
    train(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_a_line_per_epoch_where_there_is_no_terminal(tmp_path, capsys):
    train(tmp_path, quiet=False)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "val_accuracy" in lines[0]


def test_a_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    train(tmp_path, quiet=False)
    shown = capsys.readouterr().err
    for text in ("/12", "loss", "active", "images/s"):
        assert text in shown


# --- a loss that is not finite --------------------------------------------------------------------


class Exploding(Objective):
    """Multiplies the loss by infinity from a given step on."""

    def __init__(self, inner, good_steps, factor):
        torch.nn.Module.__init__(self)
        self.inner, self.left, self.factor = inner, good_steps, factor

    needs_class_means, targets, columns, synthesis = False, "label", frozenset(), None

    def forward(self, outputs, batch, *, epoch=0.0):
        loss, parts = self.inner(outputs, batch, epoch=epoch)
        self.left -= 1
        return ObjectiveResult(loss if self.left >= 0 else self.factor(loss), parts)

    def after_step(self, outputs, batch):
        pass


@pytest.mark.parametrize(
    ("factor", "sentence"),
    [
        (lambda loss: loss * math.inf, "loss must be finite, got inf at step 6 (epoch 2)"),
        (lambda loss: loss * math.nan, "loss must be finite, got nan at step 6 (epoch 2)"),
        # finite, but its slope is not
        (lambda loss: loss + (loss - loss).sqrt(), "gradient norm must be finite, got nan at step"),
    ],
    ids=["inf", "nan", "gradient"],
)
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, factor, sentence):
    spec = tiny_spec()
    objective = Exploding(tiny_objective(), 5, factor)
    with pytest.raises(UserError) as caught:
        train(tmp_path, spec, objective=objective, checkpoint_steps=1)
    message = str(caught.value)
    assert sentence in message
    assert "lower optimiser.lr or set clip_norm, in a new run" in message
    batch = rows_of(tmp_path / "logs/stopped_batch.csv")
    assert len(batch) == 8
    assert f"batch {batch[0]['name']}, " in message
    assert "and 3 more" in message
    assert len(rows_of(tmp_path / "logs/train.csv")) == 5
    # What is saved is from before: the run can go on with another objective.
    result, _, _ = train(tmp_path, spec, objective=Exploding(tiny_objective(), 99, factor),
                         resume=True)  # fmt: skip
    assert result.steps == 12


def test_an_image_that_is_not_finite_is_named(tmp_path):
    data = tiny_data(images=TinyImages(broken_row=13))
    with pytest.raises(UserError, match=r"images hold values that are not finite: scene13\.png$"):
        train(tmp_path, tiny_spec(objective={}), data=data)


def test_an_image_without_a_name_is_named_by_its_row(tmp_path):
    data = tiny_data(images=TinyImages(broken_row=13), names=())
    with pytest.raises(UserError, match=r"not finite: row 13$"):
        train(tmp_path, tiny_spec(objective={}), data=data)


# --- precision, data --------------------------------------------------------------


def test_mixed_precision(tmp_path):
    _, embedder, _ = train(tmp_path / "half", tiny_spec(precision="bf16-mixed"))
    _, exact, _ = train(tmp_path / "full")
    assert embedder.head.weight.dtype == torch.float32
    assert not torch.equal(embedder.head.weight, exact.head.weight)
    torch.testing.assert_close(embedder.head.weight, exact.head.weight, atol=0.05, rtol=0.05)


def test_deterministic_algorithms_are_on_for_the_run_only(tmp_path):
    states = []

    def validate(embedder):
        states.append(torch.are_deterministic_algorithms_enabled())
        return accuracy(embedder)

    train(tmp_path, tiny_spec(deterministic=True, epochs=1), validate=validate)
    assert states == [True]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": LABELS[:5]}, "images must be 5, one for each label, got 32"),
        ({"names": ["a"]}, "names must be 32, one for each label, got 1"),
        ({"columns": {"group": LABELS[:3]}}, "group must be 32, one for each label, got 3"),
        ({"columns": {"colour": LABELS}}, r"columns must be among group, camera.*\['colour'\]"),
        ({"labels": LABELS[:0]}, "training images must be at least one, got 0"),
    ],
)
def test_data_that_does_not_fit_together(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        tiny_data(**changes)


def test_columns_reach_the_batch(tmp_path):
    met = []

    class Reading(Method):
        def updates(self, forward, batch, epoch):
            met.append(batch)
            yield from super().updates(forward, batch, epoch)

    groups = torch.arange(ROWS) * 10
    data = TrainingData(TinyImages(), LABELS, columns={"group": groups})
    train(tmp_path, data=data, method=Reading)
    for batch in met:
        assert torch.equal(batch.group, groups[batch.ids])
        assert torch.equal(batch.labels, LABELS[batch.ids])
        assert batch.camera is None
    draws = [torch.rand(4, generator=batch.generator) for batch in met]
    assert not torch.equal(draws[0], draws[1])
