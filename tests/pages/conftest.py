"""Report pages, written once by the real commands, and a real browser to open them."""

import json
from functools import partial

import cv2
import numpy as np
import pytest
from in_chromium import chromium, looking
from toy_bundle import make_toy_bundle

from cocotag.cli.main import main
from cocotag.labels import Category, Vocabulary

NASTY = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '" onfocus=alert(3) autofocus x="',
    "a & b < c; 'd'",
    "averyveryverylongnamewithoutanyplacetobreakitanywhereinit",
    "{{ 7 * 7 }} {% raw %}",
    "nan",
    "日本語 עברית",
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def look(browser):
    """Open a page; at the end, check that it logged nothing and requested nothing."""
    return partial(looking, browser, alone=True)


def draw_nasty(root, images=48):
    """A data set in COCO's layout with nasty class and file names."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": 3 * i + 1, "name": name, "supercategory": NASTY[i % 2]} for i, name in enumerate(NASTY)]
    for split in ("train", "val"):
        (root / split).mkdir()
        files, annotations = [], []
        for image in range(images):
            name = f"{image} <img src=x onerror=alert(4)> \"'&.jpg"
            picture = np.full((90, 120, 3), rng.integers(256, size=3), np.uint8)
            (root / split / name).write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
            files.append({"id": image, "file_name": name, "width": 120, "height": 90})
            for category in np.flatnonzero(rng.random(len(NASTY) - 1) < 0.3).tolist():  # the last class never occurs
                box = {"bbox": [1, 1, 50, 40], "area": 2000, "iscrowd": 0, "segmentation": []}
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": categories[category]["id"], **box}
                )
        document = {"images": files, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


@pytest.fixture(scope="session")
def nasty(tmp_path_factory):
    """The two pages of a data set with nasty names; the evaluation has a baseline."""
    folder = tmp_path_factory.mktemp("nasty")
    draw_nasty(folder / "data")
    categories = tuple(Category(3 * i + 1, name, NASTY[i % 2]) for i, name in enumerate(NASTY))
    bundle = make_toy_bundle(folder / "toy.onnx", vocabulary=Vocabulary(categories))
    other = make_toy_bundle(folder / "other.onnx", vocabulary=Vocabulary(categories), seed=1)
    words = ["--root", str(folder / "data"), "--split", "val"]
    assert main(["evaluate", str(other), *words, "--out", str(folder / "other")]) == 0
    baseline = ["--baseline", str(folder / "other" / "report.json")]
    assert main(["evaluate", str(bundle), *words, *baseline, "--out", str(folder / "evaluation")]) == 0
    return folder, imbalance_page(folder, folder / "data")


def imbalance_page(folder, root):
    annotations = [str(root / "annotations" / f"instances_{split}.json") for split in ("train", "val")]
    assert main(["imbalance", *annotations, "--images", str(root / "train"), "--out", str(folder / "imbalance")]) in (0, 1)
    return folder / "imbalance" / "imbalance.html"


@pytest.fixture(scope="session")
def real(tmp_path_factory, coco_mini, toy_bundle):
    """The two pages of real photographs, with an untrained tagger."""
    folder = tmp_path_factory.mktemp("real")
    words = ["evaluate", str(toy_bundle), "--root", str(coco_mini), "--split", "val"]
    assert main([*words, "--out", str(folder / "evaluation")]) == 0
    return folder, imbalance_page(folder, coco_mini)


PAGES = [(made, page) for made in ("nasty", "real") for page in ("evaluation", "imbalance")]


@pytest.fixture(params=PAGES, ids=["-".join(names) for names in PAGES])
def path(request):
    made, page = request.param
    folder, imbalance = request.getfixturevalue(made)
    return imbalance if page == "imbalance" else folder / "evaluation" / "report.html"


@pytest.fixture(params=["evaluation", "imbalance"])
def small(request, nasty):
    """The small pages, for tests that do not depend on the size of a page."""
    folder, imbalance = nasty
    return imbalance if request.param == "imbalance" else folder / "evaluation" / "report.html"


@pytest.fixture
def evaluation(nasty):
    return nasty[0] / "evaluation" / "report.html"
