"""The options of a run, as a configuration file writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from likeness.config import Spec
from likeness.data.augmentation import Augmentation, require_fit
from likeness.data.steps import Step
from likeness.errors import UserError, require
from likeness.models import ModelSpec
from likeness.objective import ObjectiveSpec
from likeness.sampling import SamplerSpec
from likeness.self_paced import SelfPacedSpec
from likeness.subclasses import SubclassSpec
from likeness.training.combinations import (
    check_batches,
    check_phases,
    check_pseudo_labels,
    check_representatives,
    check_self_paced,
    check_synthesis,
)
from likeness.training.methods.specs import MethodSpec
from likeness.training.pseudo_labels import PseudoLabelSpec

Monitor = Literal[
    "accuracy", "average_accuracy", "map_at_r", "macro_ap", "map", "wmap", "ndcg", "rank_1"
]


class SGDSpec(Spec):
    """Stochastic gradient descent.

    Attributes:
        lr: learning rate of the backbone, > 0; the schedule multiplies it.
        momentum: in [0, 1).
        nesterov: look-ahead momentum; needs momentum > 0.
        weight_decay: L2 penalty, >= 0; never on norms, biases and proxies.
        head_lr_mult: factor on `lr` for everything of the model behind the backbone, > 0.
    """

    name: Literal["sgd"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0)
    head_lr_mult: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGDSpec:
        if self.nesterov and self.momentum == 0:
            rule = "> 0 where nesterov is on"
            raise UserError(f"momentum must be {rule}, got {self.momentum}")
        return self


class AdamWSpec(Spec):
    """Adam with decoupled weight decay.

    Attributes:
        lr: learning rate of the backbone, > 0; the schedule multiplies it.
        weight_decay: >= 0; never on norms, biases and proxies.
        head_lr_mult: factor on `lr` for everything of the model behind the backbone, > 0.
    """

    name: Literal["adamw"] = "adamw"
    lr: float = Field(gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    head_lr_mult: float = Field(default=1.0, gt=0)


OptimiserSpec = Annotated[SGDSpec | AdamWSpec, Field(discriminator="name")]


class CosineSpec(Spec):
    """A half cosine from the full learning rate to zero, after a linear warm-up."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)


class StepSpec(Spec):
    """The learning rate times `gamma` at each milestone (in epochs), after a linear warm-up."""

    name: Literal["step"] = "step"
    warmup_epochs: float = Field(default=0.0, ge=0)
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    gamma: float = Field(default=0.1, gt=0, lt=1)


class ConstantSpec(Spec):
    """The same learning rate throughout, after a linear warm-up."""

    name: Literal["constant"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)


ScheduleSpec = Annotated[CosineSpec | StepSpec | ConstantSpec, Field(discriminator="name")]


class DataSpec(Spec):
    """What is done with the images before the model sees them.

    Attributes:
        resize: how a picture of another aspect ratio becomes one of `model.image_size`: `squash`
            takes the whole of it, `centre-crop` the largest part in its middle that has the ratio.
        augmentation: random changes in training; null switches them off.
        test: share of the groups kept for the final test, in [0, 1), where the data has no split.
        val: share of the groups kept for validation, in [0, 1), where the data has no split.
        groups: `group` keeps groups whole; `none` splits image by image, as most published
            splits do (neighbours may then straddle).
        protocol: a published split by the application's name for it; it then decides the shares,
            and `val` is a share of its training part. null: `test` and `val` decide.
        fold: the test fold, >= 1, where the data have a column `fold` (or the protocol has folds);
            the other folds train, and `val` is a share of them. null: no folds.
        bands: which bands of the files are used, in this order, by number (from 1) or by name
            (whatever its case); null takes all but alpha.
        block_km: images whose centres lie in one cell of a square geographic grid of this side, and
            images that overlap, form one group; null leaves the groups of the layout. Needs images
            with a CRS; with `groups: none` it only names the groups.
        steps: what is done to each image before it is resized, in this order, in training and ever
            after: `shades_of_grey`, `remove_dark_lines`, `crop_dark_border`, `crop_to_mask`; needs
            8-bit images of three bands. Without the cache it is done again in every epoch.
        grey: images of three bands are taken for red, green and blue and become grey (luminance),
            for ever after; grey ones stay. `model.bands` 3 repeats the one band.
        per_image_standardisation: each image is shifted and scaled by its own pixels to mean 0 and
            variance 1, for ever after; the statistics of the training images play no part then.
        cache_gib: sets that fit are kept decoded in memory, up to this many GiB; 0 never.
        scope_check: the model remembers what its training images look like, and `predict` answers
            others with `out_of_scope`.
    """

    resize: Literal["squash", "centre-crop"] = "squash"
    augmentation: Augmentation | None = Augmentation()
    test: float = Field(default=0.2, ge=0, lt=1)
    val: float = Field(default=0.1, ge=0, lt=1)
    groups: Literal["group", "none"] = "group"
    protocol: str | None = None
    fold: int | None = Field(default=None, ge=1)
    bands: list[int | str] | None = None
    block_km: float | None = Field(default=None, gt=0)
    steps: tuple[Step, ...] = ()
    grey: bool = False
    per_image_standardisation: bool = False
    cache_gib: float = Field(default=2.0, ge=0)
    scope_check: bool = False

    @field_validator("bands", mode="before")
    @classmethod
    def _numbers_and_names(cls, bands: object) -> object:
        fits = isinstance(bands, list) and bands and all(type(band) in (int, str) for band in bands)
        if bands is not None and not fits:
            raise ValueError("a list of one band or more, each a number from 1 or a name")
        return bands

    @model_validator(mode="after")
    def _something_to_train_on(self) -> DataSpec:
        if self.test + self.val >= 1:
            raise UserError(f"test + val must be < 1, got {self.test + self.val}")
        return self

    @model_validator(mode="after")
    def _scope_sees_the_light(self) -> DataSpec:
        rule = "false with per_image_standardisation, which takes the light that it judges by"
        fits = not (self.scope_check and self.per_image_standardisation)
        require(fits, "scope_check", rule, self.scope_check)
        return self


class RunSpec(Spec):
    """One training run.

    Attributes:
        seed: of everything random, >= 0.
        epochs: passes over the training images, >= 1.
        precision: of the network; losses are always computed in float32 or better.
        clip_norm: the gradient is shortened to this norm, > 0; null never.
        patience: stop after so many epochs without a better `monitor`, >= 1; null never.
        monitor: the validation score that chooses the best epoch; higher is better. Of sets with
            one class per image `accuracy`, `average_accuracy` (mean recall of the classes, for sets
            with rare ones) or `map_at_r`; of multi-label sets `macro_ap` (mean AP over the labels),
            `map`, `wmap` or `ndcg` (of retrieval). null chooses none: the last epoch's weights are
            kept (a fixed budget), and validation is only logged.
        workers: processes that load images; 0 loads in the training process. Changes no number.
        grad_cache: images per chunk when a batch is larger than memory (gradient caching); null
            sends the whole batch through the network at once.
        checkpoint_minutes: at most so long is lost when a run is killed, > 0; every epoch's end
            is kept besides. Changes no number.
        deterministic: only algorithms that repeat exactly on a GPU (slower); a CPU needs no such
            thing.
        subclasses: sub-classes found anew in rounds, for the terms with `labels: subclass`; null
            finds none.
        self_paced: how far each image is trusted, found anew before each epoch, for the loss or the
            miners `self_paced`; null trusts all.
        pseudo_labels: training without labels: clusters of the embeddings, found anew in rounds,
            take their place for all but validation; null goes by the labels of the data.
        frozen_epochs: so long the backbone keeps the weights it started with, and only what is
            behind it learns, see `FrozenBackbone`; for pretrained backbones. 0 freezes nothing.
        method: how a step trains beyond its objective: more networks, several losses, phases; null
            is ordinary training.
        start: a run or model directory whose whole network the run starts from, see
            `likeness.training.start`; null starts as `model.weights` says.
    """

    seed: int = Field(default=0, ge=0)
    epochs: int = Field(ge=1)
    model: ModelSpec
    objective: ObjectiveSpec = ObjectiveSpec()
    sampler: SamplerSpec
    optimiser: OptimiserSpec
    schedule: ScheduleSpec = CosineSpec()
    data: DataSpec = DataSpec()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip_norm: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)
    monitor: Monitor | None = "map_at_r"
    workers: int = Field(default=2, ge=0)
    grad_cache: int | None = Field(default=None, ge=1)
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    deterministic: bool = False
    subclasses: SubclassSpec | None = None
    self_paced: SelfPacedSpec | None = None
    pseudo_labels: PseudoLabelSpec | None = None
    frozen_epochs: int = Field(default=0, ge=0)
    method: MethodSpec | None = None
    start: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_start(self) -> RunSpec:
        fits = self.start is None or self.model.weights == "none"
        rule = "'none' where start names the whole network"
        require(fits, "model.weights", rule, self.model.weights)
        return self

    @model_validator(mode="after")
    def _augmentation_fits(self) -> RunSpec:
        require_fit(self.data.augmentation, self.model.image_size)
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> RunSpec:
        warmup, rule = self.schedule.warmup_epochs, f"<= epochs, {self.epochs}"
        require(warmup <= self.epochs, "schedule.warmup_epochs", rule, warmup)
        return self

    @model_validator(mode="after")
    def _frozen_is_pretrained(self) -> RunSpec:
        frozen, epochs = self.frozen_epochs, self.epochs
        require(frozen <= epochs, "frozen_epochs", f"<= epochs, {epochs}", frozen)
        random = self.model.weights == "none" and self.start is None
        require(not (frozen and random), "frozen_epochs", "0 for a backbone at random", frozen)
        return self

    @model_validator(mode="after")
    def _subclasses_are_read(self) -> RunSpec:
        read = any(term.labels == "subclass" for term in self.objective.terms)
        if read:
            rule = "given where a term has labels: subclass"
            require(self.subclasses is not None, "subclasses", rule, None)
        elif self.subclasses is not None:
            rule = "null where no term has labels: subclass"
            require(False, "subclasses", rule, self.subclasses.model_dump())
        return self

    @model_validator(mode="after")
    def _columns_are_read(self) -> RunSpec:
        check_batches(self.sampler, self.objective)
        check_phases(self.method, self.subclasses, self.epochs)
        check_self_paced(self.self_paced, self.objective, self.epochs)
        check_representatives(self.sampler, self.objective, self.method)
        pseudo_labels = self.pseudo_labels is not None
        check_synthesis(self.objective, self.epochs, pseudo_labels=pseudo_labels)
        if self.pseudo_labels is not None:
            check_pseudo_labels(
                self.objective, self.sampler, self.method, subclasses=self.subclasses is not None
            )
        return self

    @model_validator(mode="after")
    def _ensemble_keeps_its_balance(self) -> RunSpec:
        chosen = self.objective.ensemble
        if chosen is None or chosen.form != "penalty" or self.optimiser.name != "sgd":
            return self
        steep = self.optimiser.lr * chosen.lr_mult * chosen.penalty > 1
        rule = "at most 1 / (penalty lr) for SGD, which the penalty makes unstable"
        require(not steep, "objective.ensemble.lr_mult", rule, chosen.lr_mult)
        return self

    @model_validator(mode="after")
    def _patience_needs_a_score(self) -> RunSpec:
        fits = self.patience is None or self.monitor is not None
        require(fits, "patience", "null where monitor is null", self.patience)
        return self
