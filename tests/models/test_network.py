import pytest
import torch
from torch import nn

from cocotag.config import LAYER_GROUPS, ModelConfig
from cocotag.errors import ConfigError
from cocotag.models.build import build_network, load_backbone
from cocotag.models.heads import LinearHead
from cocotag.models.mobilenet_v2 import InvertedResidual, MobileNetV2, round_channels


def images(n=2, side=64, seed=0):
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def lively(network):
    """Statistics that are not the neutral ones of a new network, so that a wrong order or padding shows."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
    return network.eval()


def test_the_80_class_network_has_the_originals_parameters():
    network = build_network(ModelConfig(), 80)
    assert sum(p.numel() for p in network.parameters()) == 2_326_352


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_output_stride_is_what_it_says(stride):
    assert MobileNetV2(output_stride=stride)(torch.zeros(1, 3, 64, 96)).shape == (1, 1280, 64 // stride, 96 // stride)


@pytest.mark.parametrize("stride", [4, 8, 16])
@torch.no_grad()
def test_dilated_network_sampled_where_the_strided_one_looks_is_the_strided_one(stride):
    strided = lively(MobileNetV2())
    dilated = MobileNetV2(output_stride=stride).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    step = 32 // stride
    torch.testing.assert_close(dilated(x)[:, :, ::step, ::step], strided(x), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_is_torchvisions_network_with_torchvisions_weights():
    from torchvision.models import mobilenet_v2

    theirs = lively(mobilenet_v2(weights=None))
    ours = MobileNetV2().eval()
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name.startswith("features.")})
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs.features(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stride", [32, 8])
@torch.no_grad()
def test_real_imagenet_weights_load_at_every_stride(imagenet_weights, stride):
    network = build_network(ModelConfig(weights=str(imagenet_weights), output_stride=stride), 80).eval()
    expected = torch.load(imagenet_weights, weights_only=True)["features.18.0.weight"]
    torch.testing.assert_close(network.backbone.features[18][0].weight, expected.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("prior", [0.01, 0.3])
@torch.no_grad()
def test_first_predictions_are_the_prior(prior):
    network = build_network(ModelConfig(prior=prior, width=0.25), 7).eval()
    torch.testing.assert_close(network(images()).sigmoid(), torch.full((2, 7), prior))


@torch.no_grad()
def test_normalisation_is_that_of_the_weights():
    from torchvision.transforms.v2.functional import normalize

    network = build_network(ModelConfig(width=0.25), 3)
    picture = images()
    theirs = normalize(picture.permute(0, 3, 1, 2) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(network.normalize(picture), theirs, atol=1e-5, rtol=1e-5)
    assert not any(name.startswith("normalize") for name in network.state_dict())


@torch.no_grad()
def test_a_batch_is_its_images_one_by_one():
    network = lively(build_network(ModelConfig(width=0.25), 5))
    nn.init.normal_(network.head.linear.weight)
    batch = images(4)
    torch.testing.assert_close(network(batch), torch.cat([network(image[None]) for image in batch]), atol=1e-4, rtol=1e-4)


def test_layer_groups_hold_every_parameter_once_and_end_in_the_head():
    network = build_network(ModelConfig(width=0.25), 5)
    groups = network.layer_groups()
    assert len(groups) == LAYER_GROUPS["mobilenet_v2"]
    assert groups[-1] is network.head
    parameters = [id(p) for group in groups for p in group.parameters()]
    assert sorted(parameters) == sorted(id(p) for p in network.parameters())


@pytest.mark.parametrize(
    ("channels", "expected"), [(32, 32), (16 * 0.5, 8), (24 * 0.35, 8), (24 * 1.4, 32), (96 * 0.75, 72), (11, 16), (3, 8)]
)
def test_channels_are_rounded_as_in_the_paper(channels, expected):
    assert round_channels(channels) == expected
    assert round_channels(channels) >= 0.9 * channels


def test_residual_only_where_shapes_allow():
    assert InvertedResidual(8, 8, stride=1, dilation=2, expansion=6).residual
    assert not InvertedResidual(8, 8, stride=2, dilation=1, expansion=6).residual
    assert not InvertedResidual(8, 16, stride=1, dilation=1, expansion=6).residual


def test_initialisation_keeps_the_signal_alive_through_the_depth():
    torch.manual_seed(0)
    network = build_network(ModelConfig(), 4).train()
    spread = network.forward_features(images(4)).std()
    assert 0.1 < spread < 10


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="output_stride is 5"):
        MobileNetV2(output_stride=5)
    with pytest.raises(ValueError, match="prior"):
        LinearHead(8, 2, prior=0)
    with pytest.raises(ConfigError, match=r"num_classes is 81.*80 classes"):
        build_network(ModelConfig(num_classes=81), 80)


def test_weights_that_do_not_fit_name_the_first_difference(tmp_path):
    backbone = MobileNetV2()
    state = MobileNetV2(width=0.5).state_dict()
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(ConfigError, match=r"features\.0\.0\.weight .* \(16, 3, 3, 3\), the network needs \(32, 3, 3, 3\)"):
        load_backbone(backbone, str(tmp_path / "half.pth"))
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"has no features\.0\.0\.weight"):
        load_backbone(backbone, str(tmp_path / "other.pth"))


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match="not a state dict that torch can load safely"):
        load_backbone(MobileNetV2(), str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()
