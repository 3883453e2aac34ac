"""Every command and every line of Python in the README and in docs/ runs, in the order in which a reader meets them."""

import re
import shlex
from pathlib import Path

import pytest
from own_labels import picture

from cocotag.cli.main import main
from cocotag.photos.decode import REASONS
from cocotag.tagging.outputs.formats import sqlite

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]

NOT_RUN = {
    r"pip install": "installs packages; the tests run in what it installs",
    r"bash scripts/(demo|test|api_reference|python_versions)\.sh": "the demo, the suite, other packages: minutes each",
    r"python -m venv": "makes an environment with the newest packages",
    r"\.venv/bin/": "runs the tests and checks themselves",
    r"bash scripts/data/download_coco\.sh": "fetches gigabytes; test_download_coco.py has a server of its own",
    r"python scripts/data/cifar_to_coco\.py": "needs CIFAR; tests/scripts/data/test_cifar_to_coco.py makes it",
    r"--config (coco|cifar)": "needs the real data; tests/test_config.py parses the configs",
    r"sbatch": "needs SLURM",
    r"--devices 2": "two processes; tests/training/test_several_processes.py trains with them",
    r"cocotag pretrained": "fetches weights; tests/models/test_detector.py has random ones",
}
"""Commands that this test does not run, and why."""

QUICK = {
    "--config sample": "--config sample --model.image_size 64 --model.width 0.25 --batch_size 16 --data.workers 0 --stages "
    """'[{"epochs": 1, "train": "head", "lr": 0.003}]'""",
    "--batch '[1, 8]' --threads '[1, 2]'": "--batch '[1]' --threads '[1]' --repeats 2",
    "--bundle runs/first/tagger.onnx": "--bundle runs/first/tagger.onnx --repeats 2",
    "sample data": "sample data --train 120 --val 40 --size 96",
    "--min-images 20": "--min-images 1",
}
"""What is changed in a command so that it takes seconds, not minutes."""


SIDECAR = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<dc:subject><rdf:Bag><rdf:li>{keyword}</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def blocks(document):
    """Language and text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (PROJECT / document).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(text):
    """The commands of a block, without comments; a line that ends in a backslash continues."""
    for line in text.replace("\\\n", " ").splitlines():
        command = " ".join(shlex.split(line, comments=True)) and line
        if command:
            yield re.sub(r"\s+#.*", "", line).strip()


def why_not(command):
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_bundle):
    """What a reader has: photographs, a bundle, a table of labels."""
    folder = tmp_path_factory.mktemp("reader")
    for place in ("holidays", "photos/dog", "photos/cat", "more"):
        for number in range(3):
            picture(folder / place / f"{number}.png", number + 3 * len(place))
    for photo in [*folder.glob("photos/*/*.png")]:  # as a photo program would
        photo.with_name(f"{photo.name}.xmp").write_text(SIDECAR.format(keyword=photo.parent.name))
    picture(folder / "photo.jpg", 5)
    (folder / "coco.onnx").write_bytes(toy_bundle.read_bytes())
    rows = "".join(f"photos/{kind}/{number}.png,{kind}\n" for kind in ("dog", "cat") for number in range(3))
    (folder / "labels.csv").write_text("path,tags\n" + rows)
    return folder


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_its_language_and_every_command_is_run_or_excused(document):
    for language, text in blocks(document):
        assert language in ("sh", "python", "yaml", "text", "json"), text
        for command in commands(text) if language == "sh" else ():
            assert command.startswith("cocotag ") or why_not(command), command


def test_no_excuse_is_left_over():
    every = [
        command
        for document in DOCUMENTS
        for language, text in blocks(document)
        if language == "sh"
        for command in commands(text)
    ]
    assert not [pattern for pattern in NOT_RUN if not any(re.search(pattern, command) for command in every)]


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        here = PROJECT / document
        for link, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", here.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                page = here.parent / link if link else here
                assert page.exists(), f"{document}: {link}"
                assert not anchor or anchor in anchors(page), f"{document}: {link}#{anchor}"


def test_the_documents_name_the_tables_and_statuses_that_exist():
    formats = (PROJECT / "docs" / "formats.md").read_text(encoding="utf-8")
    tables = set(re.findall(r"CREATE (?:TABLE|VIEW) (\w+)", Path(sqlite.__file__).read_text(encoding="utf-8")))
    assert tables == set(re.findall(r"`(\w+)`", re.search(r"SQLite: (.*?)\(schema", formats, re.DOTALL)[1]))
    tagging = (PROJECT / "docs" / "tagging.md").read_text(encoding="utf-8")
    stated = re.search(r"^`status` is (.*?)\n\n", tagging, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", stated)) == {"ok", *REASONS}


def run(command, capsys):
    for before, after in QUICK.items():
        command = command.replace(before, after)
    if command.startswith("cocotag train") and command.count("--stages") == 2:  # the reader's own stages, made short
        command = re.sub(r"--stages '[^']*'", "", command, count=1)
        command = re.sub(r'"epochs": \d+', '"epochs": 1', command)
    words = shlex.split(command)[1:]
    if words[0] == "sample" and Path(words[1]).exists():
        words[1] = "another-sample"
    if words[0] == "import":
        words[2] = f"{words[2]}-{len(list(Path().glob('mine*')))}"
    elif "--out" in words and words[words.index("--out") + 1] != "-" and Path(words[words.index("--out") + 1]).exists():
        words[words.index("--out") + 1] = "again-" + words[words.index("--out") + 1].replace("/", "-")
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 0, f"{command}: {err}{out}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_run(document, folder, monkeypatch, capsys, request):
    """Each document by itself, after the README, which makes the data, the run and the evaluation that the others use."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "xdg"))
    if document != "README.md" and not (folder / "runs" / "first").exists():
        for language, text in blocks("README.md"):
            for command in commands(text) if language == "sh" else ():
                if not why_not(command):
                    run(command, capsys)
    (folder / "names.yaml").write_text(next(text for language, text in blocks("docs/tagging.md") if language == "yaml"))
    for language, text in blocks(document):
        if language == "python":
            exec(compile(text, document, "exec"), {"__name__": "reader"})
        for command in commands(text) if language == "sh" else ():
            if not why_not(command):
                run(command, capsys)
