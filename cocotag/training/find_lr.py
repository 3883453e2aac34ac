"""Learning-rate range test: it suggests a value for ``stages[0].lr``.

L. N. Smith 2015, https://arxiv.org/abs/1506.01186: the rate rises a little at every step, and the loss shows at which rates the
network learns and at which it diverges. Lightning's ``Tuner.lr_find`` uses one rate for all layer groups, so it would not test
``lr_decay``; it also writes a checkpoint into the working folder and needs matplotlib. So the rising rate is a schedule here,
and Lightning's trainer runs it on the same module as in training.
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
from cocotag.training.failures import plain_errors
from cocotag.training.loop.interrupt import StopOnInterrupt
from cocotag.training.loop.loss import Loss
from cocotag.training.loop.module import NotFinite, TaggerModule
from cocotag.training.loop.runtime import keep_freed_memory, quiet, say
from cocotag.training.loop.schedule import Schedule
from cocotag.training.preflight import preflight

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
"""Rate at the first step, rate at the last step, number of steps."""
BLOWN_UP = 4.0
"""The test ends when the loss exceeds its minimum so far by this factor: higher rates show nothing more."""
_SLOWING, _RISING = 0.8, 0.1  # shares of the fall of the loss: it is nearly done; the loss has risen again by as much
_BELOW_RISING = 10.0  # a whole stage needs a lower rate than a single step tolerates
_FIRST = 10  # steps, at rates too low to change much; their mean is the initial loss
_CHANCE = 1.75  # standard deviations between batches; a smoothed loss falls by as much without learning
_SPREAD = 3.0  # steps; standard deviation of the weights that smooth the losses


@dataclass(frozen=True)
class LrFound:
    """The result of a range test.

    Attributes:
        suggestion: A value for ``stages[0].lr``: the lower of ``slowing`` and a tenth of ``rising``.
        slowing: The rate at which the loss had completed four fifths of its fall.
        rising: The rate at which the loss had risen from its minimum by a tenth of its fall; None if it never did.
        rates: The head's rate at each step, ``(S,)``; earlier layer groups have lower rates by ``lr_decay``.
        losses: The loss at each step, ``(S,)``.
        smoothed: The losses without the noise of single batches, ``(S,)``.
        plot: Path of ``lr.svg``.
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

    The test uses one device. It writes no other files and no checkpoint; after Ctrl-C it writes nothing.

    Args:
        config: Config of the planned run.
        directory: A new folder for the two files.

    Raises:
        CocotagError: The config or the data cannot work, or the loss fell at no rate. In the last case both files are written.
        OutputError: The directory already exists, or cannot be created.
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
            "note: without pretrained weights the loss falls early and little. Ten times the suggested rate or more may train "
            "better."
        )
    return LrFound(suggestion, slowing, rising, rates, losses, smoothed, plot)


def rate_at(step: int) -> float:
    """The head's rate at a step; it grows by the same factor at each step."""
    return LOWEST * math.exp(math.log(HIGHEST / LOWEST) * step / (STEPS - 1))


def smooth(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses smoothed with a Gaussian centred on each step. Unlike a running mean, it does not lag behind the rate.

    Args:
        losses: ``(S,)``; NaN and infinite losses are ignored.

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
    """The rates at which the fall of the loss slows down and at which the loss rises again: Smith reads both off the curve.

    The step from these two to one rate is a rule of thumb. The rise limits losses that are unbounded, such as sums of
    logarithms; the fall limits losses with a ceiling, such as soft-F1. Without pretrained weights the loss falls early and
    little in so few steps; such a network may tolerate ten times the lower rate.

    Args:
        rates: Rising, ``(S,)``.
        losses: ``(S,)``.
        smoothed: The result of `smooth`, ``(S,)``.

    Returns:
        Both rates, the second None if the loss never rises; None if the loss fell by no more than chance would explain.
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
    """The first stage without end, at a rate that rises from step to step."""

    def stage_at(self, epoch: int) -> int:
        return 0

    def rate(self, group: int, step: int) -> float:
        """The rate of a layer group, as in training but with `rate_at` instead of the stage's curve."""
        if group not in self.trained(0):
            return 0.0
        return rate_at(step) * self.stages[0].lr_decay ** (self.groups - 1 - group)


class _Record(Callback):
    """Records the loss of each optimiser step, shows the progress, and ends the test when the loss diverges."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._batches: list[float] = []
        self._mean = self._lowest = math.inf
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar = tqdm(total=STEPS, unit="step", desc="learning rate", disable=None, dynamic_ncols=True, leave=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401
        self._batches.append(float(outputs["loss"]))
        if trainer.global_step == len(self.losses):  # gradients are still being accumulated
            return
        self.losses.append(sum(self._batches) / len(self._batches))
        self._batches = []
        # A short running mean, so that a single bad batch does not end the test.
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
    with plain_errors(trainer, module.config, data, interrupt, lambda: "Nothing was written."):
        with interrupt, suppress(NotFinite):  # the loss has diverged, which ends the test
            trainer.fit(module, datamodule=data)
        if interrupt.pressed:  # after the last step
            raise Interrupted("Stopped. Nothing was written.", code="interrupted")


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
    top = most + 0.25 * (most - float(np.nanmin(smoothed)))  # a diverging loss must not set the scale of the curve
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
