"""One result per file, in order, for files of any kind."""

import gc
import threading
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.inference import stream
from cocotag.inference.providers import Engine
from cocotag.inference.stream import AHEAD, AHEAD_APART, TASK_FILES, predict_files, predict_with_all
from cocotag.inference.tagger import Tagger
from cocotag.labels import COCO80
from cocotag.photos.decode import load_square
from cocotag.photos.walk import find_images


@pytest.fixture(scope="module")
def tagger(toy_bundle):
    return Tagger.load(toy_bundle, threads=2, provider="cpu")


@pytest.fixture
def album(tmp_path):
    """Twenty plain pictures of different colours, with three files that are not images in between."""
    folder = tmp_path / "album"
    folder.mkdir()
    for index, colour in enumerate(np.random.default_rng(0).integers(0, 256, (20, 3))):
        Image.new("RGB", (20, 12), tuple(colour.tolist())).save(folder / f"{index:02}.png")
    (folder / "03a.jpg").touch()
    (folder / "07a.jpg").write_text("text")
    (folder / "19a.jpg").symlink_to("nowhere.jpg")
    return folder


def decoders_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("cocotag-decode")]


@pytest.fixture
def on_a_gpu(toy_bundle):
    """The same tagger, as if its network ran on a GPU; and the threads that ran it."""
    loaded = Tagger.load(toy_bundle, threads=2, provider="cpu")
    ran = []

    class Apart(Engine):
        on_cores = False

        def run(self, images):
            ran.append(threading.current_thread())
            return super().run(images)

    engine = loaded._engine
    return Tagger(Apart(engine.session, engine.metadata, "cuda", engine.threads), toy_bundle), ran


@pytest.mark.parametrize("batch_size", [1, 4, 8, 64, None])
@pytest.mark.parametrize("decoders", [1, 3, None])
def test_every_file_has_its_own_result_in_order(tagger, album, batch_size, decoders):
    files = list(find_images([album]))
    results = list(predict_files(tagger, files, batch_size=batch_size, decoders=decoders))
    assert [result.path for result in results] == files
    failed = {result.path.name: result.error.reason for result in results if result.error}
    assert failed == {"03a.jpg": "empty", "07a.jpg": "not_an_image", "19a.jpg": "missing"}
    for result in results:
        assert (result.probs is None) == (result.error is not None)
        if result.probs is not None:
            np.testing.assert_allclose(result.probs, tagger.predict(load_square(result.path, 64)[None])[0], atol=1e-6)


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory):
    """A network with convolutions of several kinds, whose kernels differ with the batch; the probabilities spread."""
    rng = np.random.default_rng(0)
    side, classes = 96, 80

    def weight(name, *shape):
        return numpy_helper.from_array(rng.normal(0, 2 / np.prod(shape[1:]) ** 0.5, shape).astype(np.float32), name)

    weights = [
        weight("stem", 32, 3, 3, 3),
        weight("depthwise", 32, 1, 3, 3),
        weight("pointwise", 96, 32, 1, 1),
        weight("head", classes, 96),
        numpy_helper.from_array(np.array(100, np.float32), "spread"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "spread"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "stem"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], group=32, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "pointwise"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("ReduceMean", ["e", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Gemm", ["pooled", "head"], ["logits"], transB=1),
        helper.make_node("Sigmoid", ["logits"], ["probs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", classes])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("bundle") / "convolutions.onnx"
    write_bundle(model, BundleMetadata(COCO80, side, (0.5,) * classes, (0,) * classes, 0), path)
    return path


def test_scores_do_not_depend_on_batch_size_and_threads(convolutions, sample_dir):
    files = list(find_images([sample_dir / "val"]))[:13]
    alone = np.stack([Tagger.load(convolutions, threads=1).predict(load_square(path, 96)[None])[0] for path in files])
    assert alone.std(axis=0).mean() > 0.01
    for threads, batch_size, decoders in ((1, 1, 1), (2, 2, 2), (3, 5, 2), (2, 13, 4), (2, None, None)):
        loaded = Tagger.load(convolutions, threads=threads)
        probs = [one.probs for one in predict_files(loaded, files, batch_size=batch_size, decoders=decoders)]
        np.testing.assert_allclose(np.stack(probs), alone, atol=1e-5)


def test_a_network_on_a_gpu_runs_in_the_consuming_thread_with_the_same_results(tagger, on_a_gpu, album):
    apart, ran = on_a_gpu
    files = list(find_images([album]))
    on_cores, elsewhere = (list(predict_files(one, files, batch_size=4)) for one in (tagger, apart))
    assert set(ran) == {threading.current_thread()}
    assert [one.path for one in elsewhere] == [one.path for one in on_cores]
    for one, other in zip(on_cores, elsewhere, strict=True):
        assert str(one.error) == str(other.error)
        np.testing.assert_array_equal(one.probs, other.probs)
    both = list(predict_with_all([apart, tagger], files, batch_size=4))
    for group, one in zip(both, on_cores, strict=True):
        assert [type(member.error) for member in group] == [type(one.error)] * 2
        assert one.probs is None or all(np.array_equal(member.probs, one.probs) for member in group)


def test_empty_input_and_only_failures(tagger, on_a_gpu, album):
    for one in (tagger, on_a_gpu[0]):
        assert list(predict_files(one, [])) == []
        assert [result.error.reason for result in predict_files(one, [album / "03a.jpg"] * 20)] == ["empty"] * 20


def test_files_are_read_ahead_by_no_more_than_a_few_tasks(tagger, album):
    taken = []

    def endless():
        while True:
            assert threading.current_thread() is threading.main_thread()  # the iterable need not be thread-safe
            taken.append(album / "00.png")
            yield taken[-1]

    results = predict_files(tagger, endless(), batch_size=4, decoders=2)
    assert not taken
    next(results)
    assert len(taken) <= 4 * AHEAD * 2  # one batch per task until the speed is known
    for _ in range(200):
        next(results)
    assert len(taken) <= 200 + TASK_FILES * (AHEAD * 2 + 1)
    results.close()


@pytest.mark.parametrize("apart", [False, True], ids=["on the cores", "apart"])
def test_memory_does_not_grow_with_the_number_of_files(tagger, on_a_gpu, album, monkeypatch, apart):
    """One full-size picture per thread, and only a few squares, even if they wait for a GPU."""
    decoding, most, lock = [0], [0], threading.Lock()
    whole = stream.load_square

    def load(path, side, **more):
        with lock:
            decoding[0] += 1
            most[0] = max(most[0], decoding[0])
        try:
            return whole(path, side, **more)
        finally:
            with lock:
                decoding[0] -= 1

    monkeypatch.setattr(stream, "load_square", load)
    square, batch_size, decoders = 64 * 64 * 3, 4, 3
    one = on_a_gpu[0] if apart else tagger
    tracemalloc.start()  # it tracks numpy arrays too
    try:
        count = sum(1 for _ in predict_files(one, [album / "00.png"] * 1000, batch_size=batch_size, decoders=decoders))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1000
    assert most[0] <= decoders
    held = batch_size * (decoders * AHEAD_APART + 1) if apart else TASK_FILES * decoders
    assert peak < square * held + 500_000 < square * 100


def test_a_slow_file_does_not_stop_the_others(tagger, album, monkeypatch):
    """While the first file is decoded, others are read ahead; the first result is still the first."""
    others, released = threading.Semaphore(0), threading.Event()
    whole = stream.load_square

    def load(path, side, **more):
        if path.name == "00.png":
            assert released.wait(30)
        else:
            others.release()
        return whole(path, side, **more)

    monkeypatch.setattr(stream, "load_square", load)

    def release():
        for _ in range(AHEAD * 2 - 1):
            others.acquire(timeout=30)
        released.set()

    helper = threading.Thread(target=release)
    helper.start()
    files = [album / f"{number:02}.png" for number in range(10)]
    assert [one.path for one in predict_files(tagger, files, batch_size=1, decoders=2)] == files
    helper.join()
    assert released.is_set()


@pytest.mark.parametrize(("seconds", "together"), [(0.0, TASK_FILES), (0.015, 2), (0.1, 1)])
def test_tasks_are_larger_for_fast_files(tagger, album, monkeypatch, seconds, together):
    """Many files per task are faster, but slow files must not delay each other."""
    whole, sizes = stream._decode_and_run, []

    def slow(taggers, paths, *rest):
        sizes.append(len(paths))
        time.sleep(seconds * len(paths))
        return whole(taggers, paths, *rest)

    def timed(*args):
        begun = time.perf_counter()
        task = slow(*args)
        return replace(task, seconds=time.perf_counter() - begun if seconds else task.files * 1e-5)

    monkeypatch.setattr(stream, "_decode_and_run", timed)
    list(predict_files(tagger, [album / "00.png"] * 40, batch_size=1, decoders=1))
    assert sizes[:AHEAD] == [1] * AHEAD
    assert max(sizes) <= together and (seconds or together in sizes)
    assert sum(sizes) == 40


def test_other_errors_than_those_of_a_file_end_the_stream(tagger, album, monkeypatch):
    def load(path, side, **more):
        raise RuntimeError("a bug")

    monkeypatch.setattr(stream, "load_square", load)
    with pytest.raises(RuntimeError, match="a bug"):
        list(predict_files(tagger, [album / "00.png"] * 50))
    assert not decoders_alive()


def test_a_stream_that_is_closed_leaves_no_threads(tagger, album):
    results = predict_files(tagger, [album / "00.png"] * 200)
    next(results)
    assert decoders_alive()
    results.close()
    assert not decoders_alive()
    abandoned = predict_files(tagger, [album / "00.png"] * 200)
    next(abandoned)
    del abandoned
    gc.collect()
    assert not decoders_alive()


def test_an_interrupt_between_files_leaves_no_threads(tagger, album):
    def interrupted():
        yield from [album / "00.png"] * 20
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(predict_files(tagger, interrupted(), batch_size=2))
    assert not decoders_alive()


def test_impossible_settings_are_refused_at_once(tagger):
    for settings in ({"batch_size": 0}, {"decoders": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            predict_files(tagger, [], **settings)


def test_as_many_threads_as_the_tagger_may_use(toy_bundle, album):
    for threads in (1, 3):
        results = predict_files(Tagger.load(toy_bundle, threads=threads), [album / "00.png"] * 100)
        next(results)
        assert len(decoders_alive()) == threads
        results.close()
