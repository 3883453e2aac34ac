"""Feature map -> logits: three heads that any backbone may have.

Each says in ``class_axes`` along which axis of which parameter its classes lie, so that a class's weights can be carried over
to a network with other classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Prior = float | Sequence[float]


def prior_bias(prior: float) -> float:
    """The bias at which a logit of 0 is the probability ``prior``: ``log(prior / (1 - prior))``.

    Where few cells are positive, starting at 0.5 spends the first steps on learning that nothing is there, through gradients
    that upset the backbone; Lin et al. 2017, section 4.1, https://arxiv.org/abs/1708.02002.

    Raises:
        ValueError: Not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior is {prior}; it must lie between 0 and 1")
    return math.log(prior / (1 - prior))


def first_bias(prior: Prior, classes: int) -> Tensor:
    """The biases of a head of which nothing is learned yet, ``(classes,)``.

    Raises:
        ValueError: A prior that is not between 0 and 1, or as many as there are no classes.
    """
    priors = [prior] * classes if isinstance(prior, int | float) else list(prior)
    if len(priors) != classes:
        raise ValueError(f"there are {len(priors)} priors for {classes} classes")
    return torch.tensor([prior_bias(each) for each in priors])


class Head(nn.Module):
    """A head in two steps: what it needs of the feature map, which no parameter has a part in, and the logits.

    Where the backbone stands still, the first step's result can be kept and the second learned from it.

    Attributes:
        class_axes: Parameter -> axis along which its classes lie.
    """

    class_axes: dict[str, int]

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """What the head needs of a feature map ``(N, channels, h, w)``, ``(N, ...)``."""
        raise NotImplementedError

    def score(self, reduced: Tensor) -> Tensor:
        """What `reduce` gives -> logits ``(N, classes)``."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Feature map ``(N, channels, h, w)`` -> logits ``(N, classes)``."""
        return self.score(self.reduce(features))


class LinearHead(Head):
    """Average over the map, a hidden layer where the backbone's paper has one, dropout, one linear layer.

    The linear layer starts with zero weights, so that every first prediction is exactly ``prior``.

    Args:
        channels: Channels of the feature map.
        classes: Logits.
        hidden: Channels between, with hard-swish, as in MobileNetV3 (Howard et al. 2019); None for none.
        dropout: Probability of dropping a pooled feature in training.
        prior: First predicted probability, in (0, 1): one for all, or one for each class.
    """

    def __init__(
        self, channels: int, classes: int, *, hidden: int | None = None, dropout: float = 0.2, prior: Prior = 0.03
    ) -> None:
        super().__init__()
        self.class_axes = {"linear.weight": 0, "linear.bias": 0}
        self.hidden = nn.Linear(channels, hidden) if hidden is not None else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden or channels, classes)
        nn.init.zeros_(self.linear.weight)
        self.linear.bias = nn.Parameter(first_bias(prior, classes))

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """What the head needs of a feature map ``(N, channels, h, w)``: the average, ``(N, channels)``."""
        return torch.mean(features, dim=(2, 3))

    def score(self, pooled: Tensor) -> Tensor:
        """What `reduce` gives -> logits ``(N, classes)``."""
        if self.hidden is not None:
            pooled = F.hardswish(self.hidden(pooled))
        return cast(Tensor, self.linear(self.dropout(pooled)))


def csra_temperatures(heads: int) -> list[float]:
    """Of each head: whole numbers from 1 on, but 4 in place of 3 where there are four heads, and last the maximum."""
    if heads == 1:
        return [1]
    return [*((1, 2, 4) if heads == 4 else range(1, heads)), math.inf]


class CSRAHead(Head):
    """Class-specific residual attention: to a class's mean score over the map comes its score where it is highest.

    Zhu and Wu 2021, https://arxiv.org/abs/2108.02456: ``mean(scores) + weight * sum(softmax(temperature * scores) * scores)``.
    Several heads have a classifier each, with temperatures of their own and, for the last, the maximum; their logits are added.
    The temperatures are those of the authors' code for 1, 2, 4, 6 and 8 heads, https://github.com/Kevinz-code/CSRA. The paper
    divides scores by the norm of the class's weights; here the weights start as zero and the scores are taken as they are, so
    that every first prediction is exactly ``prior``.

    Args:
        channels: Channels of the feature map.
        classes: Logits.
        heads: Classifiers.
        weight: Of the attention against the mean; 0 is average pooling with a linear layer.
        dropout: Probability of dropping a channel of the map in training.
        prior: First predicted probability, in (0, 1): one for all, or one for each class.
    """

    def __init__(
        self, channels: int, classes: int, *, heads: int = 1, weight: float = 0.2, dropout: float = 0.2, prior: Prior = 0.03
    ) -> None:
        super().__init__()
        self.class_axes = {"weight": 1, "bias": 0}
        self.attention = weight
        self.temperatures = csra_temperatures(heads)
        self.dropout = nn.Dropout2d(dropout)
        self.weight = nn.Parameter(torch.zeros(heads, classes, channels))
        self.bias = nn.Parameter(first_bias(prior, classes))

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """What the head needs of a feature map ``(N, channels, h, w)``: all of it, ``(N, channels, h * w)``."""
        return features.flatten(2)

    def score(self, places: Tensor) -> Tensor:
        """What `reduce` gives -> logits ``(N, classes)``."""
        places = self.dropout(places[..., None])[..., 0]
        logits: Tensor = self.bias
        for weight, temperature in zip(self.weight, self.temperatures, strict=True):
            scores = torch.matmul(weight, places)  # (N, classes, h * w)
            if temperature == math.inf:
                attended = scores.amax(dim=2)
            else:
                attended = ((temperature * scores).softmax(dim=2) * scores).sum(dim=2)
            logits = logits + scores.mean(dim=2) + self.attention * attended
        return logits


class MLDecoderHead(Head):
    """ML-Decoder: fixed queries look over the map, each speaks for a group of classes.

    Ridnik et al. 2021, https://arxiv.org/abs/2111.12933: a transformer decoder layer without self-attention, whose queries are
    random and stay so; with more classes than groups, each group's output goes to its own small linear layer.

    Args:
        channels: Channels of the feature map.
        classes: Logits.
        groups: Queries at most; as many classes as that have a query each.
        width: Channels of the decoder.
        dropout: Of the decoder, in training.
        prior: First predicted probability, in (0, 1): one for all, or one for each class.

    Raises:
        ValueError: ``width`` is no multiple of the 8 attention heads.
    """

    HEADS = 8
    FEED_FORWARD = 8 / 3  # times the width; the paper's 2,048 at 768

    def __init__(
        self, channels: int, classes: int, *, groups: int = 100, width: int = 768, dropout: float = 0.1, prior: Prior = 0.03
    ) -> None:
        super().__init__()
        if width % self.HEADS:
            raise ValueError(f"the decoder's width is {width}; it must be a multiple of {self.HEADS}")
        groups = min(groups, classes)
        self.classes = classes
        # A query of its own for each class can go along with it; a group's cannot.
        self.class_axes = {"queries": 0, "weight": 0, "bias": 0} if groups == classes else {}
        each = math.ceil(classes / groups)
        inner = round(self.FEED_FORWARD * width)
        self.embed = nn.Linear(channels, width)
        self.queries: Tensor
        self.register_buffer("queries", torch.randn(groups, width))
        self.key_value = nn.Linear(width, 2 * width)
        self.query = nn.Linear(width, width)
        self.mix = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.zeros(groups, width, each))
        self.bias = nn.Parameter(first_bias(prior, classes))

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """What the head needs of a feature map ``(N, channels, h, w)``: all of it, ``(N, h * w, channels)``."""
        return features.flatten(2).transpose(1, 2)

    def score(self, places: Tensor) -> Tensor:
        """What `reduce` gives -> logits ``(N, classes)``."""
        places = F.relu(self.embed(places))  # (N, h * w, width)
        queries = self.norms[0](self.queries + self.dropout(self.queries)).expand(places.shape[0], -1, -1)
        key, value = self.key_value(places).chunk(2, dim=2)
        attended = F.scaled_dot_product_attention(self._split(self.query(queries)), self._split(key), self._split(value))
        found = self.mix(attended.transpose(1, 2).flatten(2))
        out = self.norms[1](queries + self.dropout(found))
        out = self.norms[2](out + self.dropout(self.feed_forward(out)))  # (N, groups, width)
        scores = torch.einsum("ngw,gwe->nge", out, self.weight)
        return scores.flatten(1)[:, : self.classes] + self.bias

    def _split(self, x: Tensor) -> Tensor:
        """``(N, L, width)`` -> ``(N, heads, L, width / heads)``."""
        return x.view(*x.shape[:2], self.HEADS, -1).transpose(1, 2)


@dataclass(frozen=True)
class HeadRow:
    """A head as a config names it.

    Attributes:
        make: ``make(channels, classes, *, dropout, prior, **options)``.
        options: Argument of ``make`` -> field of `cocotag.config.ModelConfig`.
        takes_hidden: Whether ``make`` takes ``hidden``, the channels of the backbone's own hidden layer.
    """

    make: Callable[..., Head]
    options: Mapping[str, str] = field(default_factory=dict)
    takes_hidden: bool = False


HEADS: dict[str, HeadRow] = {
    "linear": HeadRow(LinearHead, takes_hidden=True),
    "csra": HeadRow(CSRAHead, {"heads": "csra_heads", "weight": "csra_weight"}),
    "ml_decoder": HeadRow(MLDecoderHead, {"width": "decoder_width"}),
}
"""The table of heads. To add one, write its class and row here, and its name and fields in ``config.py``."""
