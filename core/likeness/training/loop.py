"""THE loop: batch -> features -> heads -> objective -> update -> after-step, and back again.

One run, from its first step or its last checkpoint to its end. The steps of an epoch are in
`_train_epoch`; everything that it calls is a function of a page or less in the files beside this.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from likeness.errors import UserError
from likeness.files import write_text
from likeness.objective import Objective
from likeness.sampling import BatchPlan
from likeness.training import seeds
from likeness.training.assemble import assemble
from likeness.training.data import TrainingData
from likeness.training.determinism import deterministic_algorithms
from likeness.training.distributed import build_fabric, from_first
from likeness.training.forward import build_forward
from likeness.training.half_precision import require_exact_gradients
from likeness.training.hooks import EpochHook, call_hooks
from likeness.training.ledger import Row, StepNumbers, read_step
from likeness.training.logs import RunLogs
from likeness.training.progress import Display
from likeness.training.run import Run
from likeness.training.schedules import lr_factor, set_rate
from likeness.training.spec import RunSpec
from likeness.training.step import Method, take_step

# Called with the embedder in evaluation mode and without gradients; higher scores are better.
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class FitResult:
    """What came of a run; the best weights are in the embedder and the objective.

    Attributes:
        best_epoch: the epoch whose weights they are, counted from 1.
        best_score: its value of `spec.monitor`; nan without validation or monitor, or if no epoch's
            was a number (a sentence then says so); the last epoch then counts as the best.
        epochs: epochs done.
        steps: steps done.
        history: one row per epoch, the columns of `logs/epochs.csv`.
        stopped_early: ended by `spec.patience`.
        already_finished: there was nothing left to do.
        subclasses_RN: sub-class number of each training image in each round; None without rounds.
        weights_N: how far each training image was trusted in the last epoch; None where all were.
        pseudo_labels_N: the cluster of each training image in the last round; None with labels.
    """

    best_epoch: int
    best_score: float
    epochs: int
    steps: int
    history: pd.DataFrame
    stopped_early: bool
    already_finished: bool
    subclasses_RN: Tensor | None = None
    weights_N: Tensor | None = None
    pseudo_labels_N: Tensor | None = None


def fit(
    run_dir: Path,
    spec: RunSpec,
    embedder: nn.Module,
    objective: Objective,
    data: TrainingData,
    plan: BatchPlan,
    validate: Validate | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
    fabric: Fabric | None = None,
    method: Callable[[nn.Module, Objective], Method] | None = None,
    hooks: Sequence[EpochHook] = (),
    checkpoint_steps: int | None = None,
) -> FitResult:
    """Train `embedder` on `objective`, and leave the best epoch's weights in both.

    A run killed at any moment and resumed equals the uninterrupted one bit for bit (same machine,
    versions and thread count), in weights and in logs but for the columns that tell time. For that
    the embedder and the objective must be built the same way each time: seed torch before building
    them, e.g. `torch.manual_seed(spec.seed)`.

    Writes `checkpoints/last/`, `logs/train.csv` and `logs/epochs.csv` under `run_dir`.

    Args:
        run_dir: the run's directory.
        spec: the options; `model`, `objective`, `sampler` and `data` are taken as already built
            and only compared on resume.
        embedder: images -> `Outputs`.
        objective: what to minimise.
        data: training images, labels, names.
        plan: the batches; `build_plan(spec.sampler, labels, seed=spec.seed, columns=...)`.
        validate: embedder -> scores by name, among them `spec.monitor`; called after each epoch.
            None, or a monitor that is null: the last epoch is the best.
        resume: continue from the last checkpoint; without one, start.
        quiet: show nothing.
        tensorboard: write events to `logs/tensorboard` too.
        fabric: a launched Fabric; None runs in this process on the device at hand.
        method: makes the method of `embedder` and `objective`; None makes what `spec.method` names.
        hooks: told of each epoch's start.
        checkpoint_steps: also save after every so many steps.

    Returns:
        The result; `history` covers the whole run, what came before a resume included.

    Raises:
        UserError: if `run_dir` holds a checkpoint and `resume` is off; if it is another run's; if
            the objective learns from distributions over the classes and `data` has none; if
            `spec.method` makes no sense with the embedder, the objective or the labels; if
            the loss is not finite (naming the batch); if `validate` lacks `spec.monitor`; for a
            precision that would spoil gradients, see `require_exact_gradients`.
    """
    if spec.patience is not None and validate is None:
        raise UserError(f"patience must be null without validation, got {spec.patience}")
    if fabric is None:
        fabric = build_fabric(spec.precision)
        fabric.launch()
    if spec.precision == "bf16-mixed" and fabric.device.type == "cpu":
        require_exact_gradients(embedder, data.images[0][0])
    run = assemble(
        run_dir,
        spec,
        embedder,
        objective,
        data,
        plan,
        fabric=fabric,
        make_method=method,
        hooks=hooks,
        checkpoint_steps=checkpoint_steps,
    )
    run.begin(resume=resume)
    display = Display(epochs=spec.epochs, quiet=quiet or not run.is_first)
    already_finished = run.ledger.finished
    if already_finished:
        display.say(f"{run_dir} is finished: nothing left to train")
    elif run.ledger.step:
        display.say(f"{run_dir} goes on after step {run.ledger.step}")
    if not already_finished:
        _train(run, validate, display, tensorboard)
    run.take_best()
    return _result(run, already_finished)


def _train(run: Run, validate: Validate | None, display: Display, tensorboard: bool) -> None:
    ledger = run.ledger
    with ExitStack() as open_things:
        open_things.enter_context(deterministic_algorithms(run.spec.deterministic))
        open_things.enter_context(closing(display))
        open_things.enter_context(closing(run.loader))
        logs = None
        if run.is_first:
            logs = RunLogs(
                run.folder / "logs",
                step=ledger.step,
                epochs=len(ledger.history),
                tensorboard=tensorboard,
            )
            open_things.enter_context(closing(logs))
        while not ledger.finished:
            rate = _train_epoch(run, display, logs)
            scores = _validate(run, validate)
            row = ledger.close_epoch(scores, rate)
            score = _monitored(run, validate, scores)
            better = ledger.judge(score, epochs=run.spec.epochs, patience=run.spec.patience)
            if better and validate is not None:
                run.keep_as_best()
            if logs is not None:
                logs.epoch(row, ledger.step)
            display.epoch(row)
            run.save(logs)
        chooses = validate is not None and run.spec.monitor is not None
        if run.is_first and chooses and ledger.best_score is None:
            display.warn(_never_a_number(run))


def _train_epoch(run: Run, display: Display, logs: RunLogs | None) -> float:
    """The rest of the running epoch; returns its last learning rate."""
    spec, ledger, fabric, method = run.spec, run.ledger, run.fabric, run.method
    method.train()
    if ledger.position == 0:
        _start_epoch(run)
    batches = run.plan.batches(ledger.epoch)
    total = spec.epochs * len(batches)
    started = time.perf_counter()
    for images_NCHW in run.loader(_items(run, batches)):
        rows = batches[ledger.position]
        epoch = ledger.epoch + ledger.position / len(batches)
        factor = _lr_factor(run, ledger.position, len(batches))
        set_rate(run.optimisers, factor)
        seeds.reseed(spec.seed, seeds.STEP, ledger.step, fabric.global_rank)

        forward = build_forward(method.embedder, images_NCHW, fabric, chunk=spec.grad_cache)
        report = take_step(
            method,
            forward,
            run.batch(rows),
            run.optimisers,
            fabric,
            epoch=epoch,
            clip_norm=spec.clip_norm,
        )
        numbers = read_step(report)
        if not numbers.finite:
            raise _stop(run, numbers, rows, images_NCHW)

        now = time.perf_counter()
        seconds, started = now - started, now
        ledger.count_step(numbers, len(rows), seconds)
        speed = len(rows) / seconds
        if logs is not None:
            logs.step(_step_row(run, numbers, spec.optimiser.lr * factor, speed))
        display.step(
            done=ledger.step,
            total=total,
            epoch=ledger.epoch + 1,
            loss=numbers.loss,
            active=numbers.active,
            speed=speed,
        )
        run.save_if_due(logs)
    return spec.optimiser.lr * _lr_factor(run, len(batches) - 1, len(batches))


def _lr_factor(run: Run, position: int, batches: int) -> float:
    """The schedule at one of the `batches` steps of the running epoch."""
    spec = run.spec
    epoch = run.ledger.epoch + position / batches
    return lr_factor(spec.schedule, epoch=epoch, step=1 / batches, epochs=spec.epochs)


def _start_epoch(run: Run) -> None:
    spec, ledger = run.spec, run.ledger
    seeds.reseed(spec.seed, seeds.EPOCH, ledger.epoch)
    call_hooks(
        run.hooks,
        ledger.epoch,
        run.method.embedder,
        run.loader,
        run.data.labels.to(run.fabric.device),
        run.fabric,
        batch_size=len(run.plan.batches(0)[0]),
    )


def _items(run: Run, batches: Sequence[Sequence[int]]) -> list[Sequence[tuple[int, int, int]]]:
    """What this process loads of the batches that are left: (row, step, slot) of each image.

    The slot counts through the global batch, so an image's augmentation does not depend on the
    number of processes.
    """
    ledger = run.ledger
    first_step = ledger.step - ledger.position
    return [
        run.share([(row, first_step + place, slot) for slot, row in enumerate(rows)])
        for place, rows in enumerate(batches)
        if place >= ledger.position
    ]


def _step_row(run: Run, numbers: StepNumbers, rate: float, speed: float) -> Row:
    return {
        "step": run.ledger.step,
        "epoch": run.ledger.epoch + 1,
        "loss": numbers.loss,
        "active": numbers.active,
        "grad_norm": numbers.grad_norm,
        "lr": rate,
        **numbers.parts,
        "images_per_s": speed,
    }


def _validate(run: Run, validate: Validate | None) -> dict[str, float]:
    """The scores of the epoch, on the first process; the others wait for what they need of them."""
    if validate is None or not run.is_first:
        return {}
    seeds.reseed(run.spec.seed, seeds.VALIDATE, run.ledger.epoch)
    run.method.eval()
    with torch.no_grad():
        scores = dict(validate(run.method.embedder))
    if run.spec.monitor is not None and run.spec.monitor not in scores:
        known = ", ".join(scores)
        raise UserError(f"monitor must be one of the scores {known}, got {run.spec.monitor!r}")
    return scores


def _monitored(run: Run, validate: Validate | None, scores: Mapping[str, float]) -> float | None:
    monitor = run.spec.monitor
    if validate is None or monitor is None:
        return None
    return from_first(float(scores.get(monitor, math.nan)), run.fabric)


def _never_a_number(run: Run) -> str:
    """What to say when `monitor` could not choose an epoch."""
    monitor, last = run.spec.monitor, run.ledger.history[-1]
    others = [name.removeprefix("val_") for name in last if name.startswith("val_")]
    others = [name for name in others if name != monitor]
    advice = f", another score is {' or '.join(others)}" if others else ""
    return (
        f"monitor must be a number after some epoch to choose the best one, got nan for "
        f"{monitor!r} after each of {run.ledger.epoch} epochs; the last epoch's weights are kept"
        f"{advice}"
    )


def _stop(run: Run, numbers: StepNumbers, rows: Sequence[int], images_NCHW: Tensor) -> UserError:
    """The loss is not finite: name the batch, write it down, and say what to try."""
    name = "loss" if not math.isfinite(numbers.loss) else "gradient norm"
    value = numbers.loss if name == "loss" else numbers.grad_norm
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["slot", "row", "name"])
    writer.writerows((slot, row, run.data.name(row)) for slot, row in enumerate(rows))
    listed = run.folder / "logs" / "stopped_batch.csv"
    if run.is_first:
        write_text(listed, table.getvalue())
    own = run.share(rows)
    broken = [
        row for row, image in zip(own, images_NCHW, strict=True) if not bool(image.isfinite().all())
    ]
    advice = "lower optimiser.lr or set clip_norm, in a new run"
    if broken:
        advice = f"these images hold values that are not finite: {_some(run, broken)}"
    return UserError(
        f"{name} must be finite, got {value} at step {run.ledger.step + 1} (epoch "
        f"{run.ledger.epoch + 1}), batch {_some(run, rows)} (all in {listed}); {advice}"
    )


def _some(run: Run, rows: Sequence[int], most: int = 5) -> str:
    names = ", ".join(run.data.name(row) for row in rows[:most])
    return names if len(rows) <= most else f"{names} and {len(rows) - most} more"


def _result(run: Run, already_finished: bool) -> FitResult:
    ledger = run.ledger
    return FitResult(
        best_epoch=ledger.best_epoch,
        best_score=math.nan if ledger.best_score is None else ledger.best_score,
        epochs=ledger.epoch,
        steps=ledger.step,
        history=pd.DataFrame(ledger.history),
        stopped_early=ledger.stopped_early,
        already_finished=already_finished,
        subclasses_RN=None if run.subclasses is None else run.subclasses.rounds_RN,
        weights_N=None if run.pacing is None else run.pacing.weights_N,
        pseudo_labels_N=None if run.pseudo is None else run.pseudo.pseudo_labels_N,
    )
