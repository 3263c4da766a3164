"""Published weights: found where they are, read without code, copied exactly or refused in a sentence."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from lib.backends.checkpoints import CheckpointError, digest, load_state, load_strictly, locate, preferred


class Payload:
    """What a pickle may do when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("opened",)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WORKBOOK_WEIGHTS", raising=False)


def publish(folder, *files):
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file).write_bytes(b"{}")
    return folder


ALL = ("config.json", "preprocessor_config.json", "pytorch_model.bin")


def test_a_folder_is_taken_if_it_is_complete(tmp_path, monkeypatch):
    folder = publish(tmp_path / "here", *ALL)
    assert locate("mert_95m", folder) == folder
    root = publish(tmp_path / "weights" / "mert_95m", *ALL).parent
    monkeypatch.setenv("WORKBOOK_WEIGHTS", str(root))
    assert locate("mert_95m") == root / "mert_95m"
    assert locate("mert_95m", folder) == folder  # what is named comes first


def test_safetensors_stand_in_for_a_pickled_file(tmp_path):
    folder = publish(tmp_path, "config.json", "preprocessor_config.json", "model.safetensors")
    assert locate("mert_95m", folder) == folder
    assert preferred(folder / "pytorch_model.bin") == folder / "model.safetensors"
    assert preferred(folder / "config.json") == folder / "config.json"
    assert preferred(publish(tmp_path, "msd.pt", "msd.safetensors") / "msd.pt").name == "msd.safetensors"


def test_an_incomplete_folder_names_what_is_missing(tmp_path):
    folder = publish(tmp_path, "config.json")
    with pytest.raises(CheckpointError) as raised:
        locate("mert_95m", folder)
    sentence = str(raised.value)
    assert "found no preprocessor_config.json, pytorch_model.bin; copy what is missing there from" in sentence
    assert "m-a-p/MERT-v1-95M on the Hugging Face hub, revision 12af15fef9d0" in sentence
    with pytest.raises(CheckpointError, match=r"found no vocab\.json"):
        locate("mert_95m", folder, files=("config.json", "vocab.json"))


def test_without_files_and_connection_a_sentence_says_what_goes_where():
    with pytest.raises(CheckpointError) as raised:
        locate("mert_330m")
    sentence = str(raised.value)
    for part in (
        *ALL,
        "m-a-p/MERT-v1-330M",
        "5240c2708a5a",
        "$WORKBOOK_WEIGHTS/mert_330m",
        "HF_HOME",
        "HF_HUB_OFFLINE",
    ):
        assert part in sentence
    assert sentence.count(". ") == 0
    with pytest.raises(CheckpointError, match="revision main"):
        locate("mule")  # none is pinned


@pytest.mark.parametrize("complete", [True, False])
def test_the_cache_of_the_hub_is_read_at_its_pinned_revision(tmp_path, complete):
    revision = "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5"
    snapshot = tmp_path / "hub" / "models--m-a-p--MERT-v1-95M" / "snapshots" / revision
    publish(snapshot, *(ALL if complete else ALL[:2]))
    if complete:
        assert locate("mert_95m") == snapshot
    else:
        with pytest.raises(CheckpointError, match=r"Expected pytorch_model\.bin of mert_95m"):
            locate("mert_95m")
    with pytest.raises(CheckpointError, match="revision 0123abc"):
        locate("mert_95m", revision="0123abc")


def test_both_formats_give_the_same_tensors(tmp_path):
    state = {"a": torch.arange(3.0), "b": torch.eye(2)}
    torch.save(state, tmp_path / "old.bin")
    save_file(state, tmp_path / "new.safetensors")
    for file in ("old.bin", "new.safetensors"):
        found = load_state(tmp_path / file)
        assert set(found) == {"a", "b"}
        assert torch.equal(found["b"], torch.eye(2))
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "nested.pt")
    assert load_state(tmp_path / "nested.pt")["model"]["a"].item() == 1


def test_safetensors_are_preferred_and_identified(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    old = digest(tmp_path / "pytorch_model.bin")
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert load_state(tmp_path / "pytorch_model.bin")["a"].item() == 1
    assert digest(tmp_path / "pytorch_model.bin") == digest(tmp_path / "model.safetensors") != old
    assert old.startswith("sha256 ")


def test_code_in_a_pickle_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, "evil.bin")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": Payload()}, protocol=2))
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 20)
    (tmp_path / "empty.bin").write_bytes(b"")
    for file in ("evil.bin", "plain.pt", "broken.safetensors", "empty.bin"):
        with pytest.raises(CheckpointError, match=f"Expected tensors alone in .*{file}"):
            load_state(tmp_path / file)
    assert not (tmp_path / "opened").exists()
    with pytest.raises(CheckpointError, match="found no such file"):
        load_state(tmp_path / "absent.bin")


def test_weights_fit_exactly_or_not_at_all():
    network = torch.nn.Linear(2, 1)
    state = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    load_strictly(network, state)
    assert network(torch.ones(1, 2)).item() == 2
    with pytest.raises(CheckpointError, match="found bias missing and none unexpected"):
        load_strictly(network, {"weight": state["weight"]})
    with pytest.raises(CheckpointError, match="found none missing and head unexpected"):
        load_strictly(network, state | {"head": torch.ones(1)})
    with pytest.raises(CheckpointError, match="head2 unexpected"):
        load_strictly(network, state | {"head": torch.ones(1), "head2": torch.ones(1)}, ignore=["head$"])
    with pytest.raises(CheckpointError, match=r"Expected weight of shape \(1, 2\), found \(2, 1\)"):
        load_strictly(network, state | {"weight": torch.ones(2, 1)})


def test_old_names_of_weight_normalisation_are_read():
    made = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 4), dim=2)
    state = {"bias": torch.zeros(3), "weight_g": torch.full((1, 1, 4), 2.0), "weight_v": torch.randn(3, 2, 4)}
    holder = torch.nn.ModuleDict({"conv": made})
    load_strictly(holder, {f"conv.{key}": value for key, value in state.items()})
    norms = made.weight.norm(dim=(0, 1))
    torch.testing.assert_close(norms, torch.full((4,), 2.0))
    with pytest.raises(CheckpointError, match="weight_g unexpected"):
        load_strictly(torch.nn.Linear(1, 1), {"weight_g": torch.ones(1)})
