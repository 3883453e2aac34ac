"""``--config`` and ``--model.NAME VALUE`` -> ModelConfig, for the commands that need only a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from cocotag.cli.parsing.command import NOT_STARTED, Command
from cocotag.errors import ConfigError
from cocotag.files import read_config_text

if TYPE_CHECKING:
    import jsonargparse

    from cocotag.config import ModelConfig

CLASSES = 80
"""Number of classes if the config leaves it to the data: COCO's."""


def model_parser(command: Command) -> jsonargparse.ArgumentParser:
    """A parser with one flag per field of ModelConfig, which prints an error as one line."""
    import jsonargparse

    from cocotag.cli.parsing.config_errors import plainly
    from cocotag.config import ModelConfig

    class ModelParser(jsonargparse.ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            reason = plainly(message, [action.dest for action in self._actions]).rstrip(".?")
            self.exit(NOT_STARTED, f"cocotag {command.name}: {reason}. See cocotag {command.name} --help\n")

    parser = ModelParser(
        prog=f"cocotag {command.name}",
        description=command.about,
        epilog=f"example: {command.example}",
        allow_abbrev=False,
        default_env=False,
    )
    about = "take the network from this YAML file, or from a config that comes with cocotag, given by its name"
    parser.add_argument("--config", type=str | None, help=about)
    parser.add_class_arguments(ModelConfig, "model")
    return parser


def parse_model(parser: jsonargparse.ArgumentParser, words: list[str]) -> tuple[ModelConfig, Any]:
    """The network that the words describe. Flags override the config file.

    Returns:
        The network's config with its number of classes set, and all parsed arguments.

    Raises:
        ConfigError: The network cannot be built; the message names all faults.
    """
    from dataclasses import replace

    from cocotag.config import find_config
    from cocotag.config_problems import model_problems

    first = parser.parse_args(words)
    if first.config is not None:
        words = [*_flags_of(find_config("--config", first.config)), *words]
    parsed = parser.parse_args(words)
    config: ModelConfig = replace(parser.instantiate(parsed).model, weights=None)  # size and speed do not depend on weights
    found = list(model_problems(config))
    if found:
        raise ConfigError("The network cannot be built: " + "; ".join(found) + ".", code="config_invalid")
    return replace(config, num_classes=config.num_classes or CLASSES), parsed


def _flags_of(path: Any) -> list[str]:  # noqa: ANN401 (a path)
    import yaml

    text = read_config_text(path, "--config")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--config {path} cannot be read as YAML ({str(error).splitlines()[0]}). Check the file.", code="not_yaml"
        ) from None
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise ConfigError(f"--config {path} has no section model. Add one, or give another file.", code="section_missing")
    return [f"--model.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in model.items()]
