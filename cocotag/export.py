"""Checkpoint -> bundle, checked against the torch network that it came from."""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import tempfile
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cocotag
from cocotag.bundle import BundleMetadata, open_session, write_bundle
from cocotag.config import TrainConfig
from cocotag.data.annotations import AnnotationTable
from cocotag.errors import BundleError
from cocotag.images import load_square
from cocotag.labels import Vocabulary
from cocotag.models.build import build_network
from cocotag.models.network import TaggerNetwork
from cocotag.tagging.folder import predict_files
from cocotag.tagging.tagger import Tagger
from cocotag.thresholds import choose_thresholds

if TYPE_CHECKING:
    import onnx

MAX_DIFFERENCE = 1e-3
"""Largest difference in probability between bundle and torch network that is accepted."""

PARITY_IMAGES = 64  # photographs that bundle and network are compared on


class ProbabilityNetwork(nn.Module):
    """A network with the sigmoid or softmax that a bundle carries inside."""

    def __init__(self, network: TaggerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 RGB ``(N, S, S, 3)`` -> probs float32 ``(N, C)``."""
        return self.network.probs(self.network(images))


def to_onnx(network: TaggerNetwork, image_size: int) -> onnx.ModelProto:
    """The graph ``images -> probs`` with a free batch size, of the network in evaluation mode."""
    model = ProbabilityNetwork(network).eval()
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8, device=next(network.parameters()).device)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # The exporter tells its progress on stdout, which is for results.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                external_data=False,
                input_names=["images"],
                output_names=["probs"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    if program is None:
        raise BundleError("torch's exporter gave no program. Is the installed onnxscript one that this torch knows?")
    proto: onnx.ModelProto = program.model_proto
    return proto


def largest_difference(network: TaggerNetwork, bundle: Path | str, images: NDArray[np.uint8]) -> float:
    """Largest difference in probability between a bundle and the network it was made from.

    Args:
        network: Torch's side; computed in float32 on its device.
        bundle: ONNX Runtime's side.
        images: uint8 ``(N, S, S, 3)`` RGB.
    """
    model = ProbabilityNetwork(network).eval()
    device = next(network.parameters()).device
    session = open_session(bundle)
    worst = 0.0
    for start in range(0, len(images), 16):
        part = images[start : start + 16]
        with torch.no_grad():
            ours = model(torch.from_numpy(part).to(device)).cpu().numpy()
        theirs = session.run(["probs"], {"images": part})[0]
        worst = max(worst, float(np.abs(ours - theirs).max()))
    return worst


def _read_checkpoint(path: Path | str) -> dict[str, Any]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling what is no pickle can raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BundleError(
            f"{path} is not a checkpoint that torch can load safely ({reason}). Give a run's best.ckpt."
        ) from None
    if not isinstance(state, dict) or not isinstance(state.get("cocotag"), dict):
        raise BundleError(f"{path} is not a checkpoint of cocotag. Give RUN_DIR/checkpoints/best.ckpt.")
    return state


def load_checkpoint(path: Path | str) -> tuple[TaggerNetwork, BundleMetadata]:
    """The network of a checkpoint, in evaluation mode, and what its bundle will say; thresholds are 0.5.

    Raises:
        BundleError: Missing, unreadable, or not a cocotag checkpoint.
    """
    state = _read_checkpoint(path)
    try:
        return _from_facts(state, state["cocotag"])
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise BundleError(f"{path} is a damaged checkpoint, or one of another version ({str(error)[:120]!r}).") from None


def _from_facts(state: dict[str, Any], facts: dict[str, Any]) -> tuple[TaggerNetwork, BundleMetadata]:
    config = TrainConfig.from_json(facts["config"])
    vocabulary = Vocabulary.from_json(facts["vocabulary"])
    network = build_network(config.model, len(vocabulary), exclusive=config.loss.exclusive)
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)})
    metadata = BundleMetadata(
        vocabulary=vocabulary,
        image_size=config.model.image_size,
        thresholds=(0.5,) * len(vocabulary),
        positives=tuple(facts["positives"]),
        train_images=facts["train_images"],
        tuned_on=facts["tuned_on"],
        config=_without_folders(config).to_json(),
        made_by={
            "cocotag": cocotag.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            "epoch": state["epoch"],
        },
    )
    return network.eval(), metadata


def _without_folders(config: TrainConfig) -> TrainConfig:
    """The config with bare names in place of paths: where somebody keeps their data is nothing to publish."""
    root, weights = config.data.root, config.model.weights
    sources = [
        replace(source, root=Path(source.root).name, aliases=source.aliases and Path(source.aliases).name)
        for source in config.data.sources
    ]
    return replace(
        config,
        data=replace(config.data, root=root and Path(root).name, sources=sources),
        model=replace(config.model, weights=weights and Path(weights).name),
    )


def checkpoint_config(path: Path | str) -> TrainConfig:
    """The config that a checkpoint was trained by, its paths as they were.

    Raises:
        BundleError: As `load_checkpoint`.
    """
    return TrainConfig.from_json(_read_checkpoint(path)["cocotag"]["config"])


def export_checkpoint(checkpoint: Path | str, out: Path | str, tune: AnnotationTable | None = None) -> BundleMetadata:
    """Write a checkpoint's bundle, checked against its network before it takes its place.

    Args:
        checkpoint: Of a training run.
        out: The ``.onnx`` file.
        tune: Images that thresholds are chosen on, by the bundle's own outputs; without them all are 0.5.

    Returns:
        What the bundle says.

    Raises:
        BundleError: Not a checkpoint, or the bundle differs from its network by more than `MAX_DIFFERENCE`.
        ImageError: A tune image cannot be read.
        OutputError: The file cannot be written.
    """
    network, metadata = load_checkpoint(checkpoint)
    model = to_onnx(network, metadata.image_size)
    images = _parity_images(metadata.image_size, tune)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        write_bundle(model, metadata, trial)
        difference = largest_difference(network, trial, images)
        if not difference < MAX_DIFFERENCE:
            raise BundleError(
                f"The bundle's probabilities differ from the network's by up to {difference:.2g} on {len(images)} images; "
                f"{MAX_DIFFERENCE:g} is accepted. {out} was not written. Try other versions of torch and onnxscript."
            )
        metadata = replace(metadata, parity={"largest_difference": difference, "images": len(images)})
        if tune is not None:
            metadata = replace(metadata, thresholds=_thresholds(trial, tune))
    write_bundle(model, metadata, out)
    return metadata


def _parity_images(side: int, tune: AnnotationTable | None) -> NDArray[np.uint8]:
    """Some tune images, and noise of three contrasts."""
    noise = np.random.default_rng(0).normal(size=(3, side, side, 3))
    made = list(np.clip(128 + noise * np.array([10, 40, 90]).reshape(3, 1, 1, 1), 0, 255).astype(np.uint8))
    paths = [] if tune is None else tune.paths()[:PARITY_IMAGES]
    return np.stack([*made, *(load_square(path, side) for path in paths)])


def _thresholds(bundle: Path, tune: AnnotationTable) -> tuple[float, ...]:
    """Chosen on the bundle's own outputs."""
    probs = []
    for prediction in predict_files(Tagger.load(bundle), tune.paths()):
        if prediction.error is not None:
            raise prediction.error
        probs.append(cast(NDArray[np.float32], prediction.probs))
    chosen = choose_thresholds(np.stack(probs), tune.targets, tune.known)
    return tuple(float(value) for value in chosen.values)
