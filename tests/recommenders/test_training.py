import json

import numpy as np
import pandas as pd
import pytest
import torch

from lib.backends.vectors import Vectors
from lib.recommenders import training
from lib.recommenders.training import TrainingError, device_of, fingerprint, fit_epochs, seeded


class Regression:
    """A line through points, trained with shuffled batches and dropout; validation by given values or by the loss."""

    def __init__(self, values=None, stop_after=None):
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.standard_normal((64, 3), dtype=np.float32))
        self.y = self.x @ torch.tensor([[1.0], [2.0], [-1.0]])
        with seeded(1):
            self.network = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(3, 1))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=0.05)
        self.values, self.stop_after = values, stop_after
        self.seen = []

    def step_epoch(self, epoch):
        if self.stop_after is not None and epoch > self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(epoch)
        total = 0.0
        with seeded(7, epoch):
            for part in torch.randperm(64).split(16):
                self.optimiser.zero_grad()
                loss = torch.nn.functional.mse_loss(self.network(self.x[part]), self.y[part])
                loss.backward()
                self.optimiser.step()
                total += loss.item() / 4
        return total

    def validate(self):
        if self.values is not None:
            return self.values[self.seen[-1] - 1]
        with torch.no_grad():
            return -float(torch.nn.functional.mse_loss(self.network(self.x), self.y))

    def fit(self, **options):
        options = {"validate": self.validate, "max_epochs": 12, "patience": 3} | options
        return fit_epochs(self.network, self.step_epoch, optimiser=self.optimiser, **options)

    def weights(self):
        return torch.cat([p.detach().ravel() for p in self.network.parameters()]).numpy()


def test_stops_early_and_keeps_the_best_state():
    model = Regression([0.1, 0.3, 0.2, 0.3, 0.25, 0.9])
    kept = []
    history = model.fit(validate=lambda: (kept.append(model.weights()), model.validate())[1])
    assert (history.stopped, history.best_epoch) == ("early", 2)  # an equal value later is no improvement
    assert history.frame["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert history.frame["validation"].tolist() == [0.1, 0.3, 0.2, 0.3, 0.25]
    np.testing.assert_array_equal(model.weights(), kept[1])
    assert not model.network.training


def test_says_when_it_stopped_for_want_of_epochs():
    history = Regression(list(np.arange(12) / 12)).fit(max_epochs=4)
    assert (history.stopped, history.best_epoch, len(history.frame)) == ("max_epochs", 4, 4)


def test_without_validation_the_last_epoch_is_kept():
    model = Regression()
    history = model.fit(validate=None, max_epochs=5, patience=1)
    assert (history.stopped, history.best_epoch) == ("max_epochs", 5)
    assert history.frame["validation"].isna().all()


@pytest.mark.parametrize("after", [1, 4, 9])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, after):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    whole = Regression()
    expected = whole.fit()
    with pytest.raises(KeyboardInterrupt):
        Regression(stop_after=after).fit(checkpoint=tmp_path, state="a")
    resumed = Regression()
    history = resumed.fit(checkpoint=tmp_path, state="a")
    assert resumed.seen[0] == after + 1
    np.testing.assert_array_equal(resumed.weights(), whole.weights())
    columns = ["epoch", "loss", "validation"]
    pd.testing.assert_frame_equal(history.frame[columns], expected.frame[columns])
    assert (history.stopped, history.best_epoch) == (expected.stopped, expected.best_epoch)


def test_an_ended_training_is_not_repeated(tmp_path):
    first = Regression()
    first.fit(checkpoint=tmp_path, state="a")
    again = Regression()
    history = again.fit(checkpoint=tmp_path, state="a")
    assert not again.seen
    assert len(history.frame) == 12
    np.testing.assert_array_equal(again.weights(), first.weights())


def test_the_checkpoint_of_another_training_is_left_aside(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WORKBOOK_LOG", raising=False)
    Regression().fit(checkpoint=tmp_path, state="a")
    other = Regression()
    other.fit(checkpoint=tmp_path, state="b")
    assert len(other.seen) == 12
    assert "belongs to another training" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_said_and_left_aside(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WORKBOOK_LOG", raising=False)
    (tmp_path / "training.pt").write_bytes(b"no checkpoint")
    model = Regression()
    model.fit(checkpoint=tmp_path, state="a")
    assert len(model.seen) == 12
    assert "cannot be read" in capsys.readouterr().err


def test_a_checkpoint_holds_tensors_and_text_alone(tmp_path):
    Regression().fit(checkpoint=tmp_path, state="a")
    kept = torch.load(tmp_path / "training.pt", weights_only=True)
    assert set(kept) == {"network", "optimiser", "best", "json"}
    assert json.loads(kept["json"])["state"] == "a"
    assert not list(tmp_path.glob(".*"))  # nothing half written


def test_tensorboard_reads_the_history(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = Regression().fit(checkpoint=tmp_path, state="a", max_epochs=3)
    log = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("loss")] == [1, 2, 3]
    np.testing.assert_allclose([event.value for event in log.Scalars("loss")], history.frame["loss"], rtol=1e-6)


def test_sentences_for_what_cannot_be_trained():
    with pytest.raises(TrainingError, match="found nan in epoch 1; lower the learning rate"):
        net = torch.nn.Linear(1, 1)
        fit_epochs(
            net, lambda epoch: float("nan"), optimiser=torch.optim.Adam(net.parameters()), max_epochs=2, patience=1
        )
    with pytest.raises(TrainingError, match="at least 1, found 0"):
        Regression().fit(max_epochs=0)
    with pytest.raises(TrainingError, match="found 'abacus'"):
        device_of("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="use cpu"):
            device_of("cuda")


def test_seeded_leaves_the_generator_of_others_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(5, 1):
        first = torch.rand(1)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5, 2):
        assert not torch.equal(torch.rand(1), first)


def test_training_leaves_torch_as_it_was():
    before = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    state = torch.get_rng_state()
    Regression().fit(max_epochs=1)
    after = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    assert before == after
    assert torch.equal(state, torch.get_rng_state())


def test_a_fingerprint_sees_options_seed_pairs_and_vectors():
    train = pd.DataFrame({"user_id": ["u", "v"], "track_id": ["a", "b"], "count": [1, 2]})
    vectors = Vectors.of(["a", "b"], [[1.0], [2.0]])
    base = fingerprint({"x": 1}, 0, train, vectors)
    assert base == fingerprint({"x": 1, "device": "cuda:1"}, 0, train, vectors)  # whichever was free
    assert base == fingerprint({"x": 1}, 0, train.copy(), Vectors.of(["b", "a"], [[2.0], [1.0]]))
    others = [
        fingerprint({"x": 2}, 0, train, vectors),
        fingerprint({"x": 1}, 1, train, vectors),
        fingerprint({"x": 1}, 0, train.assign(count=[1, 3]), vectors),
        fingerprint({"x": 1}, 0, train.iloc[::-1], vectors),
        fingerprint({"x": 1}, 0, train, Vectors.of(["a", "b"], [[2.0], [1.0]])),
        fingerprint({"x": 1}, 0, train, Vectors.of(["a", "c"], [[1.0], [2.0]])),
        fingerprint({"x": 1}, 0, train),
    ]
    assert base not in others
    assert len(set(others)) == len(others)


def test_progress_wraps_the_epochs_to_come():
    seen = []

    def progress(epochs):
        for epoch in epochs:
            seen.append(epoch)
            yield epoch

    Regression().fit(progress=progress, max_epochs=3)
    assert seen == [1, 2, 3]
