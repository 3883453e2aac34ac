"""`cocotag summary`: show the layers and the size of a network."""

from __future__ import annotations

import json

from cocotag.cli.parsing.command import DONE, Command, without_extra
from cocotag.cli.parsing.model_flags import model_parser, parse_model


def _run(words: list[str]) -> int:
    from jsonargparse.typing import PositiveInt

    parser = model_parser(COMMAND)
    parser.add_argument("--batch", type=PositiveInt, default=1, metavar="N", help="images per batch")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    config, args = parse_model(parser, words)
    try:
        from cocotag.models.build import build_network
        from cocotag.models.summary import summarise
    except ModuleNotFoundError as error:
        raise without_extra("A summary", error) from None
    network = build_network(config, int(config.num_classes or 0))
    found = summarise(network, config.image_size, batch=args.batch)
    print(json.dumps(found.to_json(), indent=2) if args.json else found.table)
    return DONE


COMMAND = Command(
    "summary",
    "Show the size of a network: layers, parameters, multiply-adds, memory.",
    "cocotag summary --model.name mobilenet_v3_small --model.num_classes 1000 --batch 2",
    _run,
)
