"""What a training run is made of, as frozen dataclasses, and everything that can be wrong with it. No torch.

The field names are the flags (``--data.root``) and the keys of the YAML; the sentences are their help.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cocotag.errors import ConfigError

LAYER_GROUPS = {"mobilenet_v2": 20, "mobilenet_v3_small": 14, "mobilenet_v3_large": 18}
"""Layer groups of each network, numbered from 0 at the input; the last is the head."""


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
        prior: First predicted probability of every class, about the share of positives in the data.
        initialisation: zero_branches starts as a shallow network that deepens; original is the one that cocotag grew from.
        weights: imagenet (fetched by torchvision), a file with a state dict of torchvision's network, a cocotag checkpoint (of
            which classes of the same name keep their weights), or null.
    """

    name: Literal["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"] = "mobilenet_v2"
    num_classes: int | None = None
    width: float = 1.0
    channel_divisor: int = 8
    output_stride: int = 32
    strides: list[int] = field(default_factory=lambda: [2, 2, 2, 2, 2])
    image_size: int = 224
    head: Literal["linear", "csra", "ml_decoder"] = "linear"
    csra_heads: int = 1
    csra_weight: float = 0.2
    decoder_width: int = 768
    dropout: float = 0.2
    prior: float = 0.03
    initialisation: Literal["zero_branches", "original"] = "zero_branches"
    weights: str | None = None


@dataclass(frozen=True)
class LossConfig:
    """The loss; each ignores the parameters that it does not have.

    Attributes:
        name: bce, focal, soft_f1 or asymmetric; cross_entropy for data in which every image has exactly one tag.
        pos_weight: Weight of positives in bce: none, or inverse (negatives over positives of the class, capped).
        pos_weight_cap: Largest such weight.
        gamma: Focusing exponent of focal.
        alpha: Weight of positives against negatives in focal, in (0, 1); null weighs both alike.
        gamma_pos: Focusing exponent of asymmetric for positives.
        gamma_neg: Focusing exponent of asymmetric for negatives.
        shift: Probability below which a negative costs nothing in asymmetric.
        smoothing: Part of the target that cross_entropy spreads over all classes.
    """

    name: Literal["bce", "focal", "soft_f1", "asymmetric", "cross_entropy"] = "bce"
    pos_weight: Literal["none", "inverse"] = "none"
    pos_weight_cap: float = 10.0
    gamma: float = 2.0
    alpha: float | None = 0.25
    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    shift: float = 0.05
    smoothing: float = 0.0

    @property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other, so that an image's probabilities add up to 1."""
        return self.name == "cross_entropy"


@dataclass(frozen=True)
class StageConfig:
    """A stretch of epochs in which the same layers learn.

    Attributes:
        epochs: How many.
        train: Layer groups that learn, counted from 0 at the input: all, head, last:5, 2-9, or several joined by commas.
        lr: Highest learning rate of the stage; it warms up to it and falls to nothing by the stage's end (one cycle).
        lr_decay: Factor on the learning rate for each layer group further from the head.
    """

    epochs: int = 1
    train: str = "all"
    lr: float = 1e-3
    lr_decay: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        data: What to learn from.
        model: The network.
        loss: The loss.
        stages: Stretches of epochs, each with its layers and learning rate.
        batch_size: Images a step.
        weight_decay: AdamW's, on weights; norms and biases have none.
        gradient_clip: Largest norm of the gradient; null does not clip.
        precision: auto takes what is fast here; bf16, fp16 (CUDA only) or float32.
        patience: Epochs of the last stage without a better mAP before the run stops early; null never does.
        seed: Of initialisation, order and augmentation.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    stages: list[StageConfig] = field(default_factory=lambda: [StageConfig(epochs=10)])
    batch_size: int = 32
    weight_decay: float = 0.01
    gradient_clip: float | None = 1.0
    precision: Literal["auto", "bf16", "fp16", "float32"] = "auto"
    patience: int | None = None
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
        text: ``all``, ``head``, ``last:5``, ``2-9`` (both ends included), ``7``, or several joined by commas.
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
            elif part.startswith("last:"):
                first, last = groups - int(part.removeprefix("last:")), groups - 1
            else:
                ends = [int(end) for end in part.split("-")]
                first, last = ends[0], ends[-1]
                if len(ends) > 2:
                    raise ValueError
        except ValueError:
            raise ConfigError(
                f"{text!r} names no layer groups. Use all, head, last:5, 2-9, or several joined by commas."
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


def problems(config: TrainConfig) -> list[str]:
    """Every fault of a config at once, each with its key; empty when there is none. Of files it only sees if they are there."""
    return [*_data_problems(config.data), *model_problems(config.model), *_loss_problems(config.loss), *_run_problems(config)]


def check(config: TrainConfig) -> None:
    """Refuse a config that has problems.

    Raises:
        ConfigError: Naming all of them.
    """
    found = problems(config)
    if found:
        raise ConfigError("The config cannot work: " + "; ".join(found) + ".")


def _range(key: str, value: float, low: float, high: float, note: str = "") -> Iterator[str]:
    if not (math.isfinite(value) and low <= value <= high):
        limits = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        yield f"{key} is {value:g}, it must be {limits}{note}"


def _data_problems(data: DataConfig) -> Iterator[str]:
    if not root_of(data):
        yield "data.root is missing, give the folder of the data set with --data.root DIR"
    elif data.root and not Path(data.root).is_dir():
        yield f"data.root is {data.root}, which is not a folder"
    for key in ("train_split", "val_split", "tune_split"):
        yield from _split_problems(f"data.{key}", getattr(data, key))
    learned = {"data.train_split": _place(root_of(data), data.train_split)}
    if data.sources:
        learned = {f"data.sources[{place}]": _place(source.root, source.split) for place, source in enumerate(data.sources)}
        yield from _source_problems(data.sources)
    for key, split in (("val_split", data.val_split), ("tune_split", data.tune_split)):
        same = [name for name, place in learned.items() if split is not None and place == _place(root_of(data), split)]
        if same:
            yield f"data.{key} is {split!r}, the same as {same[0]}: figures taken there would mean nothing"
    if data.val_split is not None and data.val_split == data.tune_split:
        yield f"data.tune_split is {data.tune_split!r}, the same as data.val_split: choosing and claiming need different images"
    if data.tune_split is None:
        yield from _range("data.tune_fraction", data.tune_fraction, 0.01, 0.5)
    if not isinstance(data.classes, str):
        if not data.classes:
            yield "data.classes is an empty list, so nothing would be learned"
        for name in dict.fromkeys(name for name in data.classes if data.classes.count(name) > 1):
            yield f"data.classes names {name!r} more than once"
    yield from _range("data.fraction", data.fraction, 1e-6, 1)
    yield from _range("data.min_crop", data.min_crop, 0.01, 1)
    if data.workers is not None:
        yield from _range("data.workers", data.workers, 0, 256)


def _source_problems(sources: list[SourceConfig]) -> Iterator[str]:
    places = [_place(source.root, source.split) for source in sources]
    for number, source in enumerate(sources):
        key = f"data.sources[{number}]"
        if not source.root or not Path(source.root).is_dir():
            yield f"{key}.root is {source.root!r}, which is not a folder"
        yield from _split_problems(f"{key}.split", source.split)
        if places.index(places[number]) < number:
            yield f"{key} is data.sources[{places.index(places[number])}] again: every image would count twice"
        if source.aliases is not None:
            try:
                find_config(f"{key}.aliases", source.aliases, "aliases")
            except ConfigError as error:
                yield str(error).rstrip(".")


def _split_problems(key: str, split: str | None) -> Iterator[str]:
    if split is not None and (not split or split in (".", "..") or set(split) & set("/\\\0")):
        yield f"{key} is {split!r}, which is not the name of a folder in the data set"


def _place(root: str, split: str) -> tuple[Path, str]:
    """A split as something that can be compared, however its folder is written."""
    return Path(root).resolve(), split


def model_problems(model: ModelConfig) -> Iterator[str]:
    """Every fault of the network's part of a config."""
    if model.num_classes is not None:
        yield from _range("model.num_classes", model.num_classes, 1, 100_000)
    yield from _range("model.width", model.width, 0.1, 4)
    if model.output_stride not in (4, 8, 16, 32):
        yield f"model.output_stride is {model.output_stride}, it must be 4, 8, 16 or 32"
    if len(model.strides) != 5 or not set(model.strides) <= {1, 2}:
        yield f"model.strides is {model.strides}, it must be five numbers, each 1 or 2"
    yield from _range("model.channel_divisor", model.channel_divisor, 1, 64)
    yield from _range("model.csra_heads", model.csra_heads, 1, 16)
    yield from _range("model.csra_weight", model.csra_weight, 0, 10)
    yield from _range("model.decoder_width", model.decoder_width, 8, 4096)
    if model.decoder_width % 8:
        yield f"model.decoder_width is {model.decoder_width}, it must be a multiple of 8"
    if model.initialisation == "original" and model.head != "linear":
        yield f"model.initialisation is original, which is for a linear head, but model.head is {model.head}"
    yield from _range("model.image_size", model.image_size, 32, 2048)
    yield from _range("model.dropout", model.dropout, 0, 0.95)
    yield from _range("model.prior", model.prior, 1e-4, 0.5)
    if model.weights not in (None, "imagenet") and not Path(str(model.weights)).is_file():
        yield f"model.weights is {model.weights}, which is neither a file nor imagenet"
    if model.weights == "imagenet" and (model.width != 1.0 or model.channel_divisor != 8):
        yield f"model.width is {model.width:g}, but torchvision's weights are for width 1 in multiples of 8"


def _loss_problems(loss: LossConfig) -> Iterator[str]:
    yield from _range("loss.pos_weight_cap", loss.pos_weight_cap, 1, math.inf)
    for key in ("gamma", "gamma_pos", "gamma_neg"):
        yield from _range(f"loss.{key}", getattr(loss, key), 0, 20)
    if loss.alpha is not None:
        yield from _range("loss.alpha", loss.alpha, 0.001, 0.999)
    yield from _range("loss.shift", loss.shift, 0, 0.9)
    yield from _range("loss.smoothing", loss.smoothing, 0, 0.9)


def _run_problems(config: TrainConfig) -> Iterator[str]:
    if not config.stages:
        yield "stages is empty, so nothing would be trained"
    for place, stage in enumerate(config.stages):
        yield from _range(f"stages[{place}].epochs", stage.epochs, 1, 100_000)
        yield from _range(f"stages[{place}].lr", stage.lr, 1e-9, 100)
        yield from _range(f"stages[{place}].lr_decay", stage.lr_decay, 0.01, 1)
        try:
            parse_groups(stage.train, LAYER_GROUPS[config.model.name])
        except ConfigError as error:
            yield f"stages[{place}].train: {str(error).rstrip('.')}"
    yield from _range("batch_size", config.batch_size, 1, 65_536)
    yield from _range("weight_decay", config.weight_decay, 0, 10)
    yield from _range("seed", config.seed, 0, 2**31 - 1)
    if config.gradient_clip is not None:
        yield from _range("gradient_clip", config.gradient_clip, 1e-6, math.inf)
    if config.patience is not None:
        yield from _range("patience", config.patience, 1, math.inf)
