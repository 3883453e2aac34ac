"""scripts/data/download_coco.sh against a server on this machine that breaks off, lies and refuses."""

import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
SCRIPT = PROJECT / "scripts" / "data" / "download_coco.sh"
UNPACKER = PROJECT / "scripts" / "data" / "unpack_coco.py"
ANNOTATIONS = "annotations/annotations_trainval2017.zip"
VAL, TRAIN = "zips/val2017.zip", "zips/train2017.zip"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photographs(sample_dir):
    """What COCO's archives would hold: archive -> member -> bytes, of drawn pictures."""

    def images(split):
        return {f"{split}2017/": b""} | {
            f"{split}2017/{p.name}": p.read_bytes() for p in sorted((sample_dir / split).iterdir())
        }

    documents = {
        f"annotations/instances_{split}2017.json": (sample_dir / "annotations" / f"instances_{split}.json").read_bytes()
        for split in ("train", "val")
    }
    captions = {f"annotations/captions_{split}2017.json": b"{}" for split in ("train", "val")}
    return {ANNOTATIONS: documents | captions, VAL: images("val"), TRAIN: images("train")}


@pytest.fixture(scope="module")
def archives(photographs):
    return {path: zipped(members) for path, members in photographs.items()}


class Server(ThreadingHTTPServer):
    """Serves ``files`` as it is told to.

    ``breaks``: path -> after how many bytes each coming answer ends, though it promised all. ``answers``: path -> statuses of
    the coming answers. ``slow``: path -> seconds for each 1,024 bytes. ``asked``: every request, path and first byte asked for.
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.breaks, self.answers, self.slow, self.asked = dict(files), {}, {}, {}, []
        self.ranges = True


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        server.asked.append((path, start))
        status = server.answers[path].pop(0) if server.answers.get(path) else 200 if path in server.files else 404
        if status != 200:
            self.send_error(status)
            return
        content = server.files[path]
        whole = len(content)
        if start and server.ranges:
            if start >= whole:
                self.send_error(416)
                return
            content = content[start:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if server.breaks.get(path):
            content = content[: server.breaks[path].pop(0)]
        try:
            for place in range(0, len(content), 1024):
                self.wfile.write(content[place : place + 1024])
                self.wfile.flush()
                time.sleep(server.slow.get(path, 0))
        except OSError:
            pass
        self.close_connection = True


@pytest.fixture
def server(archives):
    server = Server(archives)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def manifest_line(path, content, files, unpacked=1_000_000):
    return f"{path} {len(content)} {hashlib.sha256(content).hexdigest()} {unpacked} {files}"


@pytest.fixture
def manifest(tmp_path, archives):
    """The table of the small archives."""
    file = tmp_path / "manifest"
    counts = {ANNOTATIONS: 2, VAL: 40, TRAIN: 120}
    file.write_text("".join(manifest_line(path, archives[path], counts[path]) + "\n" for path in (ANNOTATIONS, VAL, TRAIN)))
    return file


@pytest.fixture
def environment(server, manifest):
    return os.environ | {
        "COCO_URL": f"http://127.0.0.1:{server.server_port}/",
        "COCO_MANIFEST": str(manifest),
        "COCO_RETRY_SECONDS": "0.001",
        "PYTHON": sys.executable,
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def download(environment, tmp_path):
    """Run the script on ROOT and give what it said and its exit status."""

    def run(*words, root=tmp_path / "COCO", check=False):
        command = ["bash", str(SCRIPT), str(root), *words, *([] if check else ["--no-check"])]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


def there(root):
    """Every file under a folder, hidden ones too -> its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def wanted(photographs, *paths):
    members = {name: content for path in (ANNOTATIONS, *paths) for name, content in photographs[path].items()}
    return {name: content for name, content in members.items() if not name.endswith("/") and "captions" not in name}


def test_the_whole_way_ends_with_the_check(download, photographs, tmp_path):
    done = download(check=True)
    root = tmp_path / "COCO"
    assert wanted(photographs, VAL, TRAIN).items() <= there(root).items()  # and what the check may keep beside them
    checks = [
        subprocess.run([sys.executable, "-m", "cocotag", "check", root, "--split", split], capture_output=True, text=True)
        for split in ("val2017", "train2017")
    ]
    assert done.returncode == max(check.returncode for check in checks)
    assert "40 images" in done.stdout
    assert "120 images" in done.stdout
    assert "cocotag train" in done.stderr.splitlines()[-1]


def test_a_second_run_fetches_nothing_and_checks(download, server, tmp_path):
    assert download().returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "COCO").rglob("*")}
    server.asked.clear()
    again = download(check=True)
    assert again.returncode in (0, 1)
    assert "Nothing to download" in again.stderr
    assert "40 images" in again.stdout
    assert server.asked == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "COCO").rglob("*")} == before


def test_one_split_and_later_the_other(download, server, photographs, tmp_path):
    assert download("--only", "val2017").returncode == 0
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)
    server.asked.clear()
    assert download().returncode == 0
    assert server.asked == [(TRAIN, 0)]
    assert there(tmp_path / "COCO") == wanted(photographs, VAL, TRAIN)


def test_a_break_is_resumed_at_the_byte_where_it_happened(download, server, photographs, tmp_path):
    server.breaks[VAL] = [5_000, 7_000]
    done = download("--only", "val2017")
    assert done.returncode == 0, done.stderr
    assert [start for path, start in server.asked if path == VAL] == [0, 5_000, 12_000]
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


def test_a_server_without_ranges_does_not_corrupt_the_file(download, server, photographs, tmp_path):
    server.ranges = False
    server.breaks[VAL] = [5_000]
    done = download("--only", "val2017")
    assert done.returncode == 0, done.stderr
    assert "again at byte 0" in done.stderr
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


def test_a_page_in_place_of_the_rest_does_not_cost_what_is_there(download, server, archives, tmp_path):
    server.breaks[VAL] = [5_000]
    server.answers[VAL] = [200, 404]
    assert download("--only", "val2017").returncode == 2
    part = tmp_path / "COCO" / "val2017.zip.part"
    assert part.read_bytes() == archives[VAL][:5_000]
    server.ranges, server.files[VAL] = False, b"<html>Please log in to this network</html>"
    done = download("--only", "val2017")
    assert done.returncode == 2
    assert "42 bytes" in done.stderr
    assert part.read_bytes() == archives[VAL][:5_000]


@pytest.mark.parametrize("change", [-1, +1], ids=["short", "long"])
def test_a_wrong_size_is_named_and_not_kept(download, server, archives, tmp_path, change):
    content = archives[VAL]
    server.files[VAL] = content[:-1] if change < 0 else content + b"!"
    done = download("--only", "val2017")
    assert done.returncode == 2
    assert str(len(content)) in done.stderr.splitlines()[-1]
    assert not (tmp_path / "COCO" / "val2017.zip.part").exists()
    assert not (tmp_path / "COCO" / "val2017").exists()


def test_a_part_of_another_file_is_not_built_upon(download, server, photographs, archives, tmp_path):
    root = tmp_path / "COCO"
    root.mkdir()
    (root / "val2017.zip.part").write_bytes(b"x" * (len(archives[VAL]) + 1))
    assert download("--only", "val2017").returncode == 0
    assert there(root) == wanted(photographs, VAL)


def test_more_than_the_server_has_is_not_built_upon(download, server, photographs, tmp_path):
    server.breaks[VAL] = [5_000]
    server.answers[VAL] = [200, 416]
    assert download("--only", "val2017").returncode == 0
    assert [start for path, start in server.asked if path == VAL] == [0, 5_000, 0]
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


def test_wrong_content_of_the_right_size_is_named_removed_and_fetched_anew(download, server, photographs, archives, tmp_path):
    server.files[VAL] = bytes(len(archives[VAL]))
    done = download("--only", "val2017")
    assert done.returncode == 2
    assert hashlib.sha256(server.files[VAL]).hexdigest() in done.stderr
    assert hashlib.sha256(archives[VAL]).hexdigest() in done.stderr
    assert list((tmp_path / "COCO").glob("*val2017*")) == []
    server.files[VAL] = archives[VAL]
    assert download("--only", "val2017").returncode == 0
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


def test_what_is_not_there_is_asked_for_once_and_what_is_busy_again(download, server):
    server.answers[ANNOTATIONS] = [503, 429]
    del server.files[VAL]
    done = download("--only", "val2017")
    assert done.returncode == 2
    assert f"{VAL} answered 404" in done.stderr.splitlines()[-1]
    assert [path for path, _ in server.asked] == [ANNOTATIONS] * 3 + [VAL]


def test_it_gives_up_in_the_end(download, server, archives, tmp_path):
    server.breaks[ANNOTATIONS] = [3_000] + [0] * 20
    done = download()
    assert done.returncode == 2
    assert f"8 times in a row, at 3000 of {len(archives[ANNOTATIONS])} bytes" in done.stderr
    assert (tmp_path / "COCO" / "annotations_trainval2017.zip.part").read_bytes() == archives[ANNOTATIONS][:3_000]


def test_a_full_disk_is_told_before_anything_is_fetched(download, server, manifest, archives):
    manifest.write_text(
        manifest_line(ANNOTATIONS, archives[ANNOTATIONS], 2, 400 * 10**12)
        + "\n"
        + manifest_line(VAL, archives[VAL], 40, 500 * 10**12)
        + "\n"
    )
    done = download()
    assert done.returncode == 2
    free = re.search(r"([\d.]+) GB of free disk.* 900000\.0 GB", done.stderr)
    assert free, done.stderr
    assert float(free[1]) < 900_000
    assert server.asked == []


def test_what_is_there_needs_no_disk(download, server, manifest, archives):
    assert download("--only", "val2017").returncode == 0
    manifest.write_text(
        manifest_line(VAL, archives[VAL], 40, 500 * 10**12) + "\n" + manifest_line(TRAIN, archives[TRAIN], 120) + "\n"
    )
    assert download().returncode == 0


def start(environment, root):
    command = ["bash", str(SCRIPT), str(root), "--only", "val2017", "--no-check"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_stopped_while_it_fetches_it_goes_on(download, server, environment, photographs, tmp_path, number):
    root = tmp_path / "COCO"
    part = root / "val2017.zip.part"
    server.slow[VAL] = 0.02
    running = start(environment, root)
    wait_for(lambda: part.exists() and part.stat().st_size > 4_096)
    if number == signal.SIGTERM:
        running.terminate()  # the script alone: it ends its curl itself
    else:
        os.killpg(running.pid, number)  # all of it, as a terminal does
    _, said = running.communicate(timeout=20)
    if number != signal.SIGKILL:
        assert running.returncode == 130
        assert said.splitlines()[-1].startswith("Stopped.")
    server.slow.clear()
    kept = part.stat().st_size
    server.asked.clear()
    assert download("--only", "val2017").returncode == 0
    assert server.asked == [(VAL, kept)]
    assert there(root) == wanted(photographs, VAL)


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_two_at_once_do_not_write_to_one_file(download, server, environment, photographs, tmp_path):
    root = tmp_path / "COCO"
    server.slow[VAL] = 0.02
    with start(environment, root) as first:
        wait_for((root / "val2017.zip.part").exists)
        first.kill()  # its curl lives on, and so does the lock
    refused = download("--only", "val2017")
    assert refused.returncode == 2
    assert "Another download" in refused.stderr and str(root) in refused.stderr
    server.slow.clear()
    wait_for(lambda: "Another download" not in download("--only", "val2017").stderr)
    assert there(root) == wanted(photographs, VAL)


def test_killed_while_it_unpacks_it_goes_on(download, archives, photographs, tmp_path):
    root = tmp_path / "COCO"
    unpacking = root / ".val2017.unpacking"
    unpacking.mkdir(parents=True)
    (root / "val2017.zip.part").write_bytes(archives[VAL])
    images = {Path(name).name: content for name, content in photographs[VAL].items() if name.endswith(".jpg")}
    done, broken, *_ = sorted(images)
    (unpacking / done).write_bytes(images[done])
    (unpacking / f".{broken}.k1ll_3d8.part").write_bytes(images[broken][:100])
    before = (unpacking / done).stat().st_ino
    assert download("--only", "val2017").returncode == 0
    assert there(root) == wanted(photographs, VAL)
    assert (root / "val2017" / done).stat().st_ino == before


def test_killed_between_unpacking_and_tidying_it_tidies(download, archives, photographs, tmp_path):
    assert download("--only", "val2017").returncode == 0
    (tmp_path / "COCO" / "val2017.zip.part").write_bytes(archives[VAL])
    assert download("--only", "val2017").returncode == 0
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


def test_archives_are_kept_on_request(download, archives, tmp_path):
    assert download("--only", "val2017", "--keep-zips").returncode == 0
    for path in (ANNOTATIONS, VAL):
        assert (tmp_path / "COCO" / Path(path).name).read_bytes() == archives[path]


def test_ones_own_archive_is_used_and_never_removed(download, server, archives, tmp_path):
    own = tmp_path / "COCO" / "val2017.zip"
    own.parent.mkdir()
    own.write_bytes(archives[VAL][:-1])
    refused = download("--only", "val2017")
    assert refused.returncode == 2
    assert str(own) in refused.stderr.splitlines()[-1]
    assert own.read_bytes() == archives[VAL][:-1]
    own.write_bytes(archives[VAL])
    assert download("--only", "val2017").returncode == 0
    assert own.read_bytes() == archives[VAL]
    assert VAL not in {path for path, _ in server.asked}


def test_somebody_elses_images_are_left_alone(download, server, tmp_path):
    photo = tmp_path / "COCO" / "val2017" / "holiday.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"mine")
    done = download()
    assert done.returncode == 2
    assert str(photo.parent) in done.stderr and "(1)" in done.stderr and "(40)" in done.stderr
    assert there(tmp_path / "COCO") == {"val2017/holiday.jpg": b"mine"}
    assert server.asked == []


def test_somebody_elses_labels_are_left_alone(download, tmp_path):
    labels = tmp_path / "COCO" / "annotations" / "instances_val2017.json"
    labels.parent.mkdir(parents=True)
    labels.write_text("{}")
    done = download("--only", "val2017")
    assert done.returncode == 2
    assert str(labels) in done.stderr
    assert labels.read_text() == "{}"


def test_an_empty_folder_is_in_nobodys_way(download, photographs, tmp_path):
    (tmp_path / "COCO" / "val2017").mkdir(parents=True)
    assert download("--only", "val2017").returncode == 0
    assert there(tmp_path / "COCO") == wanted(photographs, VAL)


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "ROOT"), (["a", "b"], "a and b"), (["a", "--only", "test2017"], "train2017 or val2017"), (["--fast"], "--help")],
)
def test_a_wrong_command_line_is_one_line_and_exit_2(words, says, tmp_path):
    done = subprocess.run(["bash", str(SCRIPT), *words], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_says_where_from_and_how_much():
    done = subprocess.run(["bash", str(SCRIPT), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("http://images.cocodataset.org", "20.4 GB", "--only", "--keep-zips", "COCO_URL"):
        assert word in done.stdout


def unpack(content, root, part, files):
    archive = root.parent / "archive.zip"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(content)
    words = [archive, root, part, str(files), str(len(content)), hashlib.sha256(content).hexdigest()]
    return subprocess.run([sys.executable, UNPACKER, *words], capture_output=True, text=True)


def test_an_archive_with_too_few_images_gives_no_folder(tmp_path, archives):
    done = unpack(archives[VAL], tmp_path / "COCO", "val2017", 41)
    assert done.returncode == 2
    assert "40 files" in done.stderr
    assert not (tmp_path / "COCO").exists()


def test_nothing_is_unpacked_outside_its_folder(tmp_path):
    names = ("val2017/a.jpg", "val2017/../../b.jpg", "/val2017/c.jpg", "val2017/deeper/d.jpg", "val2017/..\\e.jpg")
    assert unpack(zipped(dict.fromkeys(names, b"x")), tmp_path / "deep" / "COCO", "val2017", 1).returncode == 0
    assert there(tmp_path).keys() == {"deep/archive.zip", "deep/COCO/val2017/a.jpg"}


def test_a_damaged_image_gives_no_folder(tmp_path):
    content = bytearray(zipped({"val2017/a.jpg": b"picture" * 100}))
    content[200] ^= 1
    done = unpack(bytes(content), tmp_path / "COCO", "val2017", 1)
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert there(tmp_path).keys() == {"archive.zip"}


def test_the_table_of_the_script_is_the_real_coco():
    """Published figures in one piece: a slip of the finger would cost a user 19 GB."""
    rows = [line.split() for line in SCRIPT.read_text().splitlines() if re.match(r"(annotations|zips)/\S+\.zip ", line)]
    assert [(row[0], int(row[1]), int(row[4])) for row in rows] == [
        (ANNOTATIONS, 252_907_541, 2),
        (VAL, 815_585_330, 5_000),
        (TRAIN, 19_336_861_798, 118_287),
    ]
    assert all(re.fullmatch(r"[0-9a-f]{64}", row[2]) and int(row[3]) > 0 for row in rows)
