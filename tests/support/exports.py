"""Small COCO data sets in the shapes that other programs write, as `scripts/measure/measure_exports.py` saw them.

Each writer takes a folder, which it makes, and writes the same drawn pictures and labels: twelve pictures in train, six in val.
``bird`` is on pictures of train only, and one picture of each split is empty. `truth` says what is on the pictures.
"""

import hashlib
import io
import json
import re

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "bird")
COLOURS = {"cat": (220, 60, 40), "dog": (40, 90, 220), "bird": (40, 180, 70)}
WIDTH, HEIGHT = 64, 48
ON = {
    "train": ["dog", "cat", "cat dog", "", "bird dog", "cat", "dog", "bird cat", "cat dog", "dog", "cat", "bird"],
    "val": ["dog", "cat", "", "cat dog", "dog", "cat"],
}
BOXES = {"cat": [4.0, 6.0, 20.0, 30.0], "dog": [30.0, 10.0, 16.5, 22.0], "bird": [48.0, 2.0, 12.0, 40.0]}


class Picture:
    """A drawn picture: its name, bytes and objects as (class, box)."""

    def __init__(self, split, number):
        self.name = f"{split}{number}.jpg"
        self.stem = f"{split}{number}"
        self.objects = [(name, BOXES[name]) for name in ON[split][number].split()]
        noise = np.random.default_rng([number, len(split)]).integers(100, 160, (HEIGHT, WIDTH, 3), np.uint8)
        for name, (x, y, width, height) in self.objects:
            noise[int(y) : int(y + height), int(x) : int(x + width)] = COLOURS[name]
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "JPEG", quality=90)
        self.bytes = stream.getvalue()
        self.md5 = hashlib.md5(self.bytes, usedforsecurity=False).hexdigest()


def pictures(*splits):
    """The pictures of the given splits."""
    return [Picture(split, number) for split in splits for number in range(len(ON[split]))]


def truth(*splits):
    """The classes of each picture of the given splits (default: both), by the stem that its file had at first."""
    return {picture.stem: {name for name, _ in picture.objects} for picture in pictures(*(splits or ON))}


def original(file_name):
    """The stem that a picture had before a program renamed it."""
    return re.search(r"(train|val)\d+", file_name.rpartition("/")[2]).group()


def write(path, document, indent=None):
    """Write JSON, with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=indent))


def save(folder, some, name=lambda picture: picture.name):
    """Write pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in some:
        (folder / name(picture)).write_bytes(picture.bytes)


def entries(some, ids, first_image=1, first=1, **more):
    """The annotations of pictures: ids of images and annotations count from the given numbers; ``more`` is in each of them."""
    made = []
    for image_id, picture in enumerate(some, first_image):
        for name, box in picture.objects:
            entry = {"id": first + len(made), "image_id": image_id, "category_id": ids[name], "bbox": box}
            made.append(entry | {"area": box[2] * box[3]} | more)
    return made


def images(some, first=1, name=lambda picture: picture.name, **more):
    """The list of images: ids count from ``first``; ``more`` is in each of them."""
    size = {"height": HEIGHT, "width": WIDTH}
    return [{"id": number, "file_name": name(picture)} | size | more for number, picture in enumerate(some, first)]


def numbered(classes, first=1):
    """Category ids of classes, counted from ``first``."""
    return {name: number for number, name in enumerate(classes, first)}


def categories(ids, **more):
    """The list of categories; ``more`` is in each of them."""
    return [{"id": number, "name": name} | more for name, number in ids.items()]


def seen(some):
    """The classes on pictures, in order of appearance."""
    return list(dict.fromkeys(name for picture in some for name, _ in picture.objects))


# Programs with a layout of their own


def datumaro(root, kind="boxes", subsets=True):
    """Datumaro, the engine of CVAT: ``images/SPLIT/`` and ``annotations/instances_SPLIT.json``.

    Odd: the images are a folder deeper than in COCO's layout, and ``file_name`` lacks it. Beside the instances lie files of
    other tasks for the same images: ``image_info_SPLIT.json`` has no categories and no annotations, ``stuff_SPLIT.json`` is a
    copy of the instances, and masks add ``panoptic_SPLIT.json``, whose annotations have no category. Image ids of one split
    continue after the other's. Supercategories are empty text. Without subsets, the only split is ``default``.

    Args:
        root: The folder.
        kind: What is exported. ``boxes``: ``segmentation`` is an empty list. ``masks``: every mask without an attribute
            ``is_crowd`` has run lengths and ``iscrowd`` 1. ``polygons``: masks with ``is_crowd: False``, or
            ``segmentation_mode="polygons"``: ``iscrowd`` 0. ``mixed``: cats as masks, the rest as polygons. ``labels``: image
            labels in ``labels_SPLIT.json``, without boxes, and no instances file. ``keypoints``: the task
            ``person_keypoints`` alone, ``person_keypoints_SPLIT.json``.
        subsets: False for one split ``default`` with all pictures.
    """
    folder, first, ids = root / "annotations", 1, numbered(CLASSES)
    for split in ON if subsets else ["default"]:
        some = pictures(split) if subsets else pictures(*ON)
        save(root / "images" / split, some)
        document = {
            "licenses": [{"name": "", "id": 0, "url": ""}],
            "info": dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), ""),
            "categories": categories(ids, supercategory=""),
            "images": images(some, first, license=0, flickr_url="", coco_url="", date_captured=0),
            "annotations": [datumaro_entry(entry, kind) for entry in entries(some, ids, first)],
        }
        first += len(some)
        if kind == "keypoints":
            document["categories"] = categories(ids, supercategory="", keypoints=["left", "right"], skeleton=[])
            write(folder / f"person_keypoints_{split}.json", document)
            continue
        write(folder / f"image_info_{split}.json", document | {"categories": [], "annotations": []})
        if kind == "labels":
            write(folder / f"labels_{split}.json", document)
            continue
        write(folder / f"instances_{split}.json", document)
        write(folder / f"stuff_{split}.json", document)
        if kind != "boxes":
            parts = {}
            for entry in document["annotations"]:
                segments = parts.setdefault(entry["image_id"], [])
                same = {name: entry[name] for name in ("category_id", "area", "bbox")}
                segments.append({"id": len(segments) + 1, **same, "iscrowd": 0})
            for image in document["images"]:
                if image["id"] in parts:
                    name = image["file_name"].replace(".jpg", ".png")
                    (folder / f"panoptic_{split}").mkdir(exist_ok=True)
                    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"panoptic_{split}" / name)
                    parts[image["id"]] = {"image_id": image["id"], "file_name": name, "segments_info": parts[image["id"]]}
            panoptic = {"categories": categories(ids, supercategory="", isthing=0), "annotations": list(parts.values())}
            write(folder / f"panoptic_{split}.json", document | panoptic)


def datumaro_entry(entry, kind):
    """An annotation as Datumaro writes it for an object of a kind."""
    x, y, width, height = entry["bbox"]
    if kind == "labels":
        return {name: entry[name] for name in ("id", "image_id", "category_id")}
    as_mask = kind == "masks" or (kind == "mixed" and entry["category_id"] == numbered(CLASSES)["cat"])
    right, bottom = x + width - 1, y + height - 1
    polygon = [x, y, x, bottom, right, bottom, right, y, x, y]
    shape = rle(entry["bbox"]) if as_mask else [polygon] if kind in ("polygons", "mixed") else []
    points = {"keypoints": [x, y, 2, right, bottom, 2], "num_keypoints": 2} if kind == "keypoints" else {}
    return entry | {"segmentation": shape, "iscrowd": int(as_mask)} | points


def rle(box):
    """A box as run lengths, uncompressed, down the columns."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x, y, width, height = (int(value) for value in box)
    mask[y : y + height, x : x + width] = True
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    return {"counts": np.diff(changes, prepend=0, append=mask.size).tolist(), "size": [HEIGHT, WIDTH]}


def roboflow(root):
    """Roboflow's layout: ``train/`` and ``valid/``, with ``_annotations.coco.json`` beside the images.

    Odd: the second split is ``valid``. Category 0 is the name of the project: it is the supercategory of all others, its own
    supercategory is ``none``, and no annotation has it. Ids of images and annotations start at 0. Files are renamed to
    ``NAME_jpg.rf.HASH.jpg``. Year and version are text.
    """
    ids = numbered(CLASSES)
    for split, folder in (("train", "train"), ("val", "valid")):
        some = pictures(split)
        save(root / folder, some, roboflow_name)
        document = {
            "info": {"year": "2024", "version": "1", "description": "Exported from roboflow.com", "contributor": ""},
            "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
            "categories": categories({"animals": 0}, supercategory="none") + categories(ids, supercategory="animals"),
            "images": images(some, 0, roboflow_name, license=1, date_captured="2024-05-01T10:00:00+00:00"),
            "annotations": entries(some, ids, 0, 0, segmentation=[], iscrowd=0),
        }
        write(root / folder / "_annotations.coco.json", document)
    (root / "README.dataset.txt").write_text("# animals > raw\n")


def roboflow_name(picture):
    """The name that Roboflow gives a file."""
    return f"{picture.stem}_jpg.rf.{picture.md5}.jpg"


def label_studio(root, together=False, uploaded=False):
    """Label Studio, one export per split: ``SPLIT/result.json`` and ``SPLIT/images/``.

    Odd: the file says neither COCO nor a split. ``file_name`` begins with the folder and has a hash, ``images/HASH__NAME``.
    Values of ``Choices``, here ``blurred`` and ``sharp``, are categories without annotations, sorted among the labels. All ids
    start at 0; categories have no supercategory.

    Args:
        root: The folder.
        together: One export of all pictures: ``result.json`` and ``images/``.
        uploaded: Pictures that were uploaded to the server: their copies are ``images/HASH-NAME``, but ``file_name`` leads to
            the server's own folder, ``../../label-studio/media/upload/1/HASH-NAME``.
    """
    ids = numbered(sorted([*CLASSES, "blurred", "sharp"]), 0)
    before, between = ("../../label-studio/media/upload/1/", "-") if uploaded else ("images/", "__")
    for folder, some in whole_or_splits(root, together):
        save(folder / "images", some, lambda picture: picture.md5[:8] + between + picture.name)
        document = {
            "images": images(some, 0, lambda picture: before + picture.md5[:8] + between + picture.name),
            "categories": categories(ids),
            "annotations": entries(some, ids, 0, 0, segmentation=[], ignore=0, iscrowd=0),
            "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
        }
        write(folder / "result.json", document, indent=2)


def fiftyone(root, together=False, links=None):
    """FiftyOne's ``COCODetectionDataset``, one export per split: ``SPLIT/data/`` and ``SPLIT/labels.json``.

    Odd: neither name says COCO or a split. ``file_name`` lacks the folder ``data``. The classes are those of the export's own
    objects, sorted and counted from 1, so ids differ by split. ``supercategory``, ``license`` and ``coco_url`` are null.

    Args:
        root: The folder.
        together: One export of all pictures: ``data/`` and ``labels.json``.
        links: A folder elsewhere for the pictures: ``data/`` then has absolute symbolic links to them.
    """
    for folder, some in whole_or_splits(root, together):
        save(links or folder / "data", some)
        if links:
            (folder / "data").mkdir(parents=True)
            for picture in some:
                (folder / "data" / picture.name).symlink_to((links / picture.name).resolve())
        ids = numbered(sorted(seen(some)))
        document = {
            "info": {"year": "", "version": "", "contributor": "", "url": "https://voxel51.com/fiftyone"},
            "licenses": [],
            "categories": categories(ids, supercategory=None),
            "images": images(some, license=None, coco_url=None),
            "annotations": entries(some, ids, iscrowd=0),
        }
        write(folder / "labels.json", document)


def whole_or_splits(root, together):
    """The folders of exports with their pictures: the root with all, or one for each split."""
    return [(root, pictures(*ON))] if together else [(root / split, pictures(split)) for split in ON]


def labelme2coco(root, each=False, home=None):
    """labelme2coco: ``train.json`` and ``val.json``, split by itself, beside the one folder of labelme's files.

    Odd: ``file_name`` is absolute. Categories are counted from 0 in order of appearance, and each is its own supercategory.
    Beside each picture lies labelme's own JSON, which is not COCO. The split is random, so that a file of one split names
    pictures of the other.

    Args:
        root: The folder.
        each: Each folder ``SPLIT/`` converted alone: ``SPLIT/dataset.json`` beside the pictures; ids differ by split.
        home: The folder that the absolute names begin with, such as one on another machine; by default `root`.
    """
    whole = pictures(*ON)
    mixed = [whole[number] for number in np.random.default_rng(0).permutation(len(whole))]
    parts = {"train": mixed[: len(ON["train"])], "val": mixed[len(ON["train"]) :]}
    for split in ON:
        some, folder = (pictures(split), split) if each else (parts[split], "labelme")
        save(root / folder, some)
        for picture in some:
            shapes = [
                {"label": name, "points": [[x, y], [x + width, y + height]], "shape_type": "rectangle", "flags": {}}
                for name, (x, y, width, height) in picture.objects
            ]
            own = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": picture.name, "imageData": None}
            write(root / folder / f"{picture.stem}.json", own | {"imageHeight": HEIGHT, "imageWidth": WIDTH})
        document = sahi_document(some, f"{home or root.resolve()}/{folder}", numbered(seen(some if each else whole), 0))
        write(root / split / "dataset.json" if each else root / f"{split}.json", document)


# Programs that write one JSON file where the user wants it, here as in COCO's own layout; the user copies the pictures


def labelformat(root):
    """Labelformat: annotations have ``image_id``, ``category_id`` and ``bbox``, nothing else.

    Odd: there is no ``id`` of annotations and no ``iscrowd``. Images and categories are counted from 0.
    """
    ids = numbered(CLASSES, 0)
    for split, some in in_place(root):
        kept = [{name: entry[name] for name in ("image_id", "category_id", "bbox")} for entry in entries(some, ids, 0)]
        write_split(root, split, {"images": images(some, 0), "categories": categories(ids), "annotations": kept})


def hotcoco(root):
    """Hotcoco, from YOLO text files: ``file_name`` has no suffix.

    Odd: every field that it knows is written, most of them null: ``info``, ``segmentation``, ``supercategory``, ``score``.
    ``iscrowd`` is false, not 0.
    """
    ids = numbered(CLASSES)
    unused = dict.fromkeys(("segmentation", "keypoints", "num_keypoints", "obb", "score", "is_group_of"))
    for split, some in in_place(root):
        empty = dict.fromkeys(("license", "coco_url", "flickr_url", "date_captured"))
        empty |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        document = {
            "info": None,
            "images": images(some, 1, lambda picture: picture.stem, **empty),
            "annotations": entries(some, ids, iscrowd=False, **unused),
            "categories": categories(ids, **dict.fromkeys(("supercategory", "skeleton", "keypoints", "frequency"))),
            "licenses": [],
        }
        write_split(root, split, document)


def sahi(root, home=None):
    """SAHI: ``file_name`` is the path under which the program that called it had the picture, here absolute.

    Odd: each category is its own supercategory, and ``area`` is a whole number.

    Args:
        root: The folder.
        home: The folder that the absolute names begin with; by default `root`.
    """
    for split, some in in_place(root):
        write_split(root, split, sahi_document(some, f"{home or root.resolve()}/{split}", numbered(CLASSES, 0)))


def sahi_document(some, folder, ids):
    """A document of SAHI's ``Coco`` with pictures that lie in ``folder``."""
    made = entries(some, ids, segmentation=[], iscrowd=0)
    return {
        "images": images(some, 1, lambda picture: f"{folder}/{picture.name}"),
        "annotations": [entry | {"area": int(entry["area"])} for entry in made],
        "categories": [one | {"supercategory": one["name"]} for one in categories(ids)],
    }


def pylabel(root):
    """PyLabel, from Pascal VOC files: categories in order of appearance.

    Odd: each split's classes are counted from 0 as they appear, so ids differ by split, and a class that a split lacks is not
    in its list: ``bird`` is not in val's. Pictures without objects are missing. ``depth`` is text, ``folder`` is the absolute
    folder of the pictures, and what VOC lacks is null.
    """
    empty = dict.fromkeys(("segmented", "segmentation", "pose", "truncated", "difficult"))
    for split, every in in_place(root):
        some = [picture for picture in every if picture.objects]
        ids = numbered(seen(some), 0)
        document = {
            "images": images(some, 0, folder=str((root / split).resolve()), path=None, depth="3"),
            "annotations": entries(some, ids, 0, 0, iscrowd=0, **empty),
            "categories": categories(ids, supercategory=None),
        }
        write_split(root, split, document)


def globox(root):
    """Globox with ``auto_ids``, from Pascal VOC files: ids of one split mean other classes in the next.

    Odd: each split's own classes are sorted and counted from 0, so ``bird``, which is in train only, shifts the others: id 0 is
    ``bird`` in train and ``cat`` in val. Images are in no order. The supercategory of every class is the text ``none``.
    """
    for split, every in in_place(root):
        some = every[::-1]
        ids = numbered(sorted(seen(some)), 0)
        document = {
            "images": images(some, 0),
            "annotations": entries(some, ids, 0, 0, iscrowd=0, ignore=0, segmentation=[]),
            "categories": categories(ids, supercategory="none"),
        }
        write_split(root, split, document)


def supervision(root, documented=False):
    """Supervision's ``as_coco``: all classes have the supercategory ``common-objects``, which is not a category.

    Odd: ``date_captured`` is text of its own form.

    Args:
        root: The folder.
        documented: The paths of its documentation: ``train/annotations.json`` and ``train/images/``, then ``valid``.
    """
    ids = numbered(CLASSES)
    for split in ON:
        some, folder = pictures(split), root / {"train": "train", "val": "valid"}[split]
        save(folder / "images" if documented else root / split, some)
        document = {
            "info": {},
            "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
            "categories": categories(ids, supercategory="common-objects"),
            "images": images(some, license=1, date_captured="05/01/2026,10:00:00"),
            "annotations": entries(some, ids, segmentation=[], iscrowd=0),
        }
        write(folder / "annotations.json" if documented else root / "annotations" / f"instances_{split}.json", document)


def in_place(root):
    """Save the pictures as in COCO's own layout; yield each split with its pictures."""
    for split in ON:
        save(root / split, pictures(split))
        yield split, pictures(split)


def write_split(root, split, document):
    """Write the annotation file of a split as in COCO's own layout."""
    write(root / "annotations" / f"instances_{split}.json", document)
