"""Feature map -> logits: three heads that fit any backbone.

Each head lists in ``class_axes`` the class axis of each parameter that has one. A class's weights can then be copied to a
network with other classes.
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
    """The bias that gives a head with zero weights the probability ``prior``: ``log(prior / (1 - prior))``.

    If few cells are positive, a network that starts at 0.5 spends the first steps on learning that most classes are absent,
    and the large gradients disturb the backbone; Lin et al. 2017, section 4.1, https://arxiv.org/abs/1708.02002.

    Raises:
        ValueError: The prior is not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior is {prior}; it must lie between 0 and 1")
    return math.log(prior / (1 - prior))


def first_bias(prior: Prior, classes: int) -> Tensor:
    """The initial biases of a head, ``(classes,)``.

    Raises:
        ValueError: A prior is not between 0 and 1, or the number of priors differs from the number of classes.
    """
    priors = [prior] * classes if isinstance(prior, int | float) else list(prior)
    if len(priors) != classes:
        raise ValueError(f"there are {len(priors)} priors for {classes} classes")
    return torch.tensor([prior_bias(each) for each in priors])


class Head(nn.Module):
    """A head in two steps: a reduction of the feature map without parameters, and the logits.

    While the backbone is frozen, the reduced features can be cached and the second step trained from them.

    Attributes:
        class_axes: Name of a parameter -> its class axis.
    """

    class_axes: dict[str, int]

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """The features that the head uses, ``(N, ...)``, from a feature map ``(N, channels, h, w)``."""
        raise NotImplementedError

    def score(self, reduced: Tensor) -> Tensor:
        """Logits ``(N, classes)`` from the output of `reduce`."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Feature map ``(N, channels, h, w)`` -> logits ``(N, classes)``."""
        return self.score(self.reduce(features))


class LinearHead(Head):
    """Average pooling, a hidden layer if the backbone's paper has one, dropout, one linear layer.

    The linear layer starts with zero weights, so that every first prediction is exactly ``prior``.

    Args:
        channels: Channels of the feature map.
        classes: Number of logits.
        hidden: Channels of the hidden layer with hard-swish, as in MobileNetV3 (Howard et al. 2019); None for no such layer.
        dropout: Probability of dropping a pooled feature in training.
        prior: First predicted probability, in (0, 1): one for all classes, or one per class.
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
        """The average over the feature map ``(N, channels, h, w)``, ``(N, channels)``."""
        return torch.mean(features, dim=(2, 3))

    def score(self, pooled: Tensor) -> Tensor:
        """Logits ``(N, classes)`` from the output of `reduce`."""
        if self.hidden is not None:
            pooled = F.hardswish(self.hidden(pooled))
        return cast(Tensor, self.linear(self.dropout(pooled)))


def csra_temperatures(heads: int) -> list[float]:
    """The temperature of each head: 1, 2, 3, ... with infinity (the maximum) for the last; of four heads the third has 4."""
    if heads == 1:
        return [1]
    return [*((1, 2, 4) if heads == 4 else range(1, heads)), math.inf]


class CSRAHead(Head):
    """Class-specific residual attention: the mean score of a class over the map, plus its attention-weighted score.

    Zhu and Wu 2021, https://arxiv.org/abs/2108.02456: ``mean(scores) + weight * sum(softmax(temperature * scores) * scores)``.
    Each of several heads has its own classifier and temperature; the last takes the maximum. Their logits are added. The
    temperatures are those of the authors' code for 1, 2, 4, 6 and 8 heads, https://github.com/Kevinz-code/CSRA. The paper
    divides scores by the norm of the class's weights. Here the weights start at zero and scores are not divided, so that every
    first prediction is exactly ``prior``.

    Args:
        channels: Channels of the feature map.
        classes: Number of logits.
        heads: Number of classifiers.
        weight: Weight of the attention relative to the mean; 0 is average pooling with a linear layer.
        dropout: Probability of dropping a channel of the map in training.
        prior: First predicted probability, in (0, 1): one for all classes, or one per class.
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
        """The whole feature map ``(N, channels, h, w)``, flattened to ``(N, channels, h * w)``."""
        return features.flatten(2)

    def score(self, features: Tensor) -> Tensor:
        """Logits ``(N, classes)`` from the output of `reduce`."""
        features = self.dropout(features[..., None])[..., 0]
        logits: Tensor = self.bias
        for weight, temperature in zip(self.weight, self.temperatures, strict=True):
            scores = torch.matmul(weight, features)  # (N, classes, h * w)
            if temperature == math.inf:
                attended = scores.amax(dim=2)
            else:
                attended = ((temperature * scores).softmax(dim=2) * scores).sum(dim=2)
            logits = logits + scores.mean(dim=2) + self.attention * attended
        return logits


class MLDecoderHead(Head):
    """ML-Decoder: fixed queries attend to the map, and each query predicts a group of classes.

    Ridnik et al. 2021, https://arxiv.org/abs/2111.12933: a transformer decoder layer without self-attention, whose queries are
    random and not trained. With more classes than groups, each group's output has its own small linear layer.

    Args:
        channels: Channels of the feature map.
        classes: Number of logits.
        groups: Largest number of queries; up to this number of classes, each class has its own query.
        width: Channels of the decoder.
        dropout: Dropout probability of the decoder in training.
        prior: First predicted probability, in (0, 1): one for all classes, or one per class.

    Raises:
        ValueError: ``width`` is not a multiple of the 8 attention heads.
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
        # If each class has its own query, the query can be copied with the class; the query of a group cannot.
        self.class_axes = {"queries": 0, "weight": 0, "bias": 0} if groups == classes else {}
        per_group = math.ceil(classes / groups)
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
        self.weight = nn.Parameter(torch.zeros(groups, width, per_group))
        self.bias = nn.Parameter(first_bias(prior, classes))

    @staticmethod
    def reduce(features: Tensor) -> Tensor:
        """The whole feature map ``(N, channels, h, w)``, flattened to ``(N, h * w, channels)``."""
        return features.flatten(2).transpose(1, 2)

    def score(self, features: Tensor) -> Tensor:
        """Logits ``(N, classes)`` from the output of `reduce`."""
        embedded = F.relu(self.embed(features))  # (N, h * w, width)
        queries = self.norms[0](self.queries + self.dropout(self.queries)).expand(embedded.shape[0], -1, -1)
        key, value = self.key_value(embedded).chunk(2, dim=2)
        attended = F.scaled_dot_product_attention(self._split(self.query(queries)), self._split(key), self._split(value))
        mixed = self.mix(attended.transpose(1, 2).flatten(2))
        out = self.norms[1](queries + self.dropout(mixed))
        out = self.norms[2](out + self.dropout(self.feed_forward(out)))  # (N, groups, width)
        scores = torch.einsum("ngw,gwe->nge", out, self.weight)
        return scores.flatten(1)[:, : self.classes] + self.bias

    def _split(self, x: Tensor) -> Tensor:
        """Split the attention heads: ``(N, L, width)`` -> ``(N, heads, L, width / heads)``."""
        return x.view(*x.shape[:2], self.HEADS, -1).transpose(1, 2)


@dataclass(frozen=True)
class HeadRow:
    """One head of the table.

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
"""The table of heads. To add one, write its class and its row here, and add its name and fields to ``config.py``."""
