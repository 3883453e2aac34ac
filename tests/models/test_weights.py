import pickle

import numpy as np
import pytest
import torch
from networks import images, lively

from cocotag.backbones import BACKBONES
from cocotag.config import ModelConfig
from cocotag.data.matching import find_classes, load_aliases
from cocotag.errors import ConfigError
from cocotag.labels import COCO80, Category, Vocabulary
from cocotag.models.build import build_network, load
from cocotag.models.heads import prior_bias
from cocotag.models.weights import CARRIED, imagenet_classes, load_weights, to_torchvision


def small(**options):
    return ModelConfig(name="mobilenet_v3_small", width=0.25, decoder_width=32, **options)


def save_checkpoint(path, network, classes):
    """The parts of a training checkpoint that weights are taken from."""
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    vocabulary = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes)]
    torch.save({"state_dict": state, "cocotag": {"vocabulary": vocabulary}}, path)
    return str(path)


@pytest.mark.parametrize("stride", [32, 8])
@torch.no_grad()
def test_real_imagenet_weights_load_at_every_stride(imagenet_weights, stride):
    config = ModelConfig(weights=str(imagenet_weights), output_stride=stride)
    network = build_network(config, 80).eval()
    loaded = load(network, config, ["a"] * 80)
    expected = torch.load(imagenet_weights, weights_only=True)["features.18.0.weight"]
    torch.testing.assert_close(network.backbone.features[18][0].weight, expected.to(memory_format=torch.channels_last))
    assert loaded.loaded == 312
    assert loaded.skipped == ["classifier.1.weight", "classifier.1.bias"]
    assert loaded.missing == ["head.linear.weight", "head.linear.bias"]
    assert "312 tensors loaded; 2 skipped (classifier.1.weight, classifier.1.bias); 2 new (head.linear." in loaded.to_text()


def test_without_weights_nothing_is_loaded():
    assert load(build_network(ModelConfig(width=0.25), 2), ModelConfig(width=0.25), ["a", "b"]) is None


@torch.no_grad()
def test_mobilenet_v3s_hidden_layer_comes_along(tmp_path):
    theirs = lively(build_network(small(), 10))
    torch.save(to_torchvision(theirs), tmp_path / "v3.pth")
    network = build_network(small(), 3)
    loaded = load_weights(network, str(tmp_path / "v3.pth"), architecture="mobilenet_v3_small")
    assert torch.equal(network.head.hidden.weight, theirs.head.hidden.weight)
    assert loaded.skipped == ["classifier.3.weight", "classifier.3.bias"]
    csra = build_network(small(head="csra"), 3)
    assert "classifier.0.weight" in load_weights(csra, str(tmp_path / "v3.pth"), architecture="mobilenet_v3_small").skipped


@pytest.mark.parametrize("head", ["linear", "csra", "ml_decoder"])
@torch.no_grad()
def test_classes_of_the_same_name_keep_their_weights(tmp_path, head):
    before = lively(build_network(small(head=head, csra_heads=2), 3))
    for parameter in before.head.parameters():
        parameter.add_(torch.randn_like(parameter))
    file = save_checkpoint(tmp_path / "best.ckpt", before, ["cat", "dog", "kite"])
    config = small(head=head, csra_heads=2, weights=file)
    after = build_network(config, 4).eval()
    loaded = load(after, config, ["dog", "boat", "cat", "train"])
    assert loaded.classes == ["dog", "cat"]
    assert loaded.missing == loaded.skipped == []
    assert "2 classes keep their weights" in loaded.to_text()
    old, new = before(images()), after(images())
    torch.testing.assert_close(new[:, [0, 2]], old[:, [1, 0]], atol=1e-5, rtol=1e-5)
    fresh = build_network(config, 4).eval()(images())
    if head != "ml_decoder":  # whose queries are random
        torch.testing.assert_close(new[:, [1, 3]], fresh[:, [1, 3]])


@torch.no_grad()
def test_another_head_takes_only_the_backbone(tmp_path):
    before = lively(build_network(small(), 3))
    file = save_checkpoint(tmp_path / "best.ckpt", before, ["cat", "dog", "kite"])
    after = build_network(small(head="csra"), 3)
    loaded = load_weights(after, file, architecture="mobilenet_v3_small", classes=["cat", "dog", "kite"])
    assert loaded.missing == ["head.weight", "head.bias"]
    assert "head.linear.weight" in loaded.skipped
    assert loaded.classes == []
    after.eval(), before.eval()
    torch.testing.assert_close(after.forward_features(images()), before.forward_features(images()))


@torch.no_grad()
def test_a_decoder_that_shares_queries_is_kept_only_for_the_same_classes(tmp_path):
    names = [f"c{number}" for number in range(120)]
    before = lively(build_network(small(head="ml_decoder"), 120))
    before.head.weight.normal_()
    file = save_checkpoint(tmp_path / "best.ckpt", before, names)
    same = build_network(small(head="ml_decoder"), 120).eval()
    load_weights(same, file, architecture="mobilenet_v3_small", classes=names)
    torch.testing.assert_close(same(images()), before(images()))
    turned = build_network(small(head="ml_decoder"), 120)
    loaded = load_weights(turned, file, architecture="mobilenet_v3_small", classes=names[::-1])
    assert "head.weight" in loaded.missing


def refuse(code, match, file, **options):
    network = build_network(small(**options), 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ConfigError, match=match) as caught:
        load_weights(network, str(file), architecture="mobilenet_v3_small", classes=["a"])
    assert caught.value.code == code
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_that_do_not_fit_name_the_first_difference(tmp_path):
    wide = build_network(ModelConfig(name="mobilenet_v3_small", width=1.4), 3)
    torch.save(to_torchvision(wide), tmp_path / "wide.pth")
    shapes = r"features\.0\.0\.weight .* has shape \(24, 3, 3, 3\), .*\(8, 3, 3, 3\)"
    refuse("weights_mismatch", shapes, tmp_path / "wide.pth")
    refuse("weights_mismatch", "backbone." + shapes, save_checkpoint(tmp_path / "wide.ckpt", wide, ["a", "b", "c"]))
    torch.save(to_torchvision(build_network(ModelConfig(width=0.25), 3)), tmp_path / "v2.pth")
    names = r"v2\.pth .*features\.1\.block\.0\.0\.weight.*mobilenet_v3_small"
    refuse("weights_mismatch", names, tmp_path / "v2.pth")
    other = build_network(ModelConfig(width=0.25), 3)
    refuse("weights_mismatch", r"v2\.ckpt .*backbone\.", save_checkpoint(tmp_path / "v2.ckpt", other, ["a", "b", "c"]))


def test_files_without_weights_are_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    refuse("weights_mismatch", r"features\.0\.0\.weight", tmp_path / "other.pth")
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    refuse("not_a_state_dict", r"numbers\.pth", tmp_path / "numbers.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    refuse("not_a_state_dict", r"list\.pth", tmp_path / "list.pth")
    torch.save({"state_dict": {}, "cocotag": {"vocabulary": 5}}, tmp_path / "damaged.ckpt")
    refuse("checkpoint_damaged", r"damaged\.ckpt", tmp_path / "damaged.ckpt")
    refuse("not_a_state_dict", r"missing\.pth", tmp_path / "missing.pth")


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    refuse("not_a_state_dict", r"evil\.pth", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", BACKBONES)
def test_imagenet_weights_that_cannot_be_fetched_say_what_to_do(name, monkeypatch):
    """Without a network, as torchvision meets it."""
    from urllib.error import URLError

    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    network = build_network(ModelConfig(name=name), 3)
    with pytest.raises(ConfigError, match=rf"no route to host.*{name}.*--model\.weights FILE") as caught:
        load_weights(network, "imagenet", architecture=name)
    assert caught.value.code == "download_failed"


@torch.no_grad()
def test_names_are_matched_whatever_their_case_and_a_head_without_any_is_new(tmp_path):
    before = lively(build_network(small(), 2))
    file = save_checkpoint(tmp_path / "best.ckpt", before, ["Traffic Light", "dog"])
    after = build_network(small(weights=file), 2)
    assert load(after, small(weights=file), ["cat", "traffic_light"]).classes == ["traffic_light"]
    assert torch.equal(after.head.linear.weight[1], before.head.linear.weight[0])
    other = load(build_network(small(weights=file), 2), small(weights=file), ["cat", "kite"])
    assert other.classes == []
    assert other.missing == ["head.linear.weight", "head.linear.bias"]


def test_a_checkpoint_of_numbers_is_refused(tmp_path):
    file = save_checkpoint(tmp_path / "best.ckpt", build_network(small(), 2), ["a", "b"])
    document = torch.load(file, weights_only=True)
    document["state_dict"] = dict.fromkeys(document["state_dict"], 1.0)
    torch.save(document, file)
    with pytest.raises(ConfigError) as caught:
        load(build_network(small(weights=file), 2), small(weights=file), ["a", "b"])
    assert caught.value.code == "checkpoint_damaged"
    assert "best.ckpt" in str(caught.value)


@torch.no_grad()
def test_the_exact_name_comes_first_and_two_that_differ_in_case_are_no_guess(tmp_path):
    before = lively(build_network(small(), 3))
    file = save_checkpoint(tmp_path / "best.ckpt", before, ["Dog", "dog", "cat"])
    after = build_network(small(weights=file), 2)
    assert load(after, small(weights=file), ["dog", "DOG"]).classes == ["dog"]
    assert torch.equal(after.head.linear.weight[0], before.head.linear.weight[1])


def imagenet_like(path, rows, channels):
    """A state dict of torchvision's MobileNetV2 at width 1 with a classifier of so many rows."""
    network = lively(build_network(ModelConfig(), rows))
    state = to_torchvision(network)
    state["classifier.1.weight"] = torch.randn(rows, channels)
    torch.save(state, path)
    return state["classifier.1.weight"]


@pytest.mark.parametrize(("head", "heads"), [("linear", 1), ("csra", 1), ("csra", 3)])
@torch.no_grad()
def test_a_head_starts_from_the_classifiers_classes(tmp_path, head, heads):
    """A class's logit over a map that is alike everywhere is CARRIED times its classes' mean score less all classes' mean."""
    rows = imagenet_like(tmp_path / "v2.pth", 6, 1280)
    network = build_network(ModelConfig(head=head, csra_heads=heads, csra_weight=0.0), 3).eval()
    places = np.array([1, -1, 0, 1, 1, -1])
    loaded = load_weights(
        network, str(tmp_path / "v2.pth"), architecture="mobilenet_v2", classes=["dog", "cat", "kite"], imagenet=places
    )
    assert loaded.classes == ["dog", "cat"]
    assert "2 classes start from its classifier" in loaded.to_text()
    features = torch.rand(2, 1280)
    scores = features @ rows.T
    by_hand = [scores[:, [2]].mean(dim=1), scores[:, [0, 3, 4]].mean(dim=1)]
    expected = torch.stack([*(CARRIED * (one - scores.mean(dim=1)) for one in by_hand), torch.zeros(2)], dim=1)
    logits = network.head(features[:, :, None, None].expand(-1, -1, 3, 3)) - prior_bias(ModelConfig().prior)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_head_that_reads_other_features_than_the_classifier_starts_from_nothing(tmp_path):
    theirs = lively(build_network(ModelConfig(name="mobilenet_v3_small"), 4))
    torch.save(to_torchvision(theirs), tmp_path / "v3.pth")
    places = np.array([0, 1, -1, 1])
    options = {"architecture": "mobilenet_v3_small", "classes": ["a", "b"], "imagenet": places}
    linear = build_network(ModelConfig(name="mobilenet_v3_small"), 2)
    assert load_weights(linear, str(tmp_path / "v3.pth"), **options).classes == ["a", "b"]  # through the hidden layer
    for head in ("csra", "ml_decoder"):
        network = build_network(ModelConfig(name="mobilenet_v3_small", head=head), 2)
        before = network.head.weight.clone()
        assert load_weights(network, str(tmp_path / "v3.pth"), **options).classes == []
        assert torch.equal(network.head.weight, before)


def test_a_config_can_leave_the_classifier_out(tmp_path):
    imagenet_like(tmp_path / "v2.pth", 4, 1280)
    for carried, classes in ((True, ["a"]), (False, None)):
        config = ModelConfig(weights=str(tmp_path / "v2.pth"), carry_classes=carried)
        assert load(build_network(config, 2), config, ["a", "b"], np.array([0, -1, 0, -1])).classes == classes


@torch.no_grad()
def test_the_real_classifier_knows_coco_before_anything_is_learned(imagenet_weights, coco_mini):
    """A tagger that has seen no photograph of the data set: its ranking of val is far above chance (mAP about 4 %)."""
    from cocotag.config import DataConfig, TrainConfig
    from cocotag.data.annotations import load_split
    from cocotag.metrics import per_class
    from cocotag.photos.decode import load_square
    from cocotag.training.preflight import make_data, make_network

    config = TrainConfig(DataConfig(root=str(coco_mini)), ModelConfig(weights=str(imagenet_weights), head="csra"))
    network = make_network(config, make_data(config)).eval()
    table = load_split(coco_mini, "val")
    table = table.take(np.arange(60))
    images = torch.from_numpy(np.stack([load_square(path, 224) for path in table.paths()]))
    probs = network.probs(network(images)).numpy()
    assert np.nanmean(per_class(probs, table.targets, table.known, np.full(80, 0.5))["ap"]) > 0.3


def test_imagenets_aliases_name_its_classes_and_cocos():
    aliases, names = load_aliases("imagenet"), imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert set(aliases.names) <= set(names)
    assert set(aliases.names.values()) <= {*COCO80.names, None}
    found = find_classes(COCO80, Vocabulary(tuple(Category(index, name) for index, name in enumerate(names))), aliases)
    missing = set(COCO80.names) - {COCO80.names[index] for index in found if index >= 0}
    assert {"person", "giraffe", "kite", "carrot"} <= missing
    assert len(missing) == 14
    assert found[names.index("golden retriever")] == COCO80.names.index("dog")
    assert found[names.index("kite")] == -1  # the bird
