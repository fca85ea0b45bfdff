"""A stage that is broken off after an epoch ends as one that never was."""

from functools import partial
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose

from dynammo.errors import UserError
from dynammo.runtime.files import load_state, save_state
from dynammo.training.stage_trainer import StageTrainer

EPOCHS = 4


def items() -> list[dict[str, Any]]:
    """Twelve points of two classes."""
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    return [{"image": point, "label": int(point.sum() > 0)} for point in points]


def make_stages() -> tuple[StageTrainer, torch.nn.Sequential]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        train_data_loader=DataLoader(
            CacheDataset(items(), Compose([]), progress=False), batch_size=5, shuffle=True, num_workers=0
        ),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=torch.nn.CrossEntropyLoss(),
        decollate=False,
    )
    rate = partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[3])
    return StageTrainer(trainer, partial(torch.optim.SGD, lr=0.3, momentum=0.9), rate), network


def fit(stages: StageTrainer, network: torch.nn.Sequential, stage: str = "adapters") -> None:
    stages.fit(items(), network, list(network.parameters()), stage, stage)


def test_a_stage_resumes_behind_its_last_epoch(tmp_path: Any) -> None:  # noqa: ANN401
    whole, expected = make_stages()
    whole.trainer.add_event_handler(
        Events.EPOCH_COMPLETED(once=2), lambda: save_state(tmp_path / "stage.pt", whole.state())
    )
    fit(whole, expected)
    rest, network = make_stages()
    rest.resumed = load_state(tmp_path / "stage.pt")
    fit(rest, network, "backbone")  # was finished before
    assert rest.losses == []
    fit(rest, network)
    assert rest.losses == whole.losses and len(rest.losses) == EPOCHS
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))


def test_only_the_given_parameters_move() -> None:
    stages, network = make_stages()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    stages.fit(items(), network, list(network[2].parameters()), "head", "head")
    same = [torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert same == [True, True, False, False]
    assert stages.losses[-1] < stages.losses[0]


def test_a_state_of_another_network_is_refused() -> None:
    stages, network = make_stages()
    fit(stages, network)
    state = {**stages.state(), "network": {"other": torch.zeros(2)}}
    stages.resumed = state
    with pytest.raises(UserError, match=r"does not fit this network .* delete stage\.pt"):
        fit(stages, network)


def test_random_numbers_that_are_none_are_refused() -> None:
    stages, network = make_stages()
    fit(stages, network)
    state = stages.state()
    state["random"]["python"]["words"][0] = -1
    stages.resumed = state
    with pytest.raises(UserError, match=r"does not fit this network .* delete stage\.pt"):
        fit(stages, network)


@pytest.mark.parametrize("where", ["loss", "weight", "running statistic"])
def test_a_training_that_diverges_stops_in_its_first_epoch(where: str) -> None:
    stages, network = make_stages()
    network.append(torch.nn.BatchNorm1d(2))
    if where == "loss":
        stages.optimizer = partial(torch.optim.SGD, lr=1e30)
    elif where == "weight":  # by the last step of an epoch, whose loss was still a number
        stages.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: spoil(network[0].weight))
    else:
        stages.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: spoil(network[3].running_var))
    with pytest.raises(
        UserError, match=r"adapters: .* not finite after epoch 1 of 4, .*lower --learning_rate than"
    ) as e:
        fit(stages, network)
    assert "\n" not in str(e.value) and stages.trainer.state.epoch == 1


def spoil(values: Any) -> None:  # noqa: ANN401
    values.data[0] = torch.inf


def test_a_last_batch_of_one_image_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """Eleven points in batches of five leave one, which has no spread."""
    stages, network = make_stages()
    network.insert(1, torch.nn.BatchNorm1d(4))
    stages.fit(items()[:11], network, list(network.parameters()), "adapters", "adapters")
    assert len(stages.losses) == EPOCHS and int(network[1].num_batches_tracked) == 2 * EPOCHS
