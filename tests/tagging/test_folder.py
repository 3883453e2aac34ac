"""Tagging of folders: one result per file in the state, in order; only new and changed files are tagged."""

import json
import os
import signal
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from toy_bundle import make_toy_bundle

from cocotag.errors import DataError
from cocotag.inference.stream import AHEAD, predict_with_all
from cocotag.inference.tagger import Tagger
from cocotag.photos.walk import Walk, find_images
from cocotag.tagging import folder as folder_module
from cocotag.tagging.folder import tag_paths
from cocotag.tagging.progress import Progress
from cocotag.tagging.state.stamps import was_rewritten
from cocotag.tagging.state.store import State
from cocotag.tagging.summary import TagSummary

LONG_AGO = 10**18


@pytest.fixture(scope="module")
def tagger(toy_bundle):
    return Tagger.load(toy_bundle, threads=1)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Tagger.load(make_toy_bundle(tmp_path_factory.mktemp("other") / "other.onnx", seed=1), threads=1)


def age(path, ns=LONG_AGO):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


def picture(path, colour, *, old=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), tuple(colour)).save(path)
    if old:
        age(path)


@pytest.fixture
def album(tmp_path):
    """Twenty plain pictures of different colours, with three files that are not images in between."""
    folder = tmp_path / "album"
    for index, colour in enumerate(np.random.default_rng(0).integers(0, 256, (20, 3)).tolist()):
        picture(folder / ("a" if index % 3 else "") / f"{index:02}.png", colour)
    (folder / "03a.jpg").touch()
    (folder / "07a.jpg").write_text("text")
    for name in ("03a.jpg", "07a.jpg"):
        age(folder / name)
    (folder / "19a.jpg").symlink_to("nowhere.jpg")
    return folder


@pytest.fixture
def place(tmp_path):
    return tmp_path / "x.state"


@pytest.fixture
def worked(monkeypatch):
    """The names of files that were decoded, in order."""
    names = []

    def noting(taggers, paths, **settings):
        return predict_with_all(taggers, (names.append(path.name) or path for path in paths), **settings)

    monkeypatch.setattr(folder_module, "predict_with_all", noting)
    return names


def tag(taggers, paths, place, **settings):
    with State.open(place) as state:
        summary = tag_paths(taggers, Walk(paths if isinstance(paths, list) else [paths]), state, **settings)
        return summary, list(state.results())


def as_alone(tagger, results):
    for one in results:
        if one.status == "ok":
            expected = [(tag.name, tag.score) for tag in tagger.tag(one.path, threshold=0)]
            names = tagger.metadata.vocabulary.names
            order = np.argsort(-one.probs[0].astype(np.float32), kind="stable")
            assert [(names[index], float(one.probs[0][index])) for index in order] == expected


def test_a_result_for_each_in_the_order_of_the_walk(tagger, album, place, capfd):
    summary, results = tag(tagger, album, place)
    assert [one.path for one in results] == list(find_images([album]))
    assert summary.ok == 20 and summary.total == 23 and summary.known == 0
    assert summary.failed == Counter(one.status for one in results if one.status != "ok")
    assert summary.failed == {"empty": 1, "not_an_image": 1, "missing": 1}
    as_alone(tagger, results)
    text = summary.to_text()
    assert "20 of 23" in text and "1 empty" in text and "03a.jpg" in text
    assert capfd.readouterr().err == ""  # not a terminal


def test_a_second_run_only_retries_failures_that_may_differ(tagger, album, place, worked):
    _, first = tag(tagger, album, place)
    worked.clear()
    summary, second = tag(tagger, album, place)
    assert worked == ["19a.jpg"]  # the missing file may exist now
    assert summary.known == 22 and summary.ok == 20
    assert summary.failed == {"empty": 1, "not_an_image": 1, "missing": 1}
    assert len(summary.first_failures) == 3 and "03a.jpg" in summary.first_failures[0]
    for one, again in zip(first, second, strict=True):
        assert one[:3] == again[:3]
        np.testing.assert_array_equal(one.probs, again.probs)


def test_only_new_and_changed_files_are_tagged(tagger, album, place, worked):
    tag(tagger, album, place)
    worked.clear()
    picture(album / "00.png", (9, 9, 9))
    age(album / "00.png", LONG_AGO + 1)
    picture(album / "a" / "01.png", (1, 2, 3))  # in the old time, but of another size
    with (album / "a" / "01.png").open("ab") as file:
        file.write(b"more")
    age(album / "a" / "01.png")
    picture(album / "b" / "new.png", (5, 5, 5))
    (album / "03.png").unlink()
    (album / "07a.jpg").write_bytes((album / "00.png").read_bytes())
    _, results = tag(tagger, album, place)
    assert sorted(worked) == ["00.png", "01.png", "07a.jpg", "19a.jpg", "new.png"]
    assert [one.path for one in results] == list(find_images([album]))
    as_alone(tagger, results)


def test_failed_files_are_tried_again_on_request(tagger, album, place, worked):
    tag(tagger, album, place)
    worked.clear()
    tag(tagger, album, place, retry_failed=True)
    assert worked == ["03a.jpg", "07a.jpg", "19a.jpg"]


@pytest.mark.parametrize("reason", ["unreadable", "changed", "needs_raw"])
def test_failures_that_do_not_depend_on_content_are_tried_again(tagger, album, place, reason):
    tag(tagger, album, place)
    with State.open(place) as state:
        stamp = (album / "00.png").stat().st_size, LONG_AGO
        state.put(os.fsencode(album), b"00.png", stamp, status=reason, error="not now")
        state.commit()
    summary, results = tag(tagger, album, place)
    assert results[0].status == "ok" and summary.ok == 20


def test_a_file_is_recognised_under_every_path_to_it(tagger, album, place, worked, monkeypatch):
    tag(tagger, album, place)
    worked.clear()
    monkeypatch.chdir(album)
    _, results = tag(tagger, ".", place)
    assert worked == ["19a.jpg"]
    assert [str(one.path) for one in results] == [str(path) for path in find_images(["."])]
    _, results = tag(tagger, "a", place)
    assert {str(one.path.parent) for one in results} == {"a"}
    monkeypatch.chdir(album / "a")
    _, results = tag(tagger, ["../00.png", "01.png"], place)
    assert [str(one.path) for one in results] == ["../00.png", "01.png"]
    assert worked == ["19a.jpg"]


def test_a_file_that_is_met_twice_counts_once(tagger, album, place, worked):
    twice = album / "00.png"
    paths = [twice, twice, album / "a", album, twice, album / "a" / "01.png"]
    for _ in range(2):
        summary, results = tag(tagger, paths, place)
        assert summary.total == len(results) == len({one.path for one in results}) == 23
    assert sorted(worked) == sorted([*(path.name for path in find_images([album])), "19a.jpg"])


def test_another_bundle_tags_again_with_a_message(tagger, other, album, place, worked, capsys):
    tag(tagger, album, place)
    worked.clear()
    _, results = tag(other, album, place, progress=Progress())
    assert len(worked) == 21  # all pictures; the failure of an empty file does not depend on the bundle
    assert str(place) in capsys.readouterr().err
    as_alone(other, results)
    worked.clear()
    _, results = tag(tagger, album, place, progress=Progress())  # its scores are still cached
    assert worked == ["19a.jpg"]
    assert capsys.readouterr().err == ""
    as_alone(tagger, results)


def test_a_bundle_that_differs_only_in_thresholds_reuses_the_scores(tagger, album, place, worked, tmp_path):
    import onnx

    from cocotag.bundle import write_bundle

    tag(tagger, album, place)
    worked.clear()
    changed = tagger.metadata.with_thresholds(np.full(80, 0.1), {"rule": "fixed:0.1"})
    write_bundle(onnx.load_model(str(tagger.path)), changed, tmp_path / "changed.onnx")
    tag(Tagger.load(tmp_path / "changed.onnx"), album, place)
    assert worked == ["19a.jpg"]


def test_two_bundles_of_one_network_have_one_score(tagger, album, place, worked, tmp_path):
    import onnx

    from cocotag.bundle import write_bundle

    changed = tagger.metadata.with_thresholds(np.full(80, 0.1), {"rule": "fixed:0.1"})
    write_bundle(onnx.load_model(str(tagger.path)), changed, tmp_path / "changed.onnx")
    both = {"a": tagger, "b": Tagger.load(tmp_path / "changed.onnx")}
    tag(both, album, place)
    worked.clear()
    _, results = tag(both, album, place)
    assert worked == ["19a.jpg"]
    assert all(len(one.probs) == 2 for one in results if one.status == "ok")


def test_several_bundles_each_have_their_scores(tagger, other, album, place):
    _, results = tag({"a": tagger, "b": other}, album, place)
    assert all(len(one.probs) == 2 for one in results if one.status == "ok")
    as_alone(tagger, results)
    as_alone(other, [one._replace(probs=one.probs[::-1]) for one in results])


def test_an_additional_bundle_has_its_scores_too(tagger, other, album, place, worked):
    tag({"a": tagger}, album, place)
    worked.clear()
    _, results = tag({"a": tagger, "b": other}, album, place)
    assert len(worked) == 21
    as_alone(tagger, results)
    as_alone(other, [one._replace(probs=one.probs[::-1]) for one in results])
    worked.clear()
    tag({"b": other}, album, place)
    tag({"b": other, "a": tagger}, album, place)
    assert set(worked) == {"19a.jpg"}


# Content


def test_with_rehash_a_file_is_recognised_by_content_and_not_by_time(tagger, album, place, worked):
    tag(tagger, album, place, rehash=True)
    worked.clear()
    age(album / "00.png", LONG_AGO + 5)  # touched
    changed = album / "a" / "02.png"
    data = bytearray(changed.read_bytes())
    data[-20] ^= 1
    changed.write_bytes(data)
    age(changed)
    tag(tagger, album, place)
    assert worked == ["00.png", "19a.jpg"]  # by time and size: the changed one is not seen
    worked.clear()
    tag(tagger, album, place, rehash=True)
    assert sorted(worked) == ["00.png", "02.png", "19a.jpg"]  # the first because it was not hashed when it was tagged last
    worked.clear()
    age(album / "a" / "04.png", LONG_AGO + 9)
    tag(tagger, album, place, rehash=True)
    assert worked == ["19a.jpg"]
    tag(tagger, album, place)
    assert worked == ["19a.jpg"] * 2  # the new time was taken over


def test_with_rehash_a_file_that_was_never_hashed_is_tagged_again(tagger, album, place, worked):
    tag(tagger, album, place)
    worked.clear()
    tag(tagger, album, place, rehash=True)
    assert len(worked) == 23


def test_a_file_that_got_keywords_is_unchanged(tagger, album, place, worked):
    for rehash in (False, True):
        tag(tagger, album, place, rehash=rehash)
        worked.clear()
        with State.open(place) as state:
            tag_paths(tagger, Walk([album]), state, rehash=rehash)
            for name in ("00.png", "a/01.png"):
                with (album / name).open("ab") as file:
                    file.write(b"keywords")
                was_rewritten(album / name, state)
            was_rewritten(album / "not known.png", state)
            state.commit()
        tag(tagger, album, place, rehash=rehash)
        assert set(worked) == {"19a.jpg"}


def test_files_may_be_rewritten_while_results_are_read(tagger, album, place, worked, monkeypatch):
    tag(tagger, album, place)
    monkeypatch.setattr("cocotag.tagging.state.store._COMMIT_SECONDS", 0)
    with State.open(place) as state:
        state.use(state.last_run())
        gone_through = []
        for one in state.results():
            gone_through.append(one.path)
            if one.status == "ok":
                with one.path.open("ab") as file:
                    file.write(b"keywords")
                was_rewritten(one.path, state)
        state.commit()
    assert gone_through == list(find_images([album]))
    worked.clear()
    tag(tagger, album, place)
    assert worked == ["19a.jpg"]


# Files that change meanwhile


def while_it_is_tagged(monkeypatch, name, change):
    """Change a file after the walk met it and before it is decoded."""

    def changing(taggers, paths, **settings):
        def changed():
            for path in paths:
                if path.name == name:
                    change(path)
                yield path

        return predict_with_all(taggers, changed(), **settings)

    monkeypatch.setattr(folder_module, "predict_with_all", changing)


def test_a_file_that_vanishes_is_an_error_and_the_rest_continues(tagger, album, place, monkeypatch):
    while_it_is_tagged(monkeypatch, "00.png", lambda path: path.unlink())
    summary, results = tag(tagger, album, place)
    assert results[0].status == "missing" and "00.png" in results[0].error
    assert summary.ok == 19 and len(results) == 23


def test_a_file_that_is_replaced_is_tagged_again(tagger, album, place, monkeypatch, worked):
    def replace(path):
        picture(path, (200, 10, 10))
        age(path, LONG_AGO + 1)

    while_it_is_tagged(monkeypatch, "00.png", replace)
    tag(tagger, album, place)
    monkeypatch.undo()
    _, results = tag(tagger, album, place)
    as_alone(tagger, results)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_is_replaced_and_restored_with_its_old_time_is_tagged_again(tagger, album, place, monkeypatch, in_place):
    """The decoded content may differ from the content before and after."""
    path = album / "00.png"
    before = path.read_bytes()

    def put_back(taggers, paths, **settings):
        def replaced():
            for one in paths:
                if one == path:
                    picture(path, (200, 10, 10))
                yield one

        for predictions in predict_with_all(taggers, replaced(), **settings):
            if predictions[0].path == path:
                if not in_place:
                    path.unlink()
                path.write_bytes(before)
                age(path)
            yield predictions

    monkeypatch.setattr(folder_module, "predict_with_all", put_back)
    tag(tagger, album, place)
    monkeypatch.undo()
    _, results = tag(tagger, album, place)
    as_alone(tagger, results)


def test_a_file_written_just_now_is_tagged_again(tagger, tmp_path, place, monkeypatch):
    """Two writes within a tick of the clock have the same time; with the same size, they cannot be distinguished."""
    path = tmp_path / "p" / "a.bmp"
    picture(path, (1, 2, 3))
    now = 1_700_000_000_123_456_789
    monkeypatch.setattr(folder_module.time, "time_ns", lambda: now)
    age(path, now - 1_000_000)
    tag(tagger, path.parent, place)
    size = path.stat().st_size
    picture(path, (200, 100, 50))
    age(path, now - 1_000_000)
    assert path.stat().st_size == size
    _, results = tag(tagger, path.parent, place)
    as_alone(tagger, results)


@pytest.mark.parametrize(("offset", "again"), [(-1_000_000_000, True), (-3_000_000_000, False), (10**17, False)])
def test_times_in_whole_seconds_are_coarse_and_times_in_the_future_are_reliable(
    tagger, tmp_path, place, monkeypatch, worked, offset, again
):
    path = tmp_path / "p" / "a.png"
    picture(path, (1, 2, 3))
    now = 1_700_000_000_000_000_000
    monkeypatch.setattr(folder_module.time, "time_ns", lambda: now)
    age(path, now + offset)
    tag(tagger, path.parent, place)
    tag(tagger, path.parent, place)
    assert len(worked) == 1 + again


# Results as they come


def test_results_come_in_order_including_unchanged_files(tagger, album, place):
    tag(tagger, [album / "a"], place)
    came = []
    _, results = tag(tagger, album, place, on_result=came.append)
    assert [one[:3] for one in came] == [one[:3] for one in results]
    assert [one.path for one in came] == list(find_images([album]))
    as_alone(tagger, came)
    for one, stored in zip(came, results, strict=True):
        np.testing.assert_array_equal(one.probs, stored.probs)


def test_the_first_result_comes_before_the_walk_is_done(tagger, tmp_path):
    for number in range(200):
        picture(tmp_path / "p" / str(number) / "a.png", (number, 0, 0))
    walked = []

    class Noted(Walk):
        def __iter__(self):
            for part in super().__iter__():
                walked.append(part)
                yield part

    class Enough(Exception):
        pass

    def first(_):
        raise Enough

    with State.temporary() as state, pytest.raises(Enough):
        tag_paths(tagger, Noted([tmp_path / "p"]), state, on_result=first)
    assert len(walked) < 100


def test_without_a_state_each_file_comes_once(tagger, album):
    came = []
    with State.temporary() as state:
        summary = tag_paths(tagger, Walk([album / "a", album]), state, on_result=came.append)
    assert len(came) == summary.total == 23
    as_alone(tagger, came)


# Stops


def interrupt_after(monkeypatch, number, times=1):
    """Press Ctrl-C after a number of results."""

    def interrupted(taggers, paths, **settings):
        for place, predictions in enumerate(predict_with_all(taggers, paths, batch_size=2, decoders=1, **settings)):
            if place in range(number, number + times):
                os.kill(os.getpid(), signal.SIGINT)
            yield predictions

    monkeypatch.setattr(folder_module, "predict_with_all", interrupted)


def test_ctrl_c_finishes_the_images_in_progress_and_the_next_run_the_rest(tagger, album, place, monkeypatch, worked):
    interrupt_after(monkeypatch, 3)
    summary, results = tag(tagger, album, place)
    assert summary.stopped
    assert 4 <= len(results) == summary.total <= 2 * AHEAD + 4 < 23
    assert [one.path for one in results] == list(find_images([album]))[: len(results)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    again, everything = tag(tagger, album, place)
    assert not again.stopped and again.known >= len(results) - 1
    assert [one.path for one in everything] == list(find_images([album]))
    as_alone(tagger, everything)


def test_ctrl_c_leaves_no_unchanged_file_out(tagger, album, place, monkeypatch):
    tag(tagger, album, place)
    picture(album / "00.png", (7, 7, 7))
    age(album / "00.png", LONG_AGO + 1)
    for number in range(30):
        picture(album / "0" / f"{number}.png", (number, 0, 0))
    interrupt_after(monkeypatch, 1)
    summary, results = tag(tagger, album, place)
    assert summary.stopped
    known = {path for path in find_images([album]) if path.parent.name != "0"} - {album / "00.png", album / "19a.jpg"}
    assert known <= {one.path for one in results}
    assert len(results) < 23 + 30


def test_a_second_ctrl_c_does_not_wait_and_keeps_committed_results(tagger, album, place, monkeypatch):
    monkeypatch.setattr("cocotag.tagging.state.store._COMMIT_SECONDS", 0)
    monkeypatch.setattr("cocotag.process.interrupt._ONCE_SECONDS", -1)  # the second comes at once here
    interrupt_after(monkeypatch, 5, times=2)
    with pytest.raises(KeyboardInterrupt):
        tag(tagger, album, place)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    summary, results = tag(tagger, album, place)
    assert summary.known >= 4 and len(results) == 23


def test_ctrl_c_after_the_last_file_does_not_stop_the_run(tagger, album, place, monkeypatch):
    interrupt_after(monkeypatch, 22)
    summary, results = tag(tagger, album, place)
    assert not summary.stopped and len(results) == 23


def test_it_works_outside_the_main_thread(tagger, album, place):
    done = []
    thread = threading.Thread(target=lambda: done.append(tag(tagger, album, place)))
    thread.start()
    thread.join(60)
    assert done[0][0].total == 23


def test_impossible_runs_do_not_start(tagger, album, tmp_path, place):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "a.txt").touch()
    with pytest.raises(DataError, match=r"1 other file.* 1 \.txt\.") as caught:
        tag(tagger, tmp_path / "nothing", place)
    assert caught.value.code == "no_images"
    with pytest.raises(DataError, match="typo") as caught:
        tag(tagger, tmp_path / "typo", place)
    assert caught.value.code == "path_missing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["album", "nothing"]


# Summary


def test_a_summary_of_many_failures_names_the_first():
    summary = TagSummary(ok=1, failed=Counter(empty=5, missing=1), first_failures=["a", "b", "c"], seconds=2.0)
    assert summary.to_text().splitlines() == [
        "1 of 7 files tagged in 2.0 s (3.5 images/s); failed: 5 empty, 1 missing",
        "  a",
        "  b",
        "  c",
        "  and 3 more",
    ]


def test_a_summary_counts_unchanged_and_skipped_files_and_names_the_device():
    skipped = Counter({".xmp": 9, ".mov": 8, "": 7, ".txt": 6, ".db": 5, ".ini": 4})
    summary = TagSummary(ok=12, known=2, skipped=skipped, seconds=5.0, runs_on="CPU, 2 threads")
    assert summary.to_text().splitlines() == [
        "12 of 12 files tagged, 2 unchanged in 5.0 s (2.0 images/s on CPU, 2 threads)",
        "39 other files skipped, by ending: 9 .xmp, 8 .mov, 7 without, 6 .txt, 5 .db, ...",
    ]
    assert json.loads(json.dumps(summary.to_json()))["files"] == 12
    assert TagSummary(ok=2, known=2, seconds=1.0).to_text() == "2 of 2 files tagged, 2 unchanged in 1.0 s"


def test_a_summary_has_no_rate_if_no_image_was_tagged():
    """Three tagged and one failed before, one of each, of which the failed one was tried again."""
    again = TagSummary(ok=3, failed=Counter(empty=2), known=4, known_failed=1, seconds=1.0, runs_on="CPU")
    assert again.to_text().splitlines()[0] == "3 of 5 files tagged, 4 unchanged in 1.0 s; failed: 2 empty"
    again.ok, again.failed = 4, Counter(empty=1)
    assert "(1.0 images/s on CPU)" in again.to_text()


def test_a_count_of_one_is_singular():
    one = TagSummary(ok=1, skipped=Counter({".mov": 1}), raw_left_out=1, seconds=1.0).to_text().splitlines()
    assert one[0].startswith("1 of 1 file tagged")
    assert one[1].startswith("1 other file skipped")
    assert one[2].startswith("1 camera RAW file left out. To tag it too")


def test_the_summary_names_exclusions_that_matched_nothing(tagger, album, place):
    walk = Walk([album], exclude=["a", "album/b", "nothing.jpg"])
    with State.open(place) as state:
        summary = tag_paths(tagger, walk, state)
    *_, path, name = summary.to_text().splitlines()
    assert path.startswith("--exclude 'album/b' matched nothing.") and "slash" in path
    assert name == "--exclude 'nothing.jpg' matched nothing."
    assert summary.to_json()["idle_exclusions"] == ["album/b", "nothing.jpg"]


def test_a_rerun_in_which_nothing_was_tagged_has_no_rate(tagger, album, place):
    """The file that is missing is tried again in every run."""
    assert "images/s" in tag(tagger, album, place)[0].to_text()
    for settings in ({}, {"retry_failed": True}):
        again, _ = tag(tagger, album, place, **settings)
        assert again.known < again.total
        assert again.known - again.known_failed == again.ok > 0
        assert "images/s" not in again.to_text()


@pytest.mark.parametrize("seconds", [-11_644_473_600, 253_402_300_799])  # 1601, where NTFS begins, and 9999
def test_a_time_that_no_database_holds_is_no_reason_to_stop(tagger, album, place, monkeypatch, seconds):
    """Few file systems here have such times, so the status says so."""
    real = os.stat

    def long_ago(path, *args, **kwargs):
        status = real(path, *args, **kwargs)
        if not os.fsdecode(path).endswith(("05.png", "03a.jpg")):
            return status
        more = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return os.stat_result(status[:10], {**more, "st_mtime_ns": seconds * 10**9})

    monkeypatch.setattr(os, "stat", long_ago)
    summary, results = tag(tagger, album, place)
    assert summary.total == len(results) == 23
    assert summary.ok == 20
    again, same = tag(tagger, album, place)
    assert [one.status for one in same] == [one.status for one in results]
    assert again.known >= 20
