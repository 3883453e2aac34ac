import json
import time

import numpy as np
import pytest
import torch
from torch import nn

from cocotag.cli.main import main
from cocotag.export import ways
from cocotag.inference.latency import Way, measure, to_text
from cocotag.models.heads import LinearHead
from cocotag.models.network import TaggerNetwork

SMALL = ["--model.name", "mobilenet_v3_small", "--model.width", "0.25", "--model.image_size", "32", "--repeats", "3"]


def test_every_way_is_timed_and_gives_the_same(capsys, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(ways, "NAMES", ("eager", "channels_last", "bf16"))  # compiling a whole network takes a minute
    assert main(["latency", *SMALL, "--batch", "[1, 3]", "--threads", "[1]", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == before
    assert [(row["way"], row["batch"]) for row in rows] == [
        (name, batch) for batch in (1, 3) for name in (*ways.NAMES, "ONNX Runtime", "ONNX Runtime, int8")
    ]
    for row in rows:
        assert row["error"] is None
        assert 0 < row["p50"] <= row["p90"] <= row["p99"]
        assert row["mean"] > 0 and row["spread"] >= 0
        assert row["images_per_second"] == pytest.approx(1000 * row["batch"] / row["p50"])
        if row["way"] == "eager":
            assert row["difference"] is None
        else:
            coarse = row["way"] in ("bf16", "ONNX Runtime, int8")
            assert row["difference"] < (0.05 if coarse else 1e-4)


def test_compiled_is_the_same_network():
    class Thin(nn.Module):
        out_channels, hidden_channels = 4, None

        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, x):
            return self.convolution(x).relu()

    network = TaggerNetwork(Thin(), LinearHead(4, 3))
    ways.stir(network)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    with ways.torch_threads():
        eager, compiled = (ways.cpu_run(network, name, 1)(images) for name in ("eager", "compiled"))
    assert eager.std() > 1e-3
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


def test_a_bundle_is_timed_without_torch(capsys, toy_bundle):
    assert main(["latency", "--bundle", str(toy_bundle), "--repeats", "2", "--threads", "[1]"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("ONNX Runtime")
    assert main(["latency", "--bundle", "nothing.onnx"]) == 2
    assert "nothing.onnx" in capsys.readouterr().err


def sleeper(name, seconds, value):
    def run(images):
        time.sleep(seconds)
        return np.full((len(images), 2), value, np.float32)

    return Way(name, run)


def test_a_fast_wrong_way_shows_and_one_that_fails_is_a_row():
    order = []

    def noted(name, value):
        def run(images):
            order.append(name)
            return np.full((len(images), 2), value, np.float32)

        return Way(name, run)

    def broken(_):
        raise RuntimeError("no compiler\nand a long story")

    made = measure(
        lambda threads: [noted("right", 0.2), noted("wrong", 0.7), Way("broken", broken)],
        image_size=8,
        batches=[2],
        threads=[1],
        repeats=4,
        warm_up=1,
        progress=False,
    )
    assert [timing.difference for timing in made] == [None, pytest.approx(0.5), None]
    assert made[2].error == "no compiler"
    assert made[2].to_json()["mean"] is None
    assert order == ["right", "wrong"] * 6  # in turns
    assert "failed: no compiler" in to_text(made)


def test_ways_with_different_thread_pools_are_not_timed_in_turns():
    order = []

    def noted(name, pool):
        return Way(name, lambda images: order.append(name) or np.zeros((len(images), 2), np.float32), pool=pool)

    ways = [noted("a", "one"), noted("b", "two"), noted("c", "one")]
    measure(lambda threads: ways, image_size=8, batches=[1], threads=[1], repeats=2, warm_up=1, progress=False)
    assert order == ["a", "b", "c"] + ["a", "c"] * 3 + ["b"] * 3


def test_milliseconds_are_milliseconds():
    slow = sleeper("slow", 0.02, 0)
    own = Way("its own clock", slow.run, lambda images: 7.0)
    made = measure(lambda threads: [slow, own], image_size=8, batches=[4], threads=[2], repeats=3, warm_up=0, progress=False)
    assert 20 <= made[0].p50 < 200
    assert made[0].images_per_second == pytest.approx(4000 / made[0].p50)
    assert (made[1].mean, made[1].spread, made[1].p99) == (7.0, 0.0, 7.0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_the_gpu(capsys, monkeypatch):
    monkeypatch.setattr(ways, "NAMES", ("eager",))
    assert main(["latency", *SMALL, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[-1]
    assert row["way"].startswith("GPU")
    assert row["difference"] < 0.01
