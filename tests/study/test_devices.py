"""Devices: names that are not there are sentences, and no two processes share a GPU."""

import subprocess
import sys
import textwrap

import pytest

from lib.study import devices


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with two cards; locks in a folder of the test's own, nothing held before or after."""

    def has(cards, apple=False):
        monkeypatch.setattr(devices, "_accelerators", lambda: (cards, apple))
        monkeypatch.setattr(devices, "_held", {})
        return tmp_path

    return has


OTHER = """
import sys, time
from lib.study import devices
devices._accelerators = lambda: (2, False)
print(devices.claim(sys.argv[1], sys.argv[2]), flush=True)
time.sleep(float(sys.argv[3]))
"""


def other(folder, name, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OTHER), name, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def test_each_process_gets_a_card_of_its_own(machine):
    folder = machine(2)
    process, theirs = other(folder, "cuda", 60)
    try:
        assert theirs == "cuda:0"
        assert devices.claim("cuda", folder) == "cuda:1"
        assert devices.claim("cuda", folder) == "cuda:1"  # this process has one already
    finally:
        process.kill()


def test_a_named_card_is_waited_for_until_the_other_process_ends(machine, monkeypatch):
    folder = machine(2)
    said = []
    monkeypatch.setattr(devices, "say", said.append)
    monkeypatch.setattr(devices, "_POLL_SECONDS", 0.05)
    process, theirs = other(folder, "cuda:1", 0.5)
    assert theirs == "cuda:1"
    assert devices.claim("cuda:1", folder) == "cuda:1"
    assert process.wait(10) == 0
    assert said == ["waiting for cuda:1, in use by another process of the workbook"]


def test_a_card_computes_in_single_precision(machine, monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    folder = machine(1)
    devices.claim("cuda", folder)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_the_lock_of_a_killed_process_is_free(machine):
    folder = machine(2)
    process, _ = other(folder, "cuda:0", 60)
    process.kill()
    process.wait()
    assert devices.claim("cuda:0", folder) == "cuda:0"


@pytest.mark.parametrize(("cards", "apple", "expected"), [(2, False, "cuda:0"), (0, True, "mps"), (0, False, "cpu")])
def test_auto_takes_a_gpu_where_there_is_one(cards, apple, expected, machine):
    folder = machine(cards, apple)
    assert devices.claim("auto", folder) == expected


@pytest.mark.parametrize("name", ["cuda", "cuda:2", "mps", "gpu", ""])
def test_what_is_not_there_is_a_sentence(name, machine):
    machine(2 if name == "cuda:2" else 0)
    with pytest.raises(devices.DeviceError, match=r"Expected a device among cpu.*choose one of them as `device`"):
        devices.claim(name)


def test_the_processor_is_never_claimed(machine):
    folder = machine(0)
    assert devices.claim("cpu", folder) == "cpu"
    assert list(folder.iterdir()) == []


def test_full_memory_is_known_from_other_errors():
    assert devices.is_out_of_memory(MemoryError())
    assert devices.is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert devices.is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not devices.is_out_of_memory(RuntimeError("shapes do not match"))
    assert not devices.is_out_of_memory(ValueError("out of memory"))
