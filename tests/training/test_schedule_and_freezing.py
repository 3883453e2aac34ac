import pytest
import torch
from torch import nn

from cocotag.config import StageConfig
from cocotag.training.loop.schedule import END, START, Schedule, cosine, one_cycle
from cocotag.training.loop.stages import apply_freezing

STAGES = [StageConfig(2, "head", 1.0), StageConfig(3, "last:2", 0.1, 0.5), StageConfig(1, "0-1", 0.01)]
SCHEDULE = Schedule(STAGES, groups=4, batches_per_epoch=10)


def test_one_cycle_starts_low_peaks_once_and_ends_near_nothing():
    rates = [one_cycle(position / 100) for position in range(101)]
    assert rates[0] == pytest.approx(START)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(END)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_stages_follow_each_other():
    assert SCHEDULE.epochs == 6
    assert [SCHEDULE.stage_at(epoch) for epoch in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]


def test_frozen_groups_have_rate_zero_and_no_others():
    for step in range(60):
        trained = SCHEDULE.trained(SCHEDULE.stage_at(step // 10))
        assert [group for group in range(4) if SCHEDULE.rate(group, step) > 0] == trained


def test_each_stage_is_a_cycle_of_its_own_rate():
    for stage, steps in ((0, range(20)), (1, range(20, 50)), (2, range(50, 60))):
        group = SCHEDULE.trained(stage)[-1]
        rates = [SCHEDULE.rate(group, step) for step in steps]
        decay = STAGES[stage].lr_decay ** (3 - group)
        assert max(rates) == pytest.approx(STAGES[stage].lr * decay, rel=0.05)
        assert rates[0] == pytest.approx(STAGES[stage].lr * decay * START)
        assert rates[-1] == pytest.approx(STAGES[stage].lr * decay * END)


def test_rate_decays_by_layer_group():
    assert SCHEDULE.rate(2, 30) == pytest.approx(0.5 * SCHEDULE.rate(3, 30))


def layers():
    return [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)) for _ in range(4)]


def test_frozen_layers_change_neither_weights_nor_statistics():
    groups = layers()
    network = nn.Sequential(*groups)
    network.train()
    apply_freezing(groups, [2, 3])
    before = [{name: value.clone() for name, value in group.state_dict().items()} for group in groups]
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.randn(16, 3)).square().sum().backward()
    optimizer.step()
    for number, group in enumerate(groups):
        same = {name: torch.equal(value, before[number][name]) for name, value in group.state_dict().items()}
        assert all(same.values()) if number < 2 else not same["1.running_mean"] and not same["1.weight"]


def test_done_twice_is_done_once_and_another_stage_undoes_it():
    groups = layers()
    for _ in range(2):
        apply_freezing(groups, [3])
        assert [group.training for group in groups] == [False, False, False, True]
        assert [all(p.requires_grad for p in group.parameters()) for group in groups] == [False, False, False, True]
    apply_freezing(groups, range(4))
    assert all(group.training and p.requires_grad for group in groups for p in group.parameters())


def test_other_curves_begin_at_the_highest_rate():
    assert [cosine(part) for part in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    for curve, last in (("cosine", 0.0), ("constant", 1.0)):
        schedule = Schedule([StageConfig(2, "all", 0.1, curve=curve)], groups=4, batches_per_epoch=10)
        assert schedule.rate(3, 0) == pytest.approx(0.1)
        assert schedule.rate(3, 19) == pytest.approx(0.1 * last)


def test_accumulated_batches_are_one_step_and_the_last_step_takes_what_is_left():
    schedule = Schedule([StageConfig(2)], groups=4, batches_per_epoch=10, accumulate=4)
    assert schedule.steps_per_epoch == 3


def test_frozen_norms_keep_their_statistics_unless_they_are_to_gather_new_ones():
    groups = [nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()), nn.Sequential(nn.Conv2d(4, 2, 1))]
    for keep in (True, False):
        apply_freezing(groups, [1], keep_norms=keep)
        before = groups[0][1].running_mean.clone()
        groups[0](torch.randn(8, 3, 2, 2) + 5)
        assert torch.equal(before, groups[0][1].running_mean) == keep
        assert not groups[0][2].training
        assert not any(parameter.requires_grad for parameter in groups[0].parameters())


def test_frozen_layers_leave_nothing_for_autograd():
    from cocotag.config import ModelConfig
    from cocotag.models.build import build_network

    network = build_network(ModelConfig(image_size=64, width=0.25), 3).train()
    apply_freezing(network.layer_groups(), [19])
    features = network.forward_features(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))
    assert features.grad_fn is None
    apply_freezing(network.layer_groups(), [17, 18, 19])
    assert network.forward_features(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).grad_fn is not None
