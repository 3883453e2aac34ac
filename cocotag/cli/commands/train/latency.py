"""`cocotag latency`: time a network or a bundle."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cocotag.cli.parsing.command import DONE, Command, without_extra
from cocotag.cli.parsing.model_flags import model_parser, parse_model

if TYPE_CHECKING:
    from cocotag.config import ModelConfig
    from cocotag.inference.latency import Timing, Way


def _run(words: list[str]) -> int:
    from jsonargparse.typing import PositiveInt

    from cocotag.inference.latency import to_text
    from cocotag.process.cores import usable_cores

    parser = model_parser(COMMAND)
    parser.add_argument("--bundle", type=str | None, metavar="FILE", help="time a bundle instead; this needs no PyTorch")
    parser.add_argument("--batch", type=list[PositiveInt], default=[1], metavar="[N, ...]", help="batch sizes to time")
    threads = [usable_cores()]
    parser.add_argument("--threads", type=list[PositiveInt], default=threads, metavar="[N, ...]", help="numbers of threads")
    parser.add_argument("--repeats", type=PositiveInt, default=100, metavar="N", help="timed runs per way, after the warm-up")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    config, args = parse_model(parser, words)
    if args.bundle is not None:
        timings = _time_bundle(Path(args.bundle), args.batch, args.threads, args.repeats)
    else:
        timings = _time_network(config, args.batch, args.threads, args.repeats)
    print(json.dumps([timing.to_json() for timing in timings], indent=2) if args.json else to_text(timings))
    return DONE


def _time_bundle(path: Path, batches: list[int], threads: list[int], repeats: int) -> list[Timing]:
    from cocotag.bundle import read_metadata
    from cocotag.inference.latency import bundle_way, measure

    side = read_metadata(path).image_size
    return measure(lambda n: [bundle_way(path, n)], image_size=side, batches=batches, threads=threads, repeats=repeats)


def _time_network(config: ModelConfig, batches: list[int], threads: list[int], repeats: int) -> list[Timing]:
    try:
        import onnx

        from cocotag.export import ways
        from cocotag.export.onnx_graph import to_onnx
        from cocotag.export.quantize import quantize_convolutions
        from cocotag.inference.latency import measure, random_images
        from cocotag.models.build import build_network
    except ModuleNotFoundError as error:
        raise without_extra("Timing a network", error) from None
    network = build_network(config, int(config.num_classes or 0)).eval()
    ways.stir(network)
    with tempfile.TemporaryDirectory() as folder, ways.torch_threads():
        graph, int8 = Path(folder) / "network.onnx", Path(folder) / "int8.onnx"
        model = to_onnx(network, config.image_size)
        onnx.save_model(model, str(graph))
        onnx.save_model(quantize_convolutions(model, random_images(8, config.image_size)), str(int8))

        def all_ways(count: int) -> list[Way]:
            return ways.all_ways(network, graph, int8, count)

        return measure(all_ways, image_size=config.image_size, batches=batches, threads=threads, repeats=repeats)


COMMAND = Command(
    "latency",
    "Time a network or a bundle: mean, spread and percentiles, by batch and threads.",
    "cocotag latency --model.name mobilenet_v3_small --batch '[1, 8]' --threads '[1, 2]'",
    _run,
)
