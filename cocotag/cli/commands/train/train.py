"""`cocotag train`: config and flags -> a training run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cocotag.cli.parsing.command import DONE, DONE_WITH_FAULTS, NOT_STARTED, Command, without_extra
from cocotag.errors import ConfigError

if TYPE_CHECKING:
    from cocotag.config import TrainConfig


FIND_LR = "--find-lr"


def _run(words: list[str]) -> int:
    config, resume, out, rates_only = _train_config(words)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns of unused parameters, which frozen stages have by design
    try:
        from cocotag.training import find_lr, fit
    except ModuleNotFoundError as error:
        raise without_extra("Training", error) from None
    if rates_only:
        found = find_lr.find_lr(config, out)
        print(f"Suggested stages[0].lr: {found.suggestion:.2g}. Plot of the loss over the rate: {found.plot}")
        print(out)
        return DONE
    run = fit.resume(resume) if resume is not None else fit.fit(config, out)
    if run is None:  # one of several processes, where only the first prints
        return DONE
    if run.evaluation is not None:
        print(run.evaluation.to_text())
        print(f"Report: {run.directory / 'report' / 'report.html'}")
    print(f"Bundle: {run.directory / 'tagger.onnx'}")
    print(run.directory)
    return DONE_WITH_FAULTS if run.failures else DONE


def _train_config(words: list[str]) -> tuple[TrainConfig, Path | None, Path, bool]:
    """The config from YAML and flags, the run to resume, the run directory, and whether only the rate test is wanted."""
    from datetime import datetime

    import jsonargparse

    from cocotag.cli.parsing.config_errors import plainly
    from cocotag.config import TrainConfig

    words, name = _config_first(words)
    files = "".join(f"{word.removeprefix('--config=')}: " for word in words if word.startswith("--config="))

    class TrainParser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            # A separate parser reads the entries of a list; it has no reference to the command or the list.
            names = [action.dest for action in self._actions if action.dest != "help"]
            entry = "" if self.prog == "cocotag train" else f"in a list entry with the keys {', '.join(names)}: "
            reason = plainly(message, names).rstrip(".?")
            flags = [word.partition("=")[0].removeprefix("--") for word in words if word.startswith("--")]
            flagged = any(re.search(rf"(?<![\w.]){re.escape(flag)}(?![\w.])", reason) for flag in flags if flag != "config")
            self.exit(NOT_STARTED, f"cocotag train: {'' if flagged else files}{entry}{reason}. See cocotag train --help\n")

    parser = TrainParser(
        prog="cocotag train",
        description=COMMAND.about,
        epilog=f"example: {COMMAND.example}",
        allow_abbrev=False,
        default_env=False,
    )
    parser.add_argument("--config", action="config", help="YAML file, or the name of one that comes with cocotag")
    about = "resume a run that was stopped; needs no other flag"
    parser.add_argument("--resume", type=str | None, metavar="RUN_DIR", help=about)
    parser.add_argument(
        FIND_LR,
        action="store_true",
        help="instead of a run: train for 100 steps at a rising learning rate, plot the loss, suggest stages[0].lr",
    )
    parser.add_argument("--out", type=str | None, metavar="RUN_DIR", help="run directory (default: runs/CONFIG-DATE-TIME)")
    parser.add_class_arguments(TrainConfig, as_group=False)
    parsed = parser.parse_args(words)
    values = parser.instantiate(parsed)
    config = TrainConfig(**{key: getattr(values, key) for key in TrainConfig.__dataclass_fields__})
    if parsed.resume is not None and any(not word.startswith("--resume") for word in words if word.startswith("--")):
        raise ConfigError(
            "--resume takes everything else from the run. Leave out the other flags, or start a new run.",
            code="flags_contradict",
        )
    name = f"{name}-lr" if parsed.find_lr else name
    out = Path(parsed.out) if parsed.out else Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    return config, Path(parsed.resume) if parsed.resume else None, out, parsed.find_lr


def _config_first(words: list[str]) -> tuple[list[str], str]:
    """Put ``--config`` before the other flags, so that they override it whatever the order, and replace a name by its path.

    Returns:
        The words, and the config's name.

    Raises:
        ConfigError: The config does not exist, or is not UTF-8.
    """
    from cocotag.config import find_config

    configs: list[str] = []
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--config" and queue:
            configs.append(queue.pop(0))
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        else:
            rest.append(word)
    files = [find_config("--config", config) for config in configs]
    for file in files:
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"--config {file} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8.",
                code="not_utf8",
            ) from None
    return [*(f"--config={file}" for file in files), *rest], files[-1].stem if files else "run"


COMMAND = Command(
    "train",
    "Train a tagger and write its bundle and report.",
    "cocotag train --config sample --data.root data",
    _run,
)
