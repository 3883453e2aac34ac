import pytest
import torch
from networks import images, lively
from torch import nn

from cocotag.backbones import BACKBONES
from cocotag.config import ModelConfig
from cocotag.errors import ConfigError
from cocotag.models.build import build_network

NAMES = list(BACKBONES)


def test_the_80_class_network_has_the_originals_parameters():
    network = build_network(ModelConfig(), 80)
    assert sum(p.numel() for p in network.parameters()) == 2_326_352


@torch.no_grad()
def test_normalisation_is_that_of_the_weights():
    from torchvision.transforms.v2.functional import normalize

    network = build_network(ModelConfig(width=0.25), 3)
    picture = images()
    theirs = normalize(picture.permute(0, 3, 1, 2) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(network.normalize(picture), theirs, atol=1e-5, rtol=1e-5)
    assert not any(name.startswith("normalize") for name in network.state_dict())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(name):
    network = lively(build_network(ModelConfig(name=name, width=0.25), 5))
    batch = images(4)
    torch.testing.assert_close(network(batch), torch.cat([network(image[None]) for image in batch]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["linear", "csra", "ml_decoder"])
@pytest.mark.parametrize("name", NAMES)
def test_layer_groups_hold_every_parameter_once_and_end_in_the_head(name, head):
    network = build_network(ModelConfig(name=name, width=0.25, head=head, decoder_width=32), 5)
    groups = network.layer_groups()
    assert len(groups) == BACKBONES[name].layer_groups
    assert groups[-1] is network.head
    parameters = [id(p) for group in groups for p in group.parameters()]
    assert sorted(parameters) == sorted(id(p) for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_initialisation_keeps_the_signal_alive_through_the_depth(name):
    torch.manual_seed(0)
    network = build_network(ModelConfig(name=name), 4).train()
    spread = network.forward_features(images(4)).std()
    assert 0.1 < spread < 10


@torch.no_grad()
def test_branches_start_as_nothing_unless_the_original_is_asked_for():
    torch.manual_seed(0)
    ours = build_network(ModelConfig(name="mobilenet_v3_small"), 4)
    original = build_network(ModelConfig(name="mobilenet_v3_small", initialisation="original", prior=0.5), 4)
    x = torch.randn(1, 24, 8, 8)
    torch.testing.assert_close(ours.backbone.features[3](x), x)
    assert not torch.allclose(original.backbone.features[3](x), x)
    assert original.head.linear.weight.std().item() == pytest.approx(1, abs=0.1)
    assert original.head.linear.bias.tolist() == [0] * 4


def test_a_wrong_number_of_classes_is_refused():
    with pytest.raises(ConfigError) as caught:
        build_network(ModelConfig(num_classes=81), 80)
    assert caught.value.code == "class_count_mismatch"
    assert "model.num_classes is 81" in str(caught.value)
    assert "80 classes" in str(caught.value)


def test_an_unknown_head_or_backbone_is_refused():
    for config, code in ((ModelConfig(head="tail"), "unknown_head"), (ModelConfig(name="tail"), "unknown_backbone")):
        with pytest.raises(ConfigError) as caught:
            build_network(config, 3)
        assert caught.value.code == code
        assert "'tail'" in str(caught.value)


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_every_size_learns(name, width):
    torch.manual_seed(0)
    network = build_network(ModelConfig(name=name, width=width, dropout=0.0, strides=[1, 1, 2, 2, 2]), 5).train()
    batch, targets = images(8, side=32), torch.eye(5).repeat(2, 1)[:8]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.binary_cross_entropy_with_logits(network(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in network.parameters())
