"""Learning the classifier."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from components.datasets.loading import Batch
from components.learners.classification import ClassificationLearner
from components.learners.computing import Computing
from components.learners.optimisation import Schedule
from components.models.build import seeded

DESCRIPTION = {"kind": "classifier", "shape": [1, 8, 8], "classes": 3, "width": 4}
OPTIMISER = {"betas": (0.9, 0.999), "weight_decay": 0.0, "clip_deviations": None, "ema": 0.9}


def learner(seed: int = 0, dropout: float = 0.5, rate: float = 0.01) -> ClassificationLearner:
    return ClassificationLearner(
        seeded({**DESCRIPTION, "dropout": dropout}, seed),
        Schedule(rate, 0, "constant", 100),
        OPTIMISER,
        seed,
        Computing(torch.device("cpu")),
    )


def images(count: int, seed: int = 0) -> Batch:
    """Noise whose brightness is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    noise = torch.randint(0, 86, (count, 1, 8, 8), generator=generator)
    return Batch((noise + 80 * labels.view(-1, 1, 1, 1)).byte(), labels)


def test_loss_is_the_cross_entropy_and_its_gradient():
    taught, batch = learner(dropout=0.0), images(16)
    model = copy.deepcopy(taught.model).train()
    logits = model(batch.x / 255.0)
    loss = F.cross_entropy(logits, batch.labels)
    loss.backward()
    metrics = taught.training_step(batch, 0)
    torch.testing.assert_close(metrics["loss"], loss.detach())
    assert metrics["accuracy"] == (logits.argmax(1) == batch.labels).float().mean()
    for found, expected in zip(taught.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_learns_the_labels():
    taught = learner(dropout=0.3)
    for step in range(40):
        taught.training_step(images(64, step), step)
    test = images(300, 1000)
    with torch.no_grad():
        found = taught.exported()(test.x / 255.0).argmax(1)
    assert (found == test.labels).float().mean() > 0.95


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_training_ends_the_same(assert_resumable, stop):
    assert_resumable(learner, [images(16, seed) for seed in range(5)], stop)


def test_dropout_is_of_the_learners_stream():
    def losses(seed: int) -> list[float]:
        taught = learner()
        taught.reseed(seed)
        before = torch.random.get_rng_state()
        found = [taught.training_step(images(16), step)["loss"].item() for step in range(2)]
        assert torch.equal(torch.random.get_rng_state(), before)
        return found

    assert losses(0) == losses(0)
    assert losses(0)[0] != losses(1)[0]


def test_labels_are_needed():
    with pytest.raises(ValueError, match="labels"):
        learner().training_step(Batch(images(16).x, None), 0)
