"""MobileNetV2 and V3 against torchvision's, against themselves at other strides, and what they say of themselves."""

from functools import partial

import pytest
import torch
import torchvision.models
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import images, lively
from torch import nn

from cocotag.config import ModelConfig
from cocotag.models.blocks import Place, SqueezeExcite, Strides, conv_norm_act, round_channels
from cocotag.models.build import build_network
from cocotag.models.mobilenet_v2 import InvertedResidual, MobileNetV2
from cocotag.models.mobilenet_v3 import MobileNetV3
from cocotag.models.weights import to_torchvision

FAMILY = {
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_small": partial(MobileNetV3, "small"),
    "mobilenet_v3_large": partial(MobileNetV3, "large"),
}
family = pytest.mark.parametrize("name", FAMILY)


def load_all(network, state):
    """Torchvision's weights, with the classifier."""
    own = zip(network.state_dict(), to_torchvision(network), strict=True)
    network.load_state_dict({ours: state[theirs] for ours, theirs in own})


def theirs_of(name, **options):
    return lively(getattr(torchvision.models, name)(weights=None, **options))


@family
@torch.no_grad()
def test_is_torchvisions_network_with_torchvisions_weights(name):
    theirs = theirs_of(name)
    ours = build_network(ModelConfig(name=name), 1000).eval()
    load_all(ours, theirs.state_dict())
    batch = images(2, side=96)
    expected = theirs(ours.normalize(batch))
    assert expected.std() > 0.05  # else it would be no test
    torch.testing.assert_close(ours(batch), expected, atol=1e-4, rtol=0)


@family
@torch.no_grad()
def test_state_dicts_convert_both_ways(name):
    theirs = theirs_of(name)
    ours = build_network(ModelConfig(name=name), 1000)
    load_all(ours, theirs.state_dict())
    back = to_torchvision(ours)
    assert back.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        assert torch.equal(back[key], value), key
    other = build_network(ModelConfig(name=name, head="csra"), 1000)
    with pytest.raises(ValueError, match="linear head"):
        to_torchvision(other)


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0, 1.4])
@family
def test_widths_are_torchvisions(name, width):
    theirs = getattr(torchvision.models, name)(weights=None, width_mult=width, num_classes=10)
    ours = build_network(ModelConfig(name=name, width=width), 10)
    assert {k: v.shape for k, v in to_torchvision(ours).items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_plain_rounding_is_an_option():
    assert MobileNetV2(width=0.35, divisor=1).feature_info[0].channels == 11
    assert MobileNetV2(width=0.35).feature_info[0].channels == 16


@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("stride", [4, 8, 16])
@family
@torch.no_grad()
def test_dilated_network_sampled_where_the_strided_one_looks_is_the_strided_one(name, stride, width):
    strided = lively(FAMILY[name](width=width))
    for module in strided.modules():
        if isinstance(module, SqueezeExcite):
            # Its weights depend on the mean over the map, which has more places in the dilated network: held constant here.
            nn.init.zeros_(module.fc2.weight)
    dilated = FAMILY[name](width=width, output_stride=stride).eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    step = 32 // stride
    expected = strided(x)
    assert expected.std() > 0.05
    torch.testing.assert_close(dilated(x)[:, :, ::step, ::step], expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(list(FAMILY)),
    strides=st.lists(st.sampled_from([1, 2]), min_size=5, max_size=5),
    output_stride=st.sampled_from([4, 8, 16, 32]),
    width=st.sampled_from([0.25, 0.6]),
)
@torch.no_grad()
def test_feature_info_is_what_comes_out(name, strides, output_stride, width):
    network = FAMILY[name](strides=strides, output_stride=output_stride, width=width).eval()
    x = torch.zeros(1, 3, 32, 64)
    for group, feature in zip(network.layer_groups(), network.feature_info, strict=True):
        x = group(x)
        assert x.shape == (1, feature.channels, 32 // feature.stride, 64 // feature.stride)
    product = 2 ** strides.count(2)
    assert network.feature_info[-1].stride == min(product, output_stride)
    assert network.out_channels == network.feature_info[-1].channels


def test_a_stride_that_is_1_by_choice_dilates_nothing():
    network = MobileNetV2(strides=[1, 1, 2, 2, 2])
    assert network.feature_info[-1].stride == 8
    assert {m.dilation for m in network.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert {m.dilation for m in MobileNetV2(output_stride=8).modules() if isinstance(m, nn.Conv2d)} == {(1, 1), (2, 2), (4, 4)}


@torch.no_grad()
def test_padding_belongs_to_the_dilated_convolution():
    """A padded 1x1 convolution would put zeros around the map, which the batch norm then makes non-zero."""
    block = lively(InvertedResidual(4, 4, Place(1, 2, False), expansion=2))
    assert [m.padding for m in block.modules() if isinstance(m, nn.Conv2d)] == [(0, 0), (2, 2), (0, 0)]
    x = torch.randn(1, 4, 9, 9)
    hidden = block.conv[0](x)
    depthwise = block.conv[1][0]
    by_hand = nn.functional.conv2d(nn.functional.pad(hidden, (2, 2, 2, 2)), depthwise.weight, dilation=2, groups=8)
    torch.testing.assert_close(depthwise(hidden), by_hand)


@pytest.mark.parametrize(
    ("channels", "expected"), [(32, 32), (16 * 0.5, 8), (24 * 0.35, 8), (24 * 1.4, 32), (96 * 0.75, 72), (11, 16), (3, 8)]
)
def test_channels_are_rounded_as_in_the_paper(channels, expected):
    assert round_channels(channels) == expected
    assert round_channels(channels) >= 0.9 * channels


def test_a_shortcut_only_where_shapes_allow():
    assert InvertedResidual(8, 8, Place(1, 2, False), expansion=6).residual
    assert not InvertedResidual(8, 8, Place(2, 1, True), expansion=6).residual
    assert not InvertedResidual(8, 8, Place(1, 1, True), expansion=6).residual  # a stride that became dilation
    assert not InvertedResidual(8, 16, Place(1, 1, False), expansion=6).residual


@torch.no_grad()
def test_squeeze_and_excitation_is_torchvisions():
    from torchvision.ops import SqueezeExcitation

    theirs = SqueezeExcitation(16, 8, scale_activation=nn.Hardsigmoid)
    ours = SqueezeExcite(16, 8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 16, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x))


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="output_stride is 5"):
        MobileNetV2(output_stride=5)
    with pytest.raises(ValueError, match=r"strides are \[2, 2\]"):
        MobileNetV2(strides=[2, 2])
    with pytest.raises(ValueError, match="each 1 or 2"):
        Strides([2, 2, 2, 2, 3])
    with pytest.raises(ValueError, match="medium"):
        MobileNetV3("medium")


def test_the_activation_is_a_choice():
    assert [type(layer) for layer in conv_norm_act(3, 4, 1)] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6]
    assert len(conv_norm_act(3, 4, 1, activation=None)) == 2
