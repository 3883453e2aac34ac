"""The timing of tagging: every way tags every photograph, and the page says what was wanted and what was found."""

import argparse
import csv
import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts" / "measure"
NAMES = ("bench_tag", "tag_ways", "eager_tag", "phone_photographs")


@pytest.fixture(scope="module")
def script():
    before = list(sys.path)
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path[:] = before
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def network(script, sample_dir, tmp_path_factory):
    """The network as PyTorch's weights and both bundles, for small squares."""
    folder = tmp_path_factory.mktemp("network")
    photographs = sorted((sample_dir / "train").iterdir())[:8]
    script("eager_tag").make_network(folder, 64, None, photographs)
    return folder


def test_every_way_has_a_row_for_every_photograph(script, network, sample_dir, tmp_path, monkeypatch):
    ways, eager = script("tag_ways"), script("eager_tag")
    album = ways.Album("some", (sample_dir / "val",), 1, 6.0)
    files = album.files()
    assert len(files) == 40  # more than a batch of (a)
    tables = {}
    for name, tag in (("a", eager.as_timm), ("b", eager.one_by_one)):
        tag(network / "network.pt", files, 64, tmp_path / name)
        tables[name] = [row[0] for row in csv.reader((tmp_path / name).open(newline=""))]

    kept = {}

    def keep(work):
        work(tmp_path / "ours.csv")
        kept["rows"] = [row["path"] for row in csv.DictReader((tmp_path / "ours.csv").open(newline=""))]
        return 1.0, 1.0

    monkeypatch.setattr(ways, "_timed", keep)
    for name in ("fp32.onnx", "int8.onnx"):
        (tmp_path / "ours.state").unlink(missing_ok=True)
        ways.ours(album, network / name, "cpu")
        tables[name] = kept["rows"]
    assert all(rows == list(map(str, files)) for rows in tables.values())


def test_the_limits_are_timed(script, network, sample_dir):
    ways = script("tag_ways")
    album = ways.Album("some", (sample_dir / "val",), 1, 6.0)
    for wall, cpu in (ways.decode(album, 64), ways.infer(album, network / "fp32.onnx", "cpu")):
        assert wall > 0 and cpu > 0


def test_the_first_result_comes_without_torch(script, network, sample_dir, tmp_path):
    bench = script("bench_tag")
    assert 0 < bench.first_result(network / "fp32.onnx", sample_dir / "val") < 60
    (tmp_path / "broken.jpg").write_text("text")
    with pytest.raises(RuntimeError, match="not_an_image"):
        bench.first_result(network / "fp32.onnx", tmp_path)


def test_ratios_are_of_each_round_and_the_limit_is_the_sum_of_both(script):
    bench = script("bench_tag")
    slow, fast = bench.Timed([10.0, 30.0, 20.0]), bench.Timed([1.0, 2.0, 4.0])
    assert bench.ratios(slow, fast) == [10.0, 15.0, 5.0]
    assert bench.of_limit(bench.Timed([2.0]), bench.Timed([0.5]), bench.Timed([1.0])) == [0.75]
    assert bench.spread([1.0, 3.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_the_page_says_what_was_reached_and_what_was_not(script, sample_dir):
    bench = script("bench_tag")
    album = bench.Album("Their own size", (sample_dir / "val",), 1, 6.0, 1.4)
    seconds = {bench.EAGER: 40, bench.ONE: 80, bench.DECODE: 1, bench.FP32: 5, bench.INFER: 3.6}
    seconds |= {bench.INT8: 4, bench.INFER_INT8: 1.6}
    table = bench.table(album, {name: bench.Timed([value], [value]) for name, value in seconds.items()}, ["cpu"])
    assert "| (a) eager PyTorch, batch 32 | 1.0 (1.0 to 1.0) | 1000.0 |  |  |" in table
    assert "| (c) cocotag | 8.0 (8.0 to 8.0) | 125.0 | 8.00 (8.00 to 8.00) | 92 (92 to 92) |" in table
    assert "(c) against (a): 8.00, target 6: reached" in table
    assert "(d) against (c): 1.25, target 1.4: not reached" in table
    assert "(c) against its limit: 0.92, target 0.9: reached" in table
    assert "(d) against its limit: 0.65, target 0.9: not reached" in table
    runs = {"repeats": 5, "large": 128, "large_repeats": 2}
    args = argparse.Namespace(trained=None, images=None, size=224, **runs)
    started = {"fp32.onnx": [0.5, 0.4, 1.0], "int8.onnx": [0.3]}
    sizes = {"fp32.onnx": 9_500_000, "int8.onnx": 3_100_000}
    text = bench.page(args, [table], started, None, sizes, ["cpu"], 0.25)
    assert "scripts/measure/bench_tag.py --repeats 5 --large 128 --large-repeats 2` on" in text
    for part in ("start: 0.2", table, "0.50 (0.40 to 1.00)", "1.5: reached", "3.1 MB, 0.33", "`--trained`"):
        assert part in text
    found = bench.Accuracy(150, 0.0028, (-0.001, -0.0123, 0.004), 0.31)
    args = argparse.Namespace(trained=Path("x"), images=7, size=224, **runs)
    text = bench.page(args, [table], started | {"fp32.onnx": [2.0]}, found, sizes, ["cpu", "openvino"], 3.0)
    for part in ("--images", "0.0028, target below 0.02: reached", "-0.1 points, 95 % interval -1.2 to +0.4", "not reached"):
        assert part in text
    assert "used OpenVINO" in text
