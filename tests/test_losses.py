import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from cocotag.losses import asymmetric, bce, cross_entropy, focal, soft_f1

LOSSES = [bce, focal, soft_f1, asymmetric]


def batch(n=6, c=5, seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, c, generator=generator) * spread
    targets = (torch.rand(n, c, generator=generator) < 0.3).float()
    known = torch.rand(n, c, generator=generator) < 0.7
    return logits, targets, known


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_unknown_changes_nothing_and_gets_no_gradient(loss):
    logits, targets, known = batch()
    other = torch.where(known, logits, -5 * logits + 1)
    flipped = torch.where(known, targets, 1 - targets)
    torch.testing.assert_close(loss(logits, targets, known), loss(other, flipped, known))
    logits.requires_grad_()
    loss(logits, targets, known).backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_known_is_zero_with_a_gradient_of_zero(loss):
    logits, targets, known = batch()
    logits.requires_grad_()
    value = loss(logits, targets, torch.zeros_like(known))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_stays_finite_at_extreme_logits(loss, size):
    logits = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
    targets = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    value = loss(logits, targets, torch.ones(2, 2, dtype=torch.bool))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_is_float32_whatever_comes_in(loss):
    logits, targets, known = batch()
    half = loss(logits.bfloat16(), targets.to(torch.uint8), known)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.bfloat16().float(), targets, known))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_downhill_lowers_it(loss):
    logits, targets, known = batch(spread=1.0)
    logits.requires_grad_()
    before = loss(logits, targets, known)
    (gradient,) = torch.autograd.grad(before, logits)
    assert loss(logits - 0.1 * gradient / gradient.norm(), targets, known) < before


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_must_agree(loss):
    logits, targets, known = batch()
    with pytest.raises(ValueError, match=r"\(6, 5\), \(6, 4\)"):
        loss(logits, targets[:, :4], known)


def test_bce_is_torchs_own_on_known_cells():
    logits, targets, known = batch()
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    ours = bce(logits, targets, known, pos_weight=weight)
    theirs = binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")[known].mean()
    torch.testing.assert_close(ours, theirs)


@given(gamma=st.floats(0, 5), alpha=st.floats(0.05, 0.95), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_focal_is_torchvisions_own(gamma, alpha, seed):
    logits, targets, known = batch(seed=seed)
    theirs = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="none")[known].mean()
    torch.testing.assert_close(focal(logits, targets, known, gamma=gamma, alpha=alpha), theirs, rtol=1e-4, atol=1e-6)


def test_focal_and_asymmetric_without_focus_are_bce():
    logits, targets, known = batch()
    plain = bce(logits, targets, known)
    torch.testing.assert_close(focal(logits, targets, known, gamma=0, alpha=None), plain)
    torch.testing.assert_close(asymmetric(logits, targets, known, gamma_neg=0, shift=0), plain)


def test_asymmetric_by_hand():
    p = 0.3
    logit = torch.tensor([[math.log(p / (1 - p))]])
    known = torch.ones(1, 1, dtype=torch.bool)
    negative = asymmetric(logit, torch.zeros(1, 1), known, gamma_neg=2, shift=0.1)
    assert negative.item() == pytest.approx(0.2**2 * -math.log(0.8), rel=1e-5)
    positive = asymmetric(logit, torch.ones(1, 1), known, gamma_pos=1)
    assert positive.item() == pytest.approx(0.7 * -math.log(0.3), rel=1e-5)
    assert asymmetric(logit, torch.zeros(1, 1), known, shift=0.31).item() == 0


def test_soft_f1_of_decisions_is_one_minus_macro_f1():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    targets, decided = rng.integers(0, 2, (40, 4)), rng.integers(0, 2, (40, 4))
    logits = torch.tensor(np.where(decided, 50.0, -50.0))
    value = soft_f1(logits, torch.tensor(targets), torch.ones(40, 4, dtype=torch.bool), smoothing=1e-6)
    assert value.item() == pytest.approx(1 - f1_score(targets, decided, average="macro"), abs=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda *b: focal(*b, gamma=-1), "gamma"),
        (lambda *b: focal(*b, alpha=1.0), "alpha"),
        (lambda *b: asymmetric(*b, shift=1.0), "shift"),
        (lambda *b: asymmetric(*b, gamma_neg=-0.1), "gamma_neg"),
        (lambda *b: soft_f1(*b, smoothing=0), "smoothing"),
        (lambda *b: bce(*b, pos_weight=torch.ones(3)), "pos_weight"),
    ],
)
def test_parameters_out_of_range_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(*batch())


def one_tag(n=6, c=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, c, (n,), generator=generator)
    return torch.randn(n, c, generator=generator) * 3, torch.nn.functional.one_hot(index, c), index


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_where_every_image_has_one_tag(smoothing):
    logits, targets, index = one_tag()
    expected = torch.nn.functional.cross_entropy(logits, index, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, targets, torch.ones_like(targets), smoothing=smoothing), expected)


def test_cross_entropy_leaves_unknown_classes_out_of_the_softmax():
    logits, targets, _ = one_tag(n=40)
    known = (torch.rand(40, 5, generator=torch.Generator().manual_seed(1)) < 0.6) | (targets > 0)
    rows = [
        torch.nn.functional.cross_entropy(row[mask][None], target[mask].argmax()[None], label_smoothing=0.1)
        for row, target, mask in zip(logits, targets, known, strict=True)
    ]
    logits.requires_grad_()
    loss = cross_entropy(logits, targets, known, smoothing=0.1)
    torch.testing.assert_close(loss, torch.stack(rows).mean())
    loss.backward()
    assert (logits.grad[~known] == 0).all()


def test_cross_entropy_of_images_without_a_known_tag_is_nothing():
    logits, targets, _ = one_tag()
    logits.requires_grad_()
    known = torch.ones_like(targets, dtype=torch.bool)
    known[2] = False
    targets[3] = 0
    loss = cross_entropy(logits, targets, known)
    rest = [0, 1, 4, 5]
    torch.testing.assert_close(loss, cross_entropy(logits[rest], targets[rest], known[rest]))
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[2:4] == 0).all()
    assert cross_entropy(logits, targets * 0, known).item() == 0


def test_cross_entropy_stays_finite_and_refuses_what_is_out_of_range():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.ones(2, 2), smoothing=0.2)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    with pytest.raises(ValueError, match=r"smoothing is 1.*below 1"):
        cross_entropy(logits, torch.ones(2, 2), torch.ones(2, 2), smoothing=1)
