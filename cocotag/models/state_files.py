"""Files of tensors, read without running anything in them: pickles with ``weights_only=True``, and safetensors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs keep a state dict among other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel, DistributedDataParallel and torch.compile put in front of every name."""


class NotTensorsError(Exception):
    """A file cannot be loaded; the message says why, in one line without control characters."""


def read_tensors(path: Path) -> dict[str, Any]:
    """The content of a file: a mapping, with an object that is not a mapping under the key ``""``.

    Raises:
        NotTensorsError: It cannot be read, or holds Python objects that would have to run.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if len(start) == 9 and start[8:] == b"{":  # the length of the header, then JSON
            from safetensors.torch import load_file

            return dict(load_file(path))
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise NotTensorsError(error.strerror or "it cannot be read") from None
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
            raise NotTensorsError(
                "it is a pickled Python object, which would run code when loaded; save model.state_dict() instead"
            ) from None
        raise NotTensorsError("it is not a file of torch.save or safetensors, or is damaged") from None
    except Exception as error:  # unpickling a file that is not a pickle can raise anything
        raise NotTensorsError(_one_line(error)) from None
    return dict(content) if isinstance(content, Mapping) else {"": content}


def state_of(content: Mapping[str, Any]) -> State | None:
    """The state dict in a file's content, without wrappers and prefixes; None if it has none."""
    for key in WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and inner and all(isinstance(value, Tensor) for value in inner.values()):
            content = inner
            break
    if not content or not all(isinstance(value, Tensor) for value in content.values()) or "" in content:
        return None
    state = {str(name): value for name, value in content.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character for character in text if character.isprintable())[:120]
