"""The recipes that ours is measured against do what they say, on drawn pictures and with random weights."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cocotag import losses
from cocotag.config import ModelConfig
from cocotag.models.build import build_network
from cocotag.models.weights import to_torchvision

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("published_recipes"), importlib.import_module("recreations")
    for name in ("recreations", "published_recipes", "measured_run"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def recipes(modules):
    return modules[0]


@pytest.fixture(scope="module")
def recreations(modules):
    return modules[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(to_torchvision(build_network(ModelConfig(), 80)), path)
    return path


def head_of(recipes, name, classes=7):
    recipe = recipes.RECIPES[name]
    network = build_network(recipe.model, classes)
    recipe.start(network.head)
    return recipe, network


def test_cutout_paints_up_to_a_quarter_of_the_area_in_one_colour(recipes):
    plain = Image.new("RGB", (60, 40), (1, 2, 3))
    shares = []
    for seed in range(200):
        torch.manual_seed(seed)
        made = np.asarray(recipes.Cutout(0.5)(plain)).reshape(-1, 3)
        painted = made[(made != (1, 2, 3)).any(axis=1)]
        assert len(np.unique(painted, axis=0)) == 1
        shares.append(len(painted) / len(made))
    assert max(shares) == 0.25  # its sides are a half of the image's, if nothing lies outside
    assert 1 / 16 <= min(shares) < 0.12  # about a corner, a quarter of that
    assert plain.getcolors() == [(2400, (1, 2, 3))]


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("asl", lambda *cells: losses.asymmetric(*cells, gamma_neg=4, gamma_pos=0, shift=0.05)),
        ("original", lambda *cells: losses.focal(*cells, gamma=2, alpha=None)),
    ],
)
def test_the_sum_is_as_many_times_the_mean_as_there_are_known_cells(recipes, name, mean):
    logits, targets = torch.randn(5, 7), torch.rand(5, 7).round()
    known = torch.ones(5, 7, dtype=torch.bool)
    loss = recipes.RECIPES[name].loss
    torch.testing.assert_close(loss(logits, targets, known), 5 * 7 * mean(logits, targets, known))
    known[0] = False
    torch.testing.assert_close(loss(logits, targets, known), loss(logits[1:], targets[1:], known[1:]))


def test_the_cycle_is_that_of_torch(recipes):
    steps = 500

    def fresh():
        return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)

    ours, theirs = fresh(), fresh()
    ours.param_groups[0]["highest"] = 1e-4
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=1e-4, total_steps=steps, pct_start=0.2)
    for step in range(steps):
        recipes.one_cycle(ours, step / (steps - 1))
        (a,), (b,) = ours.param_groups, theirs.param_groups
        assert a["lr"] == pytest.approx(b["lr"], abs=2e-6)
        assert a["betas"][0] == pytest.approx(b["betas"][0], abs=2e-3)
        theirs.step()
        if step < steps - 1:
            schedule.step()


@pytest.mark.parametrize(("name", "epochs"), [("csra", 10), ("csra_30", 30)])
def test_csra_warms_up_and_falls_by_tenths_with_a_quicker_head(recipes, recreations, name, epochs):
    recipe, network = head_of(recipes, name)
    optimizer = recreations.Learner(recipe, network).optimizer
    for epoch, factor in (
        (0, 0),
        (1, 0.5),
        (2, 1),
        (4.9, 1),
        (5.1, 0.1),
        (9.9, 0.1),
        (epochs - 0.1, 10.0 ** -(epochs // 5 - 1)),
    ):
        recipe.pace(optimizer, epoch / epochs)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01 * factor, 0.1 * factor])
    learned = [p for group in optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in learned) == sum(p.numel() for p in network.parameters())


def test_csra_scores_by_direction_alone_and_has_no_bias_to_learn(recipes):
    _, network = head_of(recipes, "csra")
    features = torch.rand(2, 1280, 3, 3)
    before = network.head(features)
    with torch.no_grad():
        network.head.parametrizations.weight.original.mul_(3)
    torch.testing.assert_close(network.head(features), before)
    expected = torch.zeros(2, 7)
    for weight, temperature in zip(network.head.parametrizations.weight.original, (1, 2, 4, None), strict=True):
        scores = torch.einsum("kc,nchw->nkhw", weight / weight.norm(dim=1, keepdim=True), features).flatten(2)
        most = scores.amax(2) if temperature is None else ((temperature * scores).softmax(2) * scores).sum(2)
        expected += scores.mean(2) + 0.5 * most
    torch.testing.assert_close(before, expected)
    assert not network.head.bias.requires_grad
    assert not network.head.bias.any()


def test_asl_decays_weights_only_and_averages_from_the_first_step(recipes, recreations):
    recipe, network = head_of(recipes, "asl")
    learner = recreations.Learner(recipe, network)
    decayed, spared = learner.optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (1e-4, 0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in spared["params"])
    before = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
    targets = torch.rand(4, 7).round()
    learner.step((torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8), targets, torch.ones_like(targets).bool()), 0.2)
    after, average = network.state_dict(), learner.readings["average"].state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any("running_mean" in name for name in moved)
    assert "head.linear.weight" in moved
    for name, value in before.items():
        torch.testing.assert_close(average[name], value + 0.0003 * (after[name] - value), rtol=0, atol=1e-6)


def test_the_original_starts_as_its_config_says(recipes):
    torch.manual_seed(0)
    recipe, network = head_of(recipes, "original", classes=80)
    assert network.head.linear.weight.std().item() == pytest.approx(1, abs=0.02)
    assert not network.head.linear.bias.any()
    assert network.feature_info[-1].stride == recipe.model.output_stride == 4


def test_the_plan_is_whole_epochs_or_a_part_of_one(recreations):
    def plan(seconds):
        return recreations.plan(seconds, step=1.0, choice=2.0, steps_per_epoch=10)

    assert [plan(seconds) for seconds in (1, 5, 11.9, 12, 23.9, 24, 121)] == [1, 3, 9, 10, 10, 20, 100]


@pytest.mark.parametrize("name", ["asl", "csra", "original"])
def test_each_trains_within_its_time_and_gives_probabilities(recipes, recreations, sample_dir, weights, monkeypatch, name):
    monkeypatch.setattr(recreations, "WATCHED", 0.0)  # one step
    monkeypatch.setattr(recreations, "plan", lambda seconds, **measured: measured["steps_per_epoch"])
    made = recreations.train(name, seed=3, seconds=300, root=sample_dir, weights=weights, size=32)
    probs = made.pop("probs")
    assert probs.shape[0] == 40
    assert probs.dtype == np.float32
    assert ((probs >= 0) & (probs <= 1)).all()
    assert probs.std(axis=0).max() > 0  # it looks at the images
    assert made["epochs"] == 1
    assert made["steps"] == -(-108 // recipes.RECIPES[name].batch)  # a tenth of 120 chooses
    assert 0 < made["seconds"] < 300
    assert 0 < made["map_lo"] <= made["map"] <= made["map_hi"] <= 1
    assert set(made["readings"]) == ({"plain", "average"} if name == "asl" else {"plain"})
    chosen = made["readings"][made["reading"]]
    assert chosen["tune_map"] == max(reading["tune_map"] for reading in made["readings"].values())
    assert (chosen["map"], chosen["micro_f1"]) == (made["map"], made["micro_f1"])
    json.dumps(made)


def test_steps_that_get_slower_cost_epochs_not_time(recreations, sample_dir, weights, monkeypatch):
    monkeypatch.setattr(recreations, "WATCHED", 0.0)
    monkeypatch.setattr(recreations, "rehearse", lambda *given: (1e-4, 1e-4))  # as if a step took no time
    made = recreations.train("asl", seed=0, seconds=4, root=sample_dir, weights=weights, size=32)
    assert made["seconds"] < 8
    assert 1 <= made["epochs"] < 1000  # 7,600 were planned
    assert made["steps"] == made["epochs"] * 4


def test_an_epoch_augments_the_same_way_whoever_draws(recipes, recreations, sample_dir):
    from cocotag.data.annotations import load_split

    augment = recipes.RECIPES["asl"].augment(48)
    images = recreations.Photographs(load_split(sample_dir, "train"), augment, size=48, seed=1)
    first = images[5][0]
    torch.rand(3)
    assert np.array_equal(images[5][0], first)
    assert not np.array_equal(images[5 + len(images)][0], first)  # the next epoch
    assert first.shape == (48, 48, 3)
    assert sorted(images.order(2)) == list(range(2 * len(images), 3 * len(images)))
    assert images.order(2) != sorted(images.order(2))


@pytest.fixture
def command(recreations, monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["recreations.py", *map(str, words)])
        recreations.main()

    return run


@pytest.mark.parametrize(
    ("words", "said"), [(["asl", "--out", "a.txt"], ".json or .npz"), (["asl", "--seconds", "0"], "above 0"), (["asp"], "asp")]
)
def test_what_cannot_be_meant_is_refused(command, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        command(*words)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_figures_go_to_either_file_and_probabilities_to_one(recreations, command, tmp_path, monkeypatch, capsys):
    probs = np.random.default_rng(0).random((4, 3), np.float32)
    monkeypatch.setattr(recreations, "train", lambda recipe, **wish: {"recipe": recipe, "map": 0.5, "probs": probs})
    command("csra", "--out", tmp_path / "a.json")
    command("csra", "--out", tmp_path / "a.npz")
    assert json.loads((tmp_path / "a.json").read_text()) == {"recipe": "csra", "map": 0.5}
    with np.load(tmp_path / "a.npz") as kept:
        assert np.array_equal(kept["probs"], probs)
        assert json.loads(str(kept["figures"])) == {"recipe": "csra", "map": 0.5}
    assert capsys.readouterr().out.count('"map": 0.5') == 2
