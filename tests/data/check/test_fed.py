"""What the network is fed: one definition for all; each usual mistake is named, and right inputs are left in peace."""

import numpy as np
import pytest

from cocotag.data.check.fed import fed_faults, fed_statistics, statistics_of_pixels
from cocotag.models.normalization import IMAGENET_MEAN, IMAGENET_STD, normalize
from cocotag.photos.decode import load_square

MEAN, STD = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)

WRONG = {
    "fed_not_divided": lambda rgb: (rgb - MEAN) / STD,
    "fed_not_normalised": lambda rgb: rgb.astype(np.float32),
    "fed_normalised_twice": lambda rgb: (normalize(rgb) - MEAN) / STD,
    "fed_divided_twice": lambda rgb: (rgb / 255 / 255 - MEAN) / STD,
    "fed_channels_swapped": lambda rgb: normalize(rgb[..., ::-1]),
    "fed_out_of_range": lambda rgb: 1.2 * normalize(rgb),
}


@pytest.fixture(scope="module")
def photographs(coco_mini):
    """``(150, 64, 64, 3)`` uint8 RGB."""
    return np.stack([load_square(path, 64) for path in sorted((coco_mini / "val").iterdir())])


def codes(fed):
    """The alarms for network inputs ``(N, H, W, 3)``."""
    return [fault.code for fault in fed_faults(fed_statistics(fed.transpose(0, 3, 1, 2)))]


def test_it_is_the_networks_own_normalisation():
    torch = pytest.importorskip("torch")
    from cocotag.models.network import Normalize

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    theirs = Normalize()(torch.from_numpy(images)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(normalize(images), theirs, atol=1e-6)


@pytest.mark.parametrize("code", WRONG)
def test_each_mistake_is_named_on_real_photographs(photographs, code):
    assert codes(WRONG[code](photographs)) == [code]


def test_other_ways_to_the_same_mistakes(photographs):
    assert codes(photographs / 255) == ["fed_not_normalised"]
    by_the_network = (normalize(photographs) - 255 * MEAN) / (255 * STD)  # whose normalisation expects 0..255
    assert codes(by_the_network) == ["fed_normalised_twice"]
    assert codes(WRONG["fed_not_divided"](photographs[..., ::-1])) == ["fed_not_divided", "fed_channels_swapped"]


def test_no_alarm_on_right_inputs_however_few_and_whichever(photographs):
    order = np.random.default_rng(0)
    for count in (1, 2, 8, 30, 100):
        for _ in range(20):
            chosen = order.permutation(len(photographs))[:count]
            assert codes(normalize(photographs[chosen])) == []


@pytest.mark.parametrize("low, high", [(0, 60), (100, 150), (200, 255), (0, 255), (77, 77)])
def test_no_alarm_on_dark_grey_and_bright_pictures(low, high):
    images = np.random.default_rng(0).integers(low, high + 1, (40, 8, 8, 3), np.uint8)
    assert codes(normalize(images)) == []


def test_seascapes_are_doubted_and_not_condemned(photographs):
    (fault,) = fed_faults(fed_statistics(normalize(photographs[..., ::-1]).transpose(0, 3, 1, 2)))
    assert not fault.certain
    assert "sea" in fault.message


def test_what_is_not_a_number_is_said():
    fed = np.zeros((1, 3, 2, 2))
    fed[0, 1, 0, 0] = np.nan
    assert [fault.code for fault in fed_faults(fed_statistics(fed))] == ["fed_not_finite"]


def test_channels_last_is_refused():
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        fed_statistics(np.zeros((1, 8, 8, 3)))


def test_a_histogram_gives_what_the_inputs_give():
    images = np.random.default_rng(0).integers(20, 200, (5, 6, 7, 3), np.uint8)
    histogram = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    ours = statistics_of_pixels(histogram, images.mean(axis=(1, 2)))
    theirs = fed_statistics(normalize(images).transpose(0, 3, 1, 2))
    assert ours.images == theirs.images == 5
    for name in ("mean", "std", "low", "high", "image_means"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5, err_msg=name)
