"""What a training run is made of, as frozen dataclasses. No torch. What can be wrong with it is in config_problems.py.

The field names are the flags (``--data.root``) and the keys of the YAML; the sentences are their help.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cocotag.backbones import BackboneName
from cocotag.errors import ConfigError

LossName = Literal["bce", "focal", "soft_f1", "asymmetric", "cross_entropy"]
"""The losses; `cocotag.losses.LOSSES` has a row for each."""

EXCLUSIVE_LOSSES = frozenset({"cross_entropy"})
"""The losses for data in which every image has exactly one tag."""

HeadName = Literal["linear", "csra", "ml_decoder"]
"""The heads; `cocotag.models.heads.HEADS` has a row for each."""


@dataclass(frozen=True)
class SourceConfig:
    """One of several data sets to learn from together.

    Attributes:
        root: Its folder: annotations/instances_SPLIT.json and SPLIT/.
        split: Split of it to learn from.
        aliases: What its class names are called among the classes that are learned: a YAML file, or the name of one that comes
            with cocotag (voc, open_images); null matches equal names only, whatever their case and spaces.
        known: Its classes that somebody looked for on every image, so that no label means absent; of the others only labels
            count. null takes what the alias file says, else the classes that it annotates at least once.
    """

    root: str
    split: str = "train"
    aliases: str | None = None
    known: list[str] | None = None


@dataclass(frozen=True)
class DataConfig:
    """What to learn from.

    Attributes:
        root: Folder of the data set: annotations/instances_SPLIT.json and SPLIT/; null takes the first source's.
        train_split: Split to learn from, if there are no sources.
        sources: Several data sets to learn from together, in place of train_split; val and tune splits stay those of root.
        classes: What is learned: own (the classes of train_split, or of the first source), coco80, union (of all sources), or
            a list of names.
        fraction: Share of the training images that is used, for quick runs; every class keeps that share, and at least one.
        cache_images: Keep shrunken copies of the images, made on first use, and load those: several times as fast.
        val_split: Split that is only reported on; null reports nothing.
        tune_split: Split that picks the checkpoint, stops early and sets thresholds; null takes a fraction of train.
        tune_fraction: That fraction, stratified by class.
        augment: standard (random crop, flip, colour), plain (padded shift and flip, for small images) or none.
        min_crop: Smallest area of the random crop, as a fraction of the photograph.
        augment_views: How many augmentations of each image there are, in turns; null never repeats one. With few, a first stage
            that trains the head alone computes each one's features once, and its later epochs take next to no time; it must
            have more epochs than that, one process, and a quarter of the memory suffice.
        repeat_below: Images of classes that are on less than this share of them come more often (repeat-factor sampling); null
            shows every image once an epoch.
        workers: Processes that load images; null takes one per core, at most 8.
    """

    root: str | None = None
    train_split: str = "train"
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
        num_classes: Outputs; null takes the classes of the data.
        width: Multiplier of all channels.
        channel_divisor: Channels are rounded to multiples of it; 1 rounds plainly.
        output_stride: Input side over feature map side, at most; below 32, dilation keeps the receptive field.
        strides: Of the stem and the four stages that halve the picture, each 1 or 2; small pictures want fewer 2s.
        image_size: Side of the square input, pixels.
        head: linear is average pooling, dropout and one linear layer; csra adds attention for each class; ml_decoder is a
            transformer's decoder with a query for each class or group.
        csra_heads: Classifiers of csra.
        csra_weight: Of the attention of csra against the average.
        decoder_width: Channels of ml_decoder, a multiple of 8.
        dropout: Probability of dropping a feature in the head in training.
        prior: First predicted probability: one for every class, about the share of positives in the data, or data for each
            class's own share of the training images.
        initialisation: zero_branches starts as a shallow network that deepens; original is the one that cocotag grew from.
        weights: imagenet (fetched by torchvision), a file with a state dict of torchvision's network, a cocotag checkpoint (of
            which classes of the same name keep their weights), or null.
        carry_classes: Start the head from what the weights' own classifier knows of the classes, where it has a name for them;
            of ImageNet's 1,000 classes, configs/aliases/imagenet.yaml says which are COCO's.
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
    """The loss; each ignores the parameters that it does not have.

    Attributes:
        name: bce, focal, soft_f1 or asymmetric; cross_entropy for data in which every image has exactly one tag.
        pos_weight: Weight of positives in bce: none, inverse (negatives over positives of the class) or effective (the same of
            effective numbers, by which images beyond 1 / (1 - pos_weight_beta) count for little); capped.
        pos_weight_cap: Largest such weight.
        pos_weight_beta: Of effective, below 1; the nearer to 1, the nearer to inverse.
        logit_adjustment: How much of each class's log odds is added to its logits in training, so that what is learned is what
            tells a class beyond its frequency; 0 for none, 1 for all. Not for cross_entropy.
        gamma: Focusing exponent of focal.
        alpha: Weight of positives against negatives in focal, in (0, 1); null weighs both alike.
        gamma_pos: Focusing exponent of asymmetric for positives.
        gamma_neg: Focusing exponent of asymmetric for negatives.
        shift: Probability below which a negative costs nothing in asymmetric.
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
        """Whether the classes exclude each other, so that an image's probabilities add up to 1."""
        return self.name in EXCLUSIVE_LOSSES


@dataclass(frozen=True)
class StageConfig:
    """A stretch of epochs in which the same layers learn.

    Attributes:
        epochs: How many.
        train: Layer groups that learn, counted from 0 at the input: all, head, backbone, first:3, last:5, 2-9, or several
            joined by commas.
        lr: Highest learning rate of the stage.
        lr_decay: Factor on the learning rate for each layer group further from the head.
        curve: How the rate goes: one_cycle (up for three tenths of the stage, then down to nothing), cosine (down from the
            first step) or constant.
        keep_norms: Whether batch norms of layers that do not learn keep the statistics they have; else they gather new ones.
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
        data: What to learn from.
        model: The network.
        loss: The loss.
        stages: Stretches of epochs, each with its layers and learning rate.
        batch_size: Images a step, of all devices together.
        accumulate: Batches whose gradients are averaged before the weights move; what an epoch leaves over counts for less.
        weight_decay: AdamW's, on weights; norms and biases have none.
        gradient_clip: Largest norm of the gradient; null does not clip.
        ema_decay: Decay of the exponential moving average of the weights, which is what is scored, kept and exported; it ramps
            up from the first step on. null scores the weights themselves.
        precision: auto takes what is fast here; bf16, fp16 (CUDA only) or float32.
        best_by: What the checkpoint that is exported is best by, on the tune images: map; or loss, which a few dozen images can
            tell, where mAP is mostly luck; or last takes the last epoch's.
        patience: Epochs of the last stage without a better one before the run stops early; null never does.
        thresholds: What each class's threshold is chosen for on the tune images: f1, f1:global, precision:0.9, recall:0.8 or
            fixed:0.5.
        loggers: Where metrics go besides metrics.csv: any of tensorboard, wandb, mlflow.
        devices: GPUs that train together; on a machine without one, processes. Each has its part of a batch, and of that its
            own batch norms' statistics and soft F1.
        nodes: Machines that train together, each started by torchrun or SLURM.
        compile: Whether torch.compile makes one program of the network; slow to begin, and quicker on a GPU.
        seed: Of initialisation, order and augmentation.
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
        """The reverse of `to_json`.

        Raises:
            ConfigError: Unknown keys, or a part that is not a mapping.
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
            raise ConfigError(f"the config is not one of this version ({error}).") from None


def parse_groups(text: str, groups: int) -> list[int]:
    """Which layer groups ``text`` names.

    Args:
        text: ``all``, ``head``, ``backbone`` (all but the head), ``first:3``, ``last:5``, ``2-9`` (both ends included), ``7``,
            or several joined by commas.
        groups: How many there are; the last is the head.

    Returns:
        Sorted group numbers.

    Raises:
        ConfigError: Not such a text, or numbers that do not exist.
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
                f"{text!r} names no layer groups. Use all, head, backbone, first:3, last:5, 2-9, or several joined by commas."
            ) from None
        if not 0 <= first <= last < groups:
            raise ConfigError(
                f"{text!r} names layer groups {first} to {last}; there are 0 to {groups - 1}, the last is the head."
            )
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def find_config(key: str, name: str, folder: str = "") -> Path:
    """A YAML file by its path, or by its name among those that come with cocotag.

    Args:
        key: The flag or key that named it, for the message.
        name: Path or name.
        folder: Folder of ``configs/`` that names are looked for in.

    Raises:
        ConfigError: It is neither; the message lists the names there are.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parent
    # In a wheel the configs are inside the package; in a checkout they are beside it.
    configs = next((path for path in (package / "configs", package.parent / "configs") if path.is_dir()), package) / folder
    if (configs / f"{name}.yaml").is_file():
        return configs / f"{name}.yaml"
    known = ", ".join(sorted(path.stem for path in configs.glob("*.yaml")))
    raise ConfigError(f"{key} is {name}, which is neither a file nor one of cocotag's own: {known}.")


def root_of(data: DataConfig) -> str:
    """The data set that validation and tune splits are of: ``root``, or the first source's; empty if there is neither."""
    return data.root or (data.sources[0].root if data.sources else "")
