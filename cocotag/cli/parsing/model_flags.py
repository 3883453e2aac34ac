"""``--config`` and ``--model.NAME VALUE`` -> ModelConfig, for the commands that are about a network alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from cocotag.cli.parsing.command import NOT_STARTED, Command
from cocotag.errors import ConfigError

if TYPE_CHECKING:
    import jsonargparse

    from cocotag.config import ModelConfig

CLASSES = 80
"""Of a network whose config leaves them to the data: COCO's."""


def model_parser(command: Command) -> jsonargparse.ArgumentParser:
    """A parser with a flag for each field of the network; errors are one line."""
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
    parser.add_argument("--config", type=str | None, help="YAML file, or the name of one that comes with cocotag: its network")
    parser.add_class_arguments(ModelConfig, "model")
    return parser


def parse_model(parser: jsonargparse.ArgumentParser, words: list[str]) -> tuple[ModelConfig, Any]:
    """The network that the words describe, flags before the config file; its number of classes is set.

    Returns:
        The config, and all that was parsed.

    Raises:
        ConfigError: It cannot be built; all that is wrong is named.
    """
    from dataclasses import replace

    from cocotag.config import find_config
    from cocotag.config_problems import model_problems

    first = parser.parse_args(words)
    if first.config is not None:
        words = [*_flags_of(find_config("--config", first.config)), *words]
    parsed = parser.parse_args(words)
    config: ModelConfig = replace(parser.instantiate(parsed).model, weights=None)  # nothing here depends on them
    found = list(model_problems(config))
    if found:
        raise ConfigError("The network cannot be built: " + "; ".join(found) + ".")
    return replace(config, num_classes=config.num_classes or CLASSES), parsed


def _flags_of(path: Any) -> list[str]:  # noqa: ANN401 (a path)
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {path} cannot be read as YAML ({str(error).splitlines()[0]}).") from None
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        raise ConfigError(f"--config {path} describes no network: it has no part model.")
    return [f"--model.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in model.items()]
