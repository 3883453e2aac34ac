import numpy as np
import pytest
import torch
from networks import images, lively
from torch import nn

from cocotag.bundle import BundleMetadata, write_bundle
from cocotag.config import ModelConfig
from cocotag.export.onnx_graph import differences, to_onnx
from cocotag.labels import Category, Vocabulary
from cocotag.models.build import build_network
from cocotag.models.heads import CSRAHead, LinearHead, MLDecoderHead

HEADS = ["linear", "csra", "ml_decoder"]


def features(n=2, channels=16, seed=0):
    return torch.randn(n, channels, 3, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("prior", [0.01, 0.3])
@torch.no_grad()
def test_first_predictions_are_the_prior(prior, head):
    network = build_network(ModelConfig(name="mobilenet_v3_small", prior=prior, width=0.25, head=head, decoder_width=32), 7)
    torch.testing.assert_close(network.eval()(images()).sigmoid(), torch.full((2, 7), prior))


@pytest.mark.parametrize("head", HEADS)
def test_a_prior_outside_0_to_1_is_refused(head):
    made = {"linear": LinearHead, "csra": CSRAHead, "ml_decoder": MLDecoderHead}[head]
    with pytest.raises(ValueError, match="prior is 0"):
        made(8, 2, prior=0)


# The authors' settings; they write 99 for the maximum.
TEMPERATURES = {1: [1], 2: [1, 99], 4: [1, 2, 4, 99], 6: [1, 2, 3, 4, 5, 99], 8: [1, 2, 3, 4, 5, 6, 7, 99]}


@pytest.mark.parametrize("heads", TEMPERATURES)
@torch.no_grad()
def test_csra_is_the_papers_formula(heads):
    head = CSRAHead(16, 3, heads=heads, weight=0.4, prior=0.5).eval()
    nn.init.normal_(head.weight)
    x = features()
    made = head(x)
    for image, row in zip(x, made, strict=True):
        places = image.flatten(1).T.numpy()
        for index, value in enumerate(row.tolist()):
            expected = 0.0
            for weight, temperature in zip(head.weight, TEMPERATURES[heads], strict=True):
                scores = places @ weight[index].numpy()
                soft = np.exp(temperature * (scores - scores.max())) if temperature < 99 else scores == scores.max()
                expected += scores.mean() + 0.4 * (soft / soft.sum() * scores).sum()
            assert value == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_csra_without_attention_is_average_pooling_and_a_linear_layer():
    csra, linear = CSRAHead(16, 3, weight=0).eval(), LinearHead(16, 3).eval()
    nn.init.normal_(linear.linear.weight)
    csra.weight[0].copy_(linear.linear.weight)
    torch.testing.assert_close(csra(features()), linear(features()), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_ml_decoder_has_the_logits_of_more_classes_than_groups():
    head = lively(MLDecoderHead(16, 250, groups=100, width=32))
    nn.init.normal_(head.weight)
    logits = head(features())
    assert head.weight.shape == (100, 32, 3)
    assert logits.shape == (2, 250)
    assert len(set(logits[0].tolist())) == 250
    assert head.class_axes == {}


@torch.no_grad()
def test_ml_decoder_does_not_care_where_on_the_map_a_thing_is():
    head = lively(MLDecoderHead(16, 5, width=32))
    nn.init.normal_(head.weight)
    x = features()
    torch.testing.assert_close(head(x), head(x.flip(2).flip(3)), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(head(x), head(x * 2))


@torch.no_grad()
def test_ml_decoders_attention_is_torchs():
    head = lively(MLDecoderHead(16, 5, width=32))
    nn.init.normal_(head.weight)
    layer = nn.TransformerDecoderLayer(32, head.HEADS, round(32 * head.FEED_FORWARD), batch_first=True).eval()
    layer.self_attn = None
    attention = layer.multihead_attn
    attention.in_proj_weight.copy_(torch.cat([head.query.weight, head.key_value.weight]))
    attention.in_proj_bias.copy_(torch.cat([head.query.bias, head.key_value.bias]))
    attention.out_proj.load_state_dict(head.mix.state_dict())
    x = features()
    memory = torch.relu(head.embed(x.flatten(2).transpose(1, 2)))
    queries = head.norms[0](2 * head.queries).expand(2, -1, -1)
    found = head.norms[1](queries + attention(queries, memory, memory)[0])
    out = head.norms[2](found + head.feed_forward(found))
    expected = torch.stack([out[:, c] @ head.weight[c, :, 0] for c in range(5)], dim=1) + head.bias
    torch.testing.assert_close(head(x), expected, atol=1e-5, rtol=1e-4)


def test_the_decoders_width_must_be_shared_by_its_attention_heads():
    with pytest.raises(ValueError, match="multiple of 8"):
        MLDecoderHead(16, 5, width=30)


@pytest.mark.parametrize(
    ("name", "head"), [("mobilenet_v3_small", "linear"), ("mobilenet_v3_large", "csra"), ("mobilenet_v2", "ml_decoder")]
)
def test_every_head_and_backbone_goes_into_a_bundle(tmp_path, name, head):
    torch.manual_seed(0)
    network = lively(build_network(ModelConfig(name=name, width=0.25, head=head, csra_heads=2, decoder_width=32), 4))
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    vocabulary = Vocabulary(tuple(Category(number, f"c{number}") for number in range(4)))
    metadata = BundleMetadata(vocabulary, 64, (0.5,) * 4, (1,) * 4, 1, {}, {}, {})
    write_bundle(to_onnx(network, 64), metadata, tmp_path / "b.onnx")
    batch = images(3).numpy()
    with torch.no_grad():
        spread = network(torch.from_numpy(batch)).std()
    assert spread > 1e-3
    assert differences(network, tmp_path / "b.onnx", batch).max() < 1e-4
    assert differences(network, tmp_path / "b.onnx", batch[:1]).max() < 1e-4
