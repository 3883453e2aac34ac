"""Exports a data set with other programs' own Python interfaces. Runs in each program's environment, without cocotag.

usage: PYTHON export_tools.py EXPORT SOURCE OUT

SOURCE is a data set in COCO's own layout with boxes, splits train and val. OUT is the new folder, written as a user of the
program would write it. `EXPORTS` is the table of all exports.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export_source import SPLITS, Photo, Source, write_voc, write_yolo

# Exports


def datumaro(
    source: Source,
    out: Path,
    *,
    kind: str = "boxes",
    one_subset: bool = False,
    attributes: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Datumaro's exporter, the engine of CVAT: boxes, masks, image labels or keypoints, with its default options."""
    import numpy as np
    from datumaro import AnnotationType, Bbox, Dataset, DatasetItem, Image, Label, LabelCategories, Mask, Points
    from datumaro.components.annotation import PointsCategories

    categories: dict[AnnotationType, Any] = {AnnotationType.label: LabelCategories.from_iterable(source.classes)}
    if kind == "keypoints":
        points: list[Any] = [(number, ["left", "right"], set()) for number in range(len(source.classes))]
        categories[AnnotationType.points] = PointsCategories.from_iterable(points)

    def annotations(photo: Photo) -> list[Any]:
        if kind == "labels":
            return [Label(source.classes.index(name)) for name in sorted({name for name, _ in photo.objects})]
        made: list[Any] = []
        for group, (name, (x, y, width, height)) in enumerate(photo.objects, 1):
            label = source.classes.index(name)
            if kind == "masks":
                mask = np.zeros((photo.height, photo.width), bool)
                mask[round(y) : max(round(y + height), round(y) + 1), round(x) : max(round(x + width), round(x) + 1)] = True
                made.append(Mask(mask, label=label, group=group, attributes=attributes or {}))
            else:
                made.append(Bbox(x, y, width, height, label=label, group=group))
            if kind == "keypoints":
                made.append(Points([x, y, x + width, y + height], [2, 2], label=label, group=group))
        return made

    items = [
        DatasetItem(
            photo.path.stem,
            subset="default" if one_subset else split,
            media=Image.from_file(path=str(photo.path)),
            annotations=annotations(photo),
        )
        for split in SPLITS
        for photo in source.photos[split]
    ]
    Dataset.from_iterable(items, categories=categories).export(str(out), "coco", save_media=True, **options)


def roboflow(source: Source, out: Path) -> None:
    """The layout of Roboflow's COCO export, written here: its exporter runs on Roboflow's servers only."""
    for split, name in (("train", "train"), ("val", "valid")):
        (out / name).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        for number, photo in enumerate(source.photos[split]):
            digest = hashlib.md5(photo.path.read_bytes(), usedforsecurity=False).hexdigest()
            file_name = f"{photo.path.stem}_{photo.path.suffix[1:]}.rf.{digest}{photo.path.suffix}"
            shutil.copyfile(photo.path, out / name / file_name)
            images.append(
                {
                    "id": number,
                    "license": 1,
                    "file_name": file_name,
                    "height": photo.height,
                    "width": photo.width,
                    "date_captured": "2024-05-01T10:00:00+00:00",
                    "extra": {"name": photo.path.name},
                }
            )
            for label, box in photo.objects:
                entries.append(
                    {
                        "id": len(entries),
                        "image_id": number,
                        "category_id": 1 + source.classes.index(label),
                        "bbox": box,
                        "area": box[2] * box[3],
                        "segmentation": [],
                        "iscrowd": 0,
                    }
                )
        document = {
            "info": {
                "year": "2024",
                "version": "1",
                "description": "Exported from roboflow.com",
                "contributor": "",
                "url": "https://public.roboflow.com/object-detection/undefined",
                "date_created": "2024-05-01T10:00:00+00:00",
            },
            "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "objects", "supercategory": "none"},
                *({"id": 1 + i, "name": label, "supercategory": "objects"} for i, label in enumerate(source.classes)),
            ],
            "images": images,
            "annotations": entries,
        }
        (out / name / "_annotations.coco.json").write_text(json.dumps(document))
    (out / "README.dataset.txt").write_text("# undefined > raw\nProvided by a Roboflow user\n")


def label_studio(source: Source, out: Path, *, together: bool = False, uploaded: bool = False) -> None:
    """Label Studio's converter, `COCO_WITH_IMAGES`, from tasks as its own JSON export has them.

    Each split is a project with an export of its own, or all photographs are in one project. They are in its local storage, or
    uploaded.
    """
    from label_studio_sdk.converter import Converter

    labels = "".join(f'<Label value="{name}"/>' for name in source.classes)
    config = (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>'
        '<Choices name="quality" toName="image"><Choice value="sharp"/><Choice value="blurred"/></Choices></View>'
    )
    for split in ("all",) if together else SPLITS:
        photos = source.photos["train"] + source.photos["val"] if together else source.photos[split]
        folder = out if together else out / split
        folder.mkdir(parents=True, exist_ok=True)
        work = out.with_name(f"{out.name}-{split}-project")
        (work / "upload" / "1").mkdir(parents=True)
        tasks = []
        for number, photo in enumerate(photos, 1):
            file_name = f"{hashlib.md5(photo.path.name.encode(), usedforsecurity=False).hexdigest()[:8]}-{photo.path.name}"
            shutil.copyfile(photo.path, work / "upload" / "1" / file_name)
            results: list[dict[str, Any]] = []
            for position, (name, (x, y, width, height)) in enumerate(photo.objects):
                value = {
                    "x": 100 * x / photo.width,
                    "y": 100 * y / photo.height,
                    "width": 100 * width / photo.width,
                    "height": 100 * height / photo.height,
                    "rotation": 0,
                    "rectanglelabels": [name],
                }
                results.append(
                    {
                        "id": f"r{position}",
                        "type": "rectanglelabels",
                        "from_name": "label",
                        "to_name": "image",
                        "original_width": photo.width,
                        "original_height": photo.height,
                        "image_rotation": 0,
                        "value": value,
                    }
                )
            quality = {"choices": ["sharp"]}
            results.append({"id": "c", "type": "choices", "from_name": "quality", "to_name": "image", "value": quality})
            annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": results}
            url = f"/data/upload/1/{file_name}" if uploaded else f"/data/local-files/?d={photo.path.name}"
            tasks.append({"id": number, "data": {"image": url}, "annotations": [annotation]})
        (work / "tasks.json").write_text(json.dumps(tasks))
        local = {photo.path.name: str(photo.path) for photo in photos}
        converter = Converter(config, str(work), upload_dir=str(work / "upload"), local_files_resolver=local.get)
        converter.convert(str(work / "tasks.json"), str(folder), "COCO_WITH_IMAGES", is_dir=False)


def fiftyone(source: Source, out: Path, *, together: bool = False, links: bool = False) -> None:
    """FiftyOne's exporter of `COCODetectionDataset`: each split has a folder of its own, or all photographs are in one.

    This is the class that `Dataset.export` runs. It is called directly because a `Dataset` needs MongoDB, which is not in
    FiftyOne's packages for every system.
    """
    import fiftyone as fo
    from fiftyone.utils.coco import COCODetectionDatasetExporter

    for split in ("all",) if together else SPLITS:
        photos = source.photos["train"] + source.photos["val"] if together else source.photos[split]
        folder = out if together else out / split
        with COCODetectionDatasetExporter(str(folder), info={}, export_media="symlink" if links else True) as exporter:
            for photo in photos:
                detections = [
                    fo.Detection(
                        label=name,
                        bounding_box=[x / photo.width, y / photo.height, width / photo.width, height / photo.height],
                    )
                    for name, (x, y, width, height) in photo.objects
                ]
                metadata = fo.ImageMetadata(width=photo.width, height=photo.height)
                exporter.export_sample(str(photo.path.resolve()), fo.Detections(detections=detections), metadata)


def labelformat(source: Source, out: Path) -> None:
    """Labelformat's `COCOObjectDetectionOutput`, from YOLO text files."""
    from labelformat.formats import COCOObjectDetectionOutput, YOLOv8ObjectDetectionInput

    for split, folder in write_yolo(source, out.with_name(f"{out.name}-yolo")):
        made = YOLOv8ObjectDetectionInput(input_file=folder / "data.yaml", input_split="train")
        COCOObjectDetectionOutput(output_file=out / "annotations" / f"instances_{split}.json").save(label_input=made)
        source.copy_photos(split, out / split)


def hotcoco(source: Source, out: Path) -> None:
    """Hotcoco's `COCO.from_yolo` and `save`."""
    from hotcoco import COCO

    (out / "annotations").mkdir(parents=True)
    for split, folder in write_yolo(source, out.with_name(f"{out.name}-yolo")):
        made = COCO.from_yolo(str(folder / "labels"), str(folder / "images"))
        made.save(str(out / "annotations" / f"instances_{split}.json"))
        source.copy_photos(split, out / split)


def labelme2coco(source: Source, out: Path, *, each: bool = False) -> None:
    """Convert with labelme2coco: one folder of photographs and labelme's files, which it splits itself, or each split alone."""
    import labelme2coco as converter

    for split in SPLITS:
        folder = source.copy_photos(split, out / (split if each else "labelme"))
        for photo in source.photos[split]:
            shapes: list[dict[str, Any]] = [
                {
                    "label": name,
                    "points": [[x, y], [x + width, y + height]],
                    "group_id": None,
                    "shape_type": "rectangle",
                    "flags": {},
                }
                for name, (x, y, width, height) in photo.objects
            ]
            document: dict[str, Any] = {
                "version": "5.4.1",
                "flags": {},
                "shapes": shapes,
                "imagePath": photo.path.name,
                "imageData": None,
                "imageHeight": photo.height,
                "imageWidth": photo.width,
            }
            (folder / f"{photo.path.stem}.json").write_text(json.dumps(document))
    if each:
        for split in SPLITS:
            converter.convert(str(out / split), str(out / split))
    else:
        share = len(source.photos["train"]) / sum(len(photos) for photos in source.photos.values())
        converter.convert(str(out / "labelme"), str(out), train_split_rate=share)


def sahi(source: Source, out: Path) -> None:
    """SAHI's `Coco`, with images added by their path, as its documentation does for files outside the working folder."""
    from sahi.utils.coco import Coco, CocoAnnotation, CocoCategory, CocoImage
    from sahi.utils.file import save_json

    for split in SPLITS:
        folder = source.copy_photos(split, out / split)
        coco = Coco()
        for number, name in enumerate(source.classes):
            coco.add_category(CocoCategory(id=number, name=name))
        for photo in source.photos[split]:
            image = CocoImage(file_name=str(folder / photo.path.name), height=photo.height, width=photo.width)
            for name, box in photo.objects:
                number = source.classes.index(name)
                image.add_annotation(CocoAnnotation(bbox=box, category_id=number, category_name=name))
            coco.add_image(image)
        save_json(coco.json, str(out / "annotations" / f"instances_{split}.json"))


def pylabel(source: Source, out: Path) -> None:
    """PyLabel's `ExportToCoco`, from Pascal VOC files."""
    from pylabel import importer

    (out / "annotations").mkdir(parents=True)
    for split, folder in write_voc(source, out.with_name(f"{out.name}-voc")):
        photos = source.copy_photos(split, out / split)
        dataset = importer.ImportVOC(str(folder), path_to_images=str(photos))
        dataset.export.ExportToCoco(str(out / "annotations" / f"instances_{split}.json"))


def globox(source: Source, out: Path) -> None:
    """Globox's `save_coco` with `auto_ids`, from Pascal VOC files."""
    from globox import AnnotationSet

    (out / "annotations").mkdir(parents=True)
    for split, folder in write_voc(source, out.with_name(f"{out.name}-voc")):
        source.copy_photos(split, out / split)
        made = AnnotationSet.from_pascal_voc(folder)
        made.save_coco(out / "annotations" / f"instances_{split}.json", auto_ids=True)


def supervision(source: Source, out: Path, *, documented: bool = False) -> None:
    """Supervision's `DetectionDataset.as_coco`, with COCO's own paths or those of its documentation."""
    import supervision as sv

    for split, folder in write_yolo(source, out.with_name(f"{out.name}-yolo")):
        dataset = sv.DetectionDataset.from_yolo(
            images_directory_path=str(folder / "images"),
            annotations_directory_path=str(folder / "labels"),
            data_yaml_path=str(folder / "data.yaml"),
        )
        name = {"train": "train", "val": "valid"}[split]
        dataset.as_coco(
            images_directory_path=str(out / name / "images" if documented else out / split),
            annotations_path=str(
                out / name / "annotations.json" if documented else out / "annotations" / f"instances_{split}.json"
            ),
        )


def coco_layout(source: Source, out: Path) -> None:
    """Copy the source: COCO's own layout, for comparison."""
    shutil.copytree(source.root, out)


COCO_FILES = "annotations/instances_{}.json"
"""Annotation files in COCO's own layout, where the user chooses their paths."""
LABEL_STUDIO = ("label-studio-sdk==2.1.2",)
LABELME2COCO = ("labelme2coco==0.2.6",)
SUPERVISION = ("supervision==0.31.2",)
DATUMARO = ("datumaro==1.13.12",)
FIFTYONE = ("fiftyone==1.22.1",)


@dataclass(frozen=True)
class Export:
    """One export: which program, with what options, and what a user of cocotag would name.

    Attributes:
        what: What is exported, in words.
        write: The function.
        packages: The program with its version, then packages that it needs and does not name; empty for what is written here.
        files: The annotation file of a split, relative to the folder; ``{}`` is the split.
        options: Keyword arguments of `write`.
        splits: The names of the split to train on and of the one to evaluate on; only one name where there is only one split.
        flags: Flags of all commands of cocotag.
    """

    what: str
    write: Callable[..., None]
    packages: tuple[str, ...] = ()
    files: str = COCO_FILES
    options: dict[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] = SPLITS
    flags: tuple[str, ...] = ()


EXPORTS: dict[str, Export] = {
    "coco": Export("COCO's own layout, for comparison", coco_layout),
    "datumaro": Export("boxes", datumaro, DATUMARO),
    "datumaro-default": Export("boxes, no subsets", datumaro, DATUMARO, options={"one_subset": True}, splits=("default",)),
    "datumaro-masks": Export("masks without `is_crowd`", datumaro, DATUMARO, options={"kind": "masks"}),
    "datumaro-masks-objects": Export(
        "masks without `is_crowd`, with `--data.crowd_is_object true`",
        datumaro,
        DATUMARO,
        options={"kind": "masks"},
        flags=("--data.crowd_is_object", "true"),
    ),
    "datumaro-masks-false": Export(
        "masks with `is_crowd: False`", datumaro, DATUMARO, options={"kind": "masks", "attributes": {"is_crowd": False}}
    ),
    "datumaro-polygons": Export(
        'masks, `segmentation_mode="polygons"`',
        datumaro,
        DATUMARO,
        options={"kind": "masks", "segmentation_mode": "polygons"},
    ),
    "datumaro-labels": Export("image labels", datumaro, DATUMARO, "annotations/labels_{}.json", {"kind": "labels"}),
    "datumaro-keypoints": Export(
        'keypoints, `tasks="person_keypoints"`',
        datumaro,
        DATUMARO,
        "annotations/person_keypoints_{}.json",
        {"kind": "keypoints", "tasks": "person_keypoints"},
    ),
    "roboflow": Export("Roboflow's layout", roboflow, (), "{}/_annotations.coco.json", splits=("train", "valid")),
    "label-studio": Export("an export per split", label_studio, LABEL_STUDIO, "{}/result.json"),
    "label-studio-uploaded": Export(
        "an export per split, uploaded photographs", label_studio, LABEL_STUDIO, "{}/result.json", {"uploaded": True}
    ),
    "label-studio-one": Export("one export", label_studio, LABEL_STUDIO, "result.json", {"together": True}, ("default",)),
    "fiftyone": Export("an export per split", fiftyone, FIFTYONE, "{}/labels.json"),
    "fiftyone-links": Export("an export per split, media as links", fiftyone, FIFTYONE, "{}/labels.json", {"links": True}),
    "fiftyone-one": Export("one export", fiftyone, FIFTYONE, "labels.json", {"together": True}, ("default",)),
    "labelformat": Export("from YOLO", labelformat, ("labelformat==0.1.17",)),
    "hotcoco": Export("from YOLO", hotcoco, ("hotcoco==1.3.0", "pillow==13.0.0")),
    "labelme2coco": Export("from labelme, split by it", labelme2coco, LABELME2COCO, "{}.json"),
    "labelme2coco-each": Export(
        "from labelme, each split alone", labelme2coco, LABELME2COCO, "{}/dataset.json", {"each": True}
    ),
    "sahi": Export("images added by their path", sahi, ("sahi==0.12.8",)),
    "pylabel": Export("from Pascal VOC", pylabel, ("pylabel==0.1.55",)),
    "globox": Export("from Pascal VOC", globox, ("globox==2.9.0",)),
    "supervision": Export("from YOLO", supervision, SUPERVISION),
    "supervision-documented": Export(
        "from YOLO, paths of its documentation",
        supervision,
        SUPERVISION,
        "{}/annotations.json",
        {"documented": True},
        ("train", "valid"),
    ),
}
"""All exports by name; the exports of one program start with its name."""


if __name__ == "__main__":
    export = EXPORTS[sys.argv[1]]
    export.write(Source(Path(sys.argv[2]).resolve()), Path(sys.argv[3]).resolve(), **export.options)
