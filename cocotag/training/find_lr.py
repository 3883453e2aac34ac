"""Learning-rate range test: which ``stages[0].lr`` to begin with.

L. N. Smith 2015, https://arxiv.org/abs/1506.01186: the rate rises a little at every step, and the loss tells at which rates the
network learns and at which it falls apart. Lightning's ``Tuner.lr_find`` gives every layer group the same rate, so that
``lr_decay`` would not be in what is tested; it also puts a checkpoint into the folder that the command runs in, and
draws with matplotlib. So the rising rate is a schedule of ours, and Lightning's trainer runs it on the module that trains.
"""

from __future__ import annotations

import csv
import io
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning import Callback, LightningModule, Trainer, seed_everything
from numpy.typing import NDArray
from tqdm import tqdm

from cocotag.config import TrainConfig
from cocotag.data.loading.datamodule import TaggingData
from cocotag.errors import CocotagError, Interrupted, OutputError
from cocotag.files import probe_folder, write_text
from cocotag.pages.lines import Line, Panel, draw_panels
from cocotag.training.failures import told_plainly
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.module import NotFinite, TaggerModule
from cocotag.training.loop.runtime import keep_freed_memory, quiet, say
from cocotag.training.loop.schedule import Schedule
from cocotag.training.preflight import preflight

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
"""Rates at the first and at the last step, and how many there are."""
BLOWN_UP = 4.0
"""Times the lowest loss so far at which there is nothing more to learn from higher rates."""
_SLOWING, _RISING = 0.8, 0.1  # of the fall: it is nearly done; the loss has risen again by as much
_BELOW_RISING = 10.0  # a whole cycle wants less than a single step bears
_FIRST = 10  # steps, at rates too low to change much, that tell where the loss began
_CHANCE = 1.75  # standard deviations from batch to batch that a smoothed loss falls by without having learned
_SPREAD = 3.0  # steps; standard deviation of the weights that smooth the losses


@dataclass(frozen=True)
class LrFound:
    """What a range test found.

    Attributes:
        suggestion: For ``stages[0].lr``: the lower of ``slowing`` and a tenth of ``rising``.
        slowing: The rate by which four fifths of the fall of the loss were done.
        rising: The rate at which the loss had risen again from its lowest by a tenth of its fall; None if it never did.
        rates: Of the head at each step, ``(S,)``; layer groups further from it have less by ``lr_decay``.
        losses: At each step, ``(S,)``.
        smoothed: The same without the chance of single batches, ``(S,)``.
        plot: ``lr.svg``.
    """

    suggestion: float
    slowing: float
    rising: float | None
    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    plot: Path


def find_lr(config: TrainConfig, directory: Path) -> LrFound:
    """Train the layers of the first stage at a rising rate, and write the losses to ``lr.csv`` and ``lr.svg``.

    On one device. Nothing else is written, no checkpoint either; after Ctrl-C nothing at all.

    Args:
        config: Of the run to come.
        directory: A new folder for the two files.

    Raises:
        CocotagError: The config or the data cannot work, or the loss fell at no rate; then the two files are there to see.
        OutputError: The directory is there already, or cannot be made.
        Interrupted: Ctrl-C.
    """
    if directory.exists():
        raise OutputError(f"{directory} already exists. Choose another --out.", code="output_exists")
    probe_folder(directory)
    ready = preflight(config)
    config, data, network = ready.config, ready.data, ready.network
    seed_everything(config.seed, verbose=False)
    batches = len(data.train_sampler()) // config.batch_size
    schedule = _Rising(config.stages[:1], len(network.layer_groups()), batches, config.accumulate)
    loss = Loss(config.loss, data.train.positives, data.train.known.sum(axis=0))
    module = TaggerModule(config, network, schedule, loss, ready.facts)
    record, interrupt = _Record(), StopOnInterrupt()
    quiet()
    trainer = Trainer(
        max_epochs=-1,
        max_steps=STEPS,
        devices=1,
        use_distributed_sampler=False,
        accumulate_grad_batches=config.accumulate,
        precision=cast(Any, ready.precision),
        gradient_clip_val=config.gradient_clip,
        callbacks=[interrupt, record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    _run(trainer, module, data, interrupt)
    if not record.losses:
        raise CocotagError(
            "The loss is NaN or infinite before the first step. Check model.weights and loss.", code="loss_not_finite"
        )
    rates, losses = np.array([rate_at(step) for step in range(len(record.losses))]), np.array(record.losses)
    smoothed, plot = smooth(losses), directory / "lr.svg"
    _write_csv(directory / "lr.csv", rates, losses, smoothed)
    found = bounds(rates, losses, smoothed)
    if found is None:
        write_text(plot, _drawing(rates, losses, smoothed))
        raise CocotagError(
            f"The loss fell at no learning rate from {rates[0]:g} to {rates[-1]:.2g}: no rate can be suggested. See {plot}.",
            code="no_rate_found",
        )
    slowing, rising = found
    suggestion = slowing if rising is None else min(slowing, rising / _BELOW_RISING)
    write_text(plot, _drawing(rates, losses, smoothed, suggestion, rising))
    if config.model.weights is None:
        say(
            "note: without pretrained weights the loss falls soon and little, and ten times the suggested rate or more may "
            "do better."
        )
    return LrFound(suggestion, slowing, rising, rates, losses, smoothed, plot)


def rate_at(step: int) -> float:
    """The head's rate at a step: each time more by the same factor."""
    return LOWEST * math.exp(math.log(HIGHEST / LOWEST) * step / (STEPS - 1))


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses averaged over the steps around each, with the weights of a bell; not behind the rate, as a running mean is.

    Args:
        losses: ``(S,)``; those that are no finite number count for nothing.

    Returns:
        ``(S,)``.
    """
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / _SPREAD) ** 2) * np.isfinite(losses)
    total = weights.sum(axis=1)
    sums = weights @ np.where(np.isfinite(losses), losses, 0.0)
    return np.asarray(np.divide(sums, total, out=np.full(len(losses), np.nan), where=total > 0))


def bounds(
    rates: NDArray[np.float64], losses: NDArray[np.float64], smoothed: NDArray[np.float64]
) -> tuple[float, float | None] | None:
    """Where the fall of the loss slows down and where it turns into a rise: the two rates that Smith reads off the curve.

    From there to one rate is a rule of thumb. What blows up, as sums of logarithms do, is told by its rise; what has a
    ceiling, as soft-F1 has, by its fall. Without pretrained weights the loss falls little in so few steps, and soon: such a
    network may bear ten times the lower of both.

    Args:
        rates: Rising, ``(S,)``.
        losses: ``(S,)``.
        smoothed: As `smooth` gives them, ``(S,)``.

    Returns:
        Both rates, the second None where it never rises; None where the loss fell by no more than it does by chance.
    """
    if len(losses) < 2 * _FIRST:
        return None
    began, lowest = float(smoothed[:_FIRST].mean()), int(np.argmin(smoothed))
    fall = began - float(smoothed[lowest])
    chance = float((losses - smoothed)[: lowest + 1].std())
    if lowest < _FIRST or fall <= _CHANCE * chance:
        return None
    slowing = int(np.argmax(smoothed <= began - _SLOWING * fall))
    risen = np.flatnonzero(smoothed[lowest:] > smoothed[lowest] + _RISING * fall)
    return float(rates[slowing]), float(rates[lowest + risen[0]]) if len(risen) else None


@dataclass(frozen=True)
class _Rising(Schedule):
    """The first stage for ever, at a rate that rises from step to step."""

    def stage_at(self, epoch: int) -> int:
        return 0

    def rate(self, group: int, step: int) -> float:
        """As in training, `rate_at` in place of the stage's curve."""
        if group not in self.trained(0):
            return 0.0
        return rate_at(step) * self.stages[0].lr_decay ** (self.groups - 1 - group)


class _Record(Callback):
    """Notes the loss of each optimiser step, shows how far it is, and ends the test when the loss has blown up."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._batches: list[float] = []
        self._mean = self._lowest = math.inf
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = tqdm(total=STEPS, unit="step", desc="learning rate", disable=None, dynamic_ncols=True, leave=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401
        self._batches.append(float(outputs["loss"]))
        if trainer.global_step == len(self.losses):  # gradients are still being added up
            return
        self.losses.append(sum(self._batches) / len(self._batches))
        self._batches = []
        # A short running mean: one unlucky batch does not end the test.
        self._mean = self.losses[-1] if math.isinf(self._mean) else 0.7 * self._mean + 0.3 * self.losses[-1]
        self._lowest = min(self._lowest, self._mean)
        if not self._mean <= BLOWN_UP * self._lowest:
            trainer.should_stop = True
        if self._bar is not None:
            self._bar.update()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()


def _run(trainer: Trainer, module: TaggerModule, data: TaggingData, interrupt: StopOnInterrupt) -> None:
    with told_plainly(trainer, module.config, data, interrupt, lambda: "Nothing was written."):
        with interrupt, suppress(NotFinite):  # which is as blown up as can be
            trainer.fit(module, datamodule=data)
        if interrupt.pressed:  # after the last step
            raise Interrupted("Stopped. Nothing was written.")


def _write_csv(path: Path, *columns: NDArray[np.float64]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "lr", "loss", "smoothed"])
    writer.writerows([step + 1, *(f"{value:.6g}" for value in row)] for step, row in enumerate(zip(*columns, strict=True)))
    write_text(path, text.getvalue())


def _drawing(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    suggestion: float | None = None,
    rising: float | None = None,
) -> str:
    most = float(np.nanmax(losses[:_FIRST]))
    top = most + 0.25 * (most - float(np.nanmin(smoothed)))  # where it blows up is no scale for the rest
    lines = [Line("each step", losses.tolist(), "c7", dots=True), Line("smoothed", smoothed.tolist(), "c1")]
    rules = [(suggestion, "suggested"), (rising, "rises again")]
    note = "" if suggestion is None else f"Suggested: {suggestion:.2g}"
    return draw_panels(
        rates.tolist(),
        [Panel("loss", lines, top=top)],
        title=f"Loss over a rising learning rate, {len(rates)} steps. {note}",
        x_label="learning rate of the head",
        note=note,
        rules=[(rate, name) for rate, name in rules if rate is not None],
        ends=(LOWEST, HIGHEST),
        log_x=True,
    )
