"""The walls between the rooms: who may import whom, read from the source and seen at run time."""

import ast
import graphlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "cocotag"
MODULES = {
    ".".join(["cocotag", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(path):
    """Every module that a file imports, wherever in it, but not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module, *rooms):
    return any(module == f"cocotag.{room}" or module.startswith(f"cocotag.{room}.") for room in rooms)


def users_of(*packages):
    return {name for name, path in MODULES.items() if any(i.split(".")[0] in packages for i in imports(path))}


def test_torch_stays_in_its_rooms():
    rooms = ("models", "losses", "training", "export", "data.loading")
    strangers = {name for name in users_of("torch", "torchvision", "torchmetrics", "torchinfo") if not within(name, *rooms)}
    assert not strangers


def test_lightning_and_albumentations_stay_in_theirs():
    assert all(within(name, "training", "data.loading.datamodule") for name in users_of("lightning"))
    assert users_of("albumentations") == {"cocotag.data.loading.transforms"}


def test_the_rooms_that_know_nothing_of_each_other():
    apart = ("models", "losses", "metrics", "thresholds")
    for name, path in MODULES.items():
        mine = next((room for room in apart if within(name, room)), None)
        if mine is None:
            continue
        others = [room for room in (*apart, "data", "training", "config") if room != mine]
        if name == "cocotag.models.build":  # the one file that joins config and network
            others.remove("config")
        assert not [i for i in imports(path) if within(i, *others)], name


def test_only_the_module_that_runs_the_package_imports_the_command_line():
    users = {name for name, path in MODULES.items() if any(within(i, "cli") for i in imports(path))}
    assert {name for name in users if not within(name, "cli")} == {"cocotag.__main__"}


LAZY = {"cocotag", "cocotag.reports"}
"""Modules that hand out names of other rooms when these are first used."""
LATE = {("cocotag.inference.tagger", "cocotag.tagging.tagged")}
"""Imports inside a function that a caller's convenience is worth: `Tagger.tag_folder`."""


def folder_of(module):
    """The folder that a module lies in; a package's own file lies in the package."""
    path = MODULES[module]
    return ".".join(["cocotag", *path.parent.relative_to(PACKAGE).parts])


def folder_imports(depth):
    """Pairs of folders of which the first imports the second; folders below ``depth`` count as that one."""
    pairs = {}
    for name, path in MODULES.items():
        if name in LAZY | {"cocotag.__main__"}:
            continue
        for one in imports(path):
            if one in MODULES and (name, one) not in LATE:
                pair = tuple(".".join(folder_of(module).split(".")[:depth]) for module in (name, one))
                if pair[0] != pair[1]:
                    pairs.setdefault(pair, (name, one))
    return pairs


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_no_folder_imports_a_folder_that_imports_it(depth):
    pairs = folder_imports(depth)
    pairs = {pair: why for pair, why in pairs.items() if depth < 3 or "cocotag" not in pair}  # the root knows none, see below
    order = graphlib.TopologicalSorter()
    for user, used in pairs:
        order.add(user, used)
    try:
        order.prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))
        raise AssertionError([pairs[pair] for pair in itertools.pairwise(circle)]) from None


def test_the_modules_outside_all_rooms_import_none_of_them():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for name, path in MODULES.items():
        if folder_of(name) == "cocotag" and name not in LAZY | {"cocotag.__main__"}:
            assert not [i for i in imports(path) if within(i, *rooms)], name


def test_no_folder_has_more_modules_than_a_reader_can_hold():
    for folder in {path.parent for path in MODULES.values()}:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 14, f"{folder}: {len(modules)} modules"


def test_no_module_is_longer_than_a_reader_can_hold():
    assert not [name for name, path in MODULES.items() if path.read_text(encoding="utf-8").count("\n") > 450]


def test_the_design_says_which_rooms_each_room_imports():
    design = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z/]+)/` \|.*\| ([^|]*)\|$", design, re.MULTILINE)
    stated = {
        room: {name.removesuffix("/") for name in re.findall(r"`([a-z/]+)`", used)} for room, used in rows if room != "cli"
    }

    def room_of(module):  # a folder that has no row belongs to the one around it
        folder = folder_of(module).replace(".", "/").removeprefix("cocotag/")
        return next((room for room in (folder, folder.rpartition("/")[0]) if room in stated), None)

    real = {room: set() for room in stated}
    for name, path in MODULES.items():
        room = room_of(name)
        used = {room_of(one) for one in imports(path) if one in MODULES and (name, one) not in LATE}
        if room:
            real[room] |= used - {room, None, "process"}  # as the ground floor, all may import it
    assert real == stated


def test_only_the_command_line_knows_argparse():
    users = users_of("argparse", "jsonargparse")
    assert not {name for name in users if not within(name, "cli")}


def test_errors_import_nothing_and_there_is_no_drawer_for_odds_and_ends():
    assert not imports(MODULES["cocotag.errors"])
    assert not {name.rsplit(".", 1)[-1] for name in MODULES} & {"utils", "helpers", "common"}


HEAVY = ("torch", "torchvision", "lightning", "albumentations", "torchmetrics", "torchinfo", "onnx")


def loaded_by(code, *arguments):
    """Top-level modules that a fresh interpreter has loaded after ``code``."""
    tail = "\nimport sys; print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + tail, *map(str, arguments)], capture_output=True, text=True, check=True)
    return set(done.stdout.split("LOADED")[-1].split())


def test_help_loads_nothing_heavy():
    loaded = loaded_by(
        "import contextlib, io\nfrom cocotag.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])"
    )
    assert not loaded & {*HEAVY, "numpy", "pandas", "cv2", "onnxruntime", "jsonargparse"}


def test_tagging_loads_neither_torch_nor_pandas(toy_bundle, sample_dir, tmp_path):
    code = "import sys\nfrom cocotag.cli.main import main\nassert main(['tag', *sys.argv[1:]]) == 0"
    loaded = loaded_by(code, sample_dir / "val", "--model", toy_bundle, "--out", tmp_path / "tags.csv")
    assert not loaded & {*HEAVY, "pandas"}
    assert "onnxruntime" in loaded


def test_evaluating_and_reporting_run_without_torch(toy_bundle, sample_dir, tmp_path):
    annotations = sample_dir / "annotations" / "instances_val.json"
    code = (
        "import sys\nbundle, root, annotations, out = sys.argv[1:]\nfrom cocotag.cli.main import main\n"
        "assert main(['evaluate', bundle, '--root', root, '--split', 'val', '--out', out + '/e']) == 0\n"
        "assert main(['imbalance', annotations, '--out', out + '/i']) == 0\n"
        "assert main(['check', root, '--split', 'val']) == 0\n"
        "assert main(['info', bundle]) == 0"
    )
    assert not loaded_by(code, toy_bundle, sample_dir, annotations, tmp_path) & set(HEAVY)


@pytest.mark.parametrize(
    "words", [["train", "--config", "sample", "--data.root", "."], ["export", "a.ckpt", "--out", "a.onnx"]]
)
def test_without_the_extra_the_way_to_get_it_is_said(words):
    hide = "import sys\nsys.modules['torch'] = sys.modules['lightning'] = None\n"
    code = hide + "from cocotag.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'cocotag[train]'" in done.stderr
    assert "Traceback" not in done.stderr
