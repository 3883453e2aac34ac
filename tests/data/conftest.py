"""Fixtures of people's own labels."""

import shutil

import pytest
from own_labels import picture


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures, ``photos/0.png`` and so on, six of them in a folder below."""
    for number in range(12):
        picture(tmp_path / "photos" / ("" if number < 6 else "more") / f"{number}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def folders(tmp_path):
    """``dog/`` has five pictures, ``Cat/`` four, one of them a copy of a dog's and another of its name."""
    for number in range(5):
        picture(tmp_path / "photos" / "dog" / f"{number}.png", number)
    for number in range(1, 4):
        picture(tmp_path / "photos" / "Cat" / "kittens" / f"{number}.png", 10 + number)
    shutil.copy(tmp_path / "photos" / "dog" / "4.png", tmp_path / "photos" / "Cat" / "4.png")
    return tmp_path / "photos"
