import pytest
import torch
from safetensors.torch import save_file

from cocotag.models.state_files import NotTensorsError, read_tensors, state_of

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1.0, 2.0])}


def same(state):
    return state is not None and state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model_state_dict": STATE, "optimizer": {"lr": 0.1}},
        {"model": {f"module.{name}": value for name, value in STATE.items()}},
        {f"_orig_mod.{name}": value for name, value in STATE.items()},
        {f"module._orig_mod.{name}": value for name, value in STATE.items()},
    ],
    ids=["bare", "lightning", "tutorial", "parallel", "compiled", "both"],
)
def test_a_state_dict_is_found_as_other_programs_save_it(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    assert same(state_of(read_tensors(tmp_path / "weights.pth")))


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path):
    save_file(STATE, tmp_path / "weights.bin")
    assert same(state_of(read_tensors(tmp_path / "weights.bin")))


def test_a_prefix_of_only_some_names_is_a_name(tmp_path):
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert state_of(mixed).keys() == mixed.keys()


@pytest.mark.parametrize("content", [{}, {"a": 1}, [1, 2], torch.ones(2), {"state_dict": {}}])
def test_other_content_has_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    assert state_of(read_tensors(tmp_path / "other.pth")) is None


def test_a_pickled_network_is_refused_in_one_plain_line(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(NotTensorsError, match="would run code when loaded") as caught:
        read_tensors(tmp_path / "network.pth")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"hello\n" * 9, b"PK\x03\x04" + b"\0" * 40, (8).to_bytes(8, "little") + b"{broken!"])
def test_damaged_files_are_refused_in_one_plain_line(content, tmp_path):
    (tmp_path / "damaged.pth").write_bytes(content)
    with pytest.raises(NotTensorsError) as caught:
        read_tensors(tmp_path / "damaged.pth")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 130


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(NotTensorsError, match="No such file"):
        read_tensors(tmp_path / "none.pth")
