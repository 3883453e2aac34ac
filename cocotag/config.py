"""The config of a training run as frozen dataclasses. Does not import torch. config_problems.py checks it.

The field names are the flags (``--data.root``) and the keys of the YAML; the docstrings are the help of the command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cocotag.backbones import BackboneName
from cocotag.errors import ConfigError

LossName = Literal["bce", "focal", "soft_f1", "asymmetric", "cross_entropy"]
"""Names of the losses; `cocotag.losses.LOSSES` has a row for each."""

EXCLUSIVE_LOSSES = frozenset({"cross_entropy"})
"""Names of the losses for data in which every image has exactly one tag."""

HeadName = Literal["linear", "csra", "ml_decoder"]
"""Names of the heads; `cocotag.models.heads.HEADS` has a row for each."""


@dataclass(frozen=True)
class SourceConfig:
    """One of several data sets for training.

    Attributes:
        root: Folder of the data set, in COCO's layout or as another program exported it.
        split: Split for training.
        aliases: Alias file that translates its class names: a YAML file, or one that comes with cocotag (voc, open_images).
            null matches equal names only, ignoring case and spaces.
        known: Classes that are annotated exhaustively in this data set, so that an image without the label lacks the class.
            For other classes only labels count. null takes the list of the alias file, else all classes with an annotation.
    """

    root: str
    split: str = "train"
    aliases: str | None = None
    known: list[str] | None = None


@dataclass(frozen=True)
class DataConfig:
    """The training data.

    Attributes:
        root: Folder of the data set, with annotations/instances_SPLIT.json and SPLIT/; null takes the first source's.
        train_split: Split for training, if there are no sources.
        annotations: Annotation file, if it is not found in the data set; {split} in it stands for the name of the split.
        images: Folder of its images, likewise.
        crowd_is_object: Whether annotations with iscrowd 1 are objects like any other: some programs write all masks so.
        sources: Several data sets to train on together, instead of train_split; val and tune splits stay those of root.
        classes: Classes to train: own (those of train_split, or of the first source), coco80, union (of all sources), or a
            list of names.
        fraction: Share of the training images to use, for quick runs; every class keeps this share, and at least one image.
        cache_images: Create downscaled copies of the images on first use and load those, which is several times faster.
        val_split: Split that is only reported on; null reports nothing.
        tune_split: Split for choosing the checkpoint, early stopping and tuning thresholds; null takes a fraction of train.
        tune_fraction: That fraction, stratified by class.
        augment: standard (random crop, flip, colour), plain (padded shift and flip, for small images) or none.
        min_crop: Smallest area of the random crop, as a fraction of the photograph.
        augment_views: Number of augmentations per image, used in turn; null never repeats one. With a small number, a first
            stage that trains only the head computes the features of each augmentation once, and its later epochs take almost
            no time. This needs more epochs than augmentations, one process, and features that fit a quarter of the memory.
        repeat_below: Repeat images of classes that occur on less than this share of the images (repeat-factor sampling); null
            uses every image once per epoch.
        workers: Number of processes that load images; null takes one per core, at most 8.
    """

    root: str | None = None
    train_split: str = "train"
    annotations: str | None = None
    images: str | None = None
    crowd_is_object: bool = False
    sources: list[SourceConfig] = field(default_factory=list)
    classes: Literal["own", "coco80", "union"] | list[str] = "own"
    fraction: float = 1.0
    cache_images: bool = False
    val_split: str | None = "val"
    tune_split: str | None = None
    tune_fraction: float = 0.1
    augment: Literal["standard", "plain", "none"] = "standard"
    min_crop: float = 0.5
    augment_views: int | None = None
    repeat_below: float | None = None
    workers: int | None = None


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        name: Architecture of the backbone.
        num_classes: Number of outputs; null takes the classes of the data.
        width: Multiplier of all channels.
        channel_divisor: Channels are rounded to multiples of this number; 1 rounds to the nearest integer.
        output_stride: Largest ratio of input side to feature map side; below 32, dilation keeps the receptive field.
        strides: Strides of the stem and of the four stages that halve the feature map, each 1 or 2; small images need fewer
            2s.
        image_size: Side of the square input, pixels.
        head: linear is average pooling, dropout and one linear layer; csra adds attention per class; ml_decoder is a
            transformer decoder with one query per class or group of classes.
        csra_heads: Number of classifiers of csra.
        csra_weight: Weight of the attention of csra relative to the average.
        decoder_width: Channels of ml_decoder, a multiple of 8.
        dropout: Probability of dropping a feature in the head in training.
        prior: First predicted probability: one number for all classes, about the share of positives in the data, or data for
            each class's own share of the training images.
        initialisation: zero_branches starts as a shallow network that deepens in training; original is that of the code that
            cocotag grew from.
        weights: imagenet (downloaded by torchvision), a file with a state dict of torchvision's network, a cocotag checkpoint
            (classes with the same name keep their weights), or null.
        carry_classes: Start the head from the classifier of the weights, for classes that it has. For ImageNet's 1,000 classes,
            configs/aliases/imagenet.yaml lists the matching COCO classes.
    """

    name: BackboneName = "mobilenet_v2"
    num_classes: int | None = None
    width: float = 1.0
    channel_divisor: int = 8
    output_stride: int = 32
    strides: list[int] = field(default_factory=lambda: [2, 2, 2, 2, 2])
    image_size: int = 224
    head: HeadName = "linear"
    csra_heads: int = 1
    csra_weight: float = 0.2
    decoder_width: int = 768
    dropout: float = 0.2
    prior: float | Literal["data"] = 0.03
    initialisation: Literal["zero_branches", "original"] = "zero_branches"
    weights: str | None = None
    carry_classes: bool = True


@dataclass(frozen=True)
class LossConfig:
    """The loss; each loss ignores the parameters of the others.

    Attributes:
        name: bce, focal, soft_f1 or asymmetric; cross_entropy for data in which every image has exactly one tag.
        pos_weight: Weight of positives in bce: none, inverse (negatives divided by positives of the class) or effective (the
            same for effective numbers, in which images beyond 1 / (1 - pos_weight_beta) hardly count); capped.
        pos_weight_cap: Largest weight of positives.
        pos_weight_beta: Parameter of effective, below 1; the closer to 1, the closer to inverse.
        logit_adjustment: Share of each class's log odds that is added to its logits in training, so that the network learns
            the class beyond its frequency; 0 for none, 1 for all. Not for cross_entropy.
        gamma: Focusing exponent of focal.
        alpha: Weight of positives relative to negatives in focal, in (0, 1); null weights both equally.
        gamma_pos: Focusing exponent of asymmetric for positives.
        gamma_neg: Focusing exponent of asymmetric for negatives.
        shift: Probability below which a negative has no loss in asymmetric.
        smoothing: Part of the target that cross_entropy spreads over all classes.
    """

    name: LossName = "bce"
    pos_weight: Literal["none", "inverse", "effective"] = "none"
    pos_weight_cap: float = 10.0
    pos_weight_beta: float = 0.999
    logit_adjustment: float = 0.0
    gamma: float = 2.0
    alpha: float | None = 0.25
    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    shift: float = 0.05
    smoothing: float = 0.0

    @property
    def exclusive(self) -> bool:
        """Whether the classes are exclusive, so that the probabilities of an image add up to 1."""
        return self.name in EXCLUSIVE_LOSSES


@dataclass(frozen=True)
class StageConfig:
    """A number of epochs in which the same layers are trained.

    Attributes:
        epochs: Number of epochs.
        train: Layer groups to train, counted from 0 at the input: all, head, backbone, first:3, last:5, 2-9, or several
            joined by commas.
        lr: Highest learning rate of the stage.
        lr_decay: Factor on the learning rate for each layer group further from the head.
        curve: Learning rate schedule: one_cycle (rises for 30 % of the stage, then falls to almost zero), cosine (falls from
            the first step) or constant.
        keep_norms: Whether batch norms of frozen layers keep their statistics; if false, they update them.
    """

    epochs: int = 1
    train: str = "all"
    lr: float = 1e-3
    lr_decay: float = 1.0
    curve: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    keep_norms: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        data: The training data.
        model: The network.
        loss: The loss.
        stages: The stages of training, each with its epochs, layers and learning rate.
        batch_size: Images per step, over all devices together.
        accumulate: Number of batches whose gradients are averaged per update; the last update of an epoch may have fewer.
        weight_decay: Weight decay of AdamW; norms and biases have none.
        gradient_clip: Largest norm of the gradient; null does not clip.
        ema_decay: Decay of the exponential moving average (EMA) of the weights, which ramps up from the first step. The
            averaged weights are scored, saved and exported. null uses the weights themselves.
        precision: bf16, fp16 (CUDA only) or float32; auto takes the fastest on this machine.
        best_by: Criterion on the tune images for the exported checkpoint: map, or loss, which is more reliable on a few dozen
            images, where mAP is mostly luck; last takes the last epoch.
        patience: Number of epochs of the last stage without improvement before the run stops early; null never stops early.
        thresholds: Rule for tuning each class's threshold on the tune images: f1, f1:global, precision:0.9, recall:0.8 or
            fixed:0.5.
        loggers: Loggers besides metrics.csv: any of tensorboard, wandb, mlflow.
        devices: Number of GPUs, or of processes on a machine without a GPU. Each takes its part of a batch and computes batch
            norm statistics and soft F1 on that part.
        nodes: Number of machines that train together, each started by torchrun or SLURM.
        compile: Compile the network with torch.compile, which starts slowly and then runs faster on a GPU.
        seed: Seed of initialisation, order and augmentation.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stages: list[StageConfig] = field(default_factory=lambda: [StageConfig(epochs=10)])
    batch_size: int = 32
    accumulate: int = 1
    weight_decay: float = 0.01
    gradient_clip: float | None = 1.0
    ema_decay: float | None = 0.9997
    precision: Literal["auto", "bf16", "fp16", "float32"] = "auto"
    best_by: Literal["map", "loss", "last"] = "map"
    patience: int | None = None
    thresholds: str = "f1"
    loggers: list[Literal["tensorboard", "wandb", "mlflow"]] = field(default_factory=lambda: ["tensorboard"])
    devices: int = 1
    nodes: int = 1
    compile: bool = False
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_json`.

        Raises:
            ConfigError: A key is unknown, or a part is not a mapping.
        """
        try:
            rest = {key: plain[key] for key in plain if key not in ("data", "model", "loss", "stages")}
            data = dict(plain.get("data", {}))
            return cls(
                data=DataConfig(**{**data, "sources": [SourceConfig(**source) for source in data.get("sources", [])]}),
                model=ModelConfig(**plain.get("model", {})),
                loss=LossConfig(**plain.get("loss", {})),
                stages=[StageConfig(**stage) for stage in plain.get("stages", [])],
                **rest,
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"The config does not fit this version of cocotag ({error}).", code="config_unsupported"
            ) from None


def parse_groups(text: str, groups: int) -> list[int]:
    """The layer groups that ``text`` names.

    Args:
        text: ``all``, ``head``, ``backbone`` (all but the head), ``first:3``, ``last:5``, ``2-9`` (both ends included), ``7``,
            or several joined by commas.
        groups: Number of layer groups; the last is the head.

    Returns:
        Sorted group numbers.

    Raises:
        ConfigError: The text is invalid, or a number does not exist.
    """
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        try:
            if part == "all":
                first, last = 0, groups - 1
            elif part == "head":
                first = last = groups - 1
            elif part == "backbone":
                first, last = 0, groups - 2
            elif part.startswith("first:"):
                first, last = 0, int(part.removeprefix("first:")) - 1
            elif part.startswith("last:"):
                first, last = groups - int(part.removeprefix("last:")), groups - 1
            else:
                ends = [int(end) for end in part.split("-")]
                first, last = ends[0], ends[-1]
                if len(ends) > 2:
                    raise ValueError
        except ValueError:
            raise ConfigError(
                f"{text!r} does not name layer groups. "
                "Use all, head, backbone, first:3, last:5, 2-9, or several joined by commas.",
                code="layer_groups_invalid",
            ) from None
        if not 0 <= first <= last < groups:
            raise ConfigError(
                f"{text!r} names layer groups {first} to {last}, but they go from 0 to {groups - 1}, the head.",
                code="layer_groups_invalid",
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def find_config(key: str, name: str, folder: str = "") -> Path:
    """The path of a YAML file, given by its path or by the name of one that comes with cocotag.

    Args:
        key: The flag or field that names it, for the message.
        name: Path or name.
        folder: Folder of ``configs/`` in which names are looked up.

    Raises:
        ConfigError: There is no such file or name; the message lists the names.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parent
    # In a wheel the configs are inside the package; in a checkout they are beside it.
    configs = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), package) / folder
    if (configs / f"{name}.yaml").is_file():
        return configs / f"{name}.yaml"
    names = ", ".join(sorted(path.stem for path in configs.glob("*.yaml")))
    raise ConfigError(f"{key} is {name}, which is neither a file nor one of cocotag's own: {names}.", code="config_missing")


def root_of(data: DataConfig) -> str:
    """The data set of the val and tune splits: ``root``, or the first source's root; empty without either."""
    return data.root or (data.sources[0].root if data.sources else "")
