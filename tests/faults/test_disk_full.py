"""A full disk, made for real: a clear line, nothing half-written, and after that it goes on."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.conftest import weights
from tests.faults.processes import start, until, whole_checkpoints
from tests.pipelines.small_project import POINTS, Project

pytestmark = pytest.mark.fault
FULL = "the disk is full; free some space and run again"


def may_mount() -> bool:
    """Whether this user can have small file systems in a name space of their own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=2m tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def on_a_small_disk(project: Project, folder: str, kilobytes: int, command: str) -> list[str]:
    """Run a command twice with one folder on a disk of its own, which grows in between.

    Returns:
        What both runs said, and between them the files on the full disk.
    """
    if not may_mount():
        pytest.skip("mounting a small file system is not allowed here")
    place = project.root / folder
    place.mkdir(parents=True, exist_ok=True)
    script = f"""
        cp -r {folder} before && mount -t tmpfs -o size={kilobytes}k tmpfs {folder}
        cp -r before/. {folder}
        {command} 2>&1; echo "status $?"; echo ----
        find {folder} -type f; echo ----
        mount -o remount,size=1g {folder}
        {command} 2>&1; echo "status $?"
        cp -r {folder} after
    """
    done = project.run("unshare", "-Urm", "sh", "-c", script)
    return done.stdout.split("----\n")


def size_of_a_checkpoint(project: Project) -> int:
    """Train until there is one, in kilobytes; nothing of it stays."""
    running = start(project, "python", "-m", "pipelines.stages.pretrain", "vae-toy")
    until(lambda: whole_checkpoints(project), "a checkpoint")
    running.signal_group(signal.SIGKILL)
    running.wait()
    size = (whole_checkpoints(project)[0] / "rank-0-of-1.pt").stat().st_size
    shutil.rmtree(project.root / ".ray")
    return size // 1024


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_while_writing_a_checkpoint(toy: Project, undisturbed: bytes, workers: int) -> None:
    size = size_of_a_checkpoint(toy)
    toy.set("runtime.num_workers", workers)
    # Room for two of them, and for half of the third.
    first, left, second = on_a_small_disk(
        toy, ".ray", int(2.5 * size), "python -m pipelines.stages.pretrain vae-toy"
    )
    assert re.search(rf"^error: cannot write \S+rank-0-of-1\.pt: {FULL}$", first, re.MULTILINE)
    assert first.endswith("status 2\n") and "Traceback" not in first
    states = [line for line in left.splitlines() if "/step-" in line]
    assert sorted(Path(line).name for line in states) == sorted(
        ["rank-0-of-1.pt", "rank-0-of-1.sha256"] * 2
    )
    assert second.endswith("status 0\n")
    assert "goes on from the checkpoint of step 400" in second and "damaged" not in second
    assert weights(toy) == undisturbed


def test_while_writing_the_model(toy: Project, undisturbed: bytes) -> None:
    first, left, second = on_a_small_disk(
        toy, "models", 64, "python -m pipelines.stages.pretrain vae-toy"
    )
    assert f"error: cannot write models/vae-toy: {FULL}" in first and first.endswith("status 2\n")
    assert left == ""
    # It is not trained again.
    assert "is done already" in second and second.endswith("status 0\n")
    assert "goes on from" not in second and "steps/s" not in second
    written = toy.root / "after/vae-toy/weights.safetensors"
    assert written.read_bytes() == undisturbed


def test_while_writing_shards(toy: Project) -> None:
    made = toy.root / "data/shards" / POINTS
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    shutil.rmtree(toy.root / "data/shards")
    first, left, second = on_a_small_disk(
        toy, "data/shards", 12, f"python -m pipelines.stages.shard {POINTS}"
    )
    assert f"error: cannot write data/shards/{POINTS}: {FULL}" in first
    assert first.endswith("status 2\n") and left == ""
    assert second.endswith("status 0\n")
    after = toy.root / "after" / POINTS
    assert {file.name: file.read_bytes() for file in after.iterdir()} == before


@pytest.mark.slow
def test_where_nothing_may_be_mounted(toy: Project) -> None:
    """A limit on the size of files stands for a full disk on any machine."""
    toy.set("pretrain.vae-toy.network.hidden", [700, 700])
    plan = toy.settings()["pretrain"]["vae-toy"]["plan"]
    plan |= {"steps": 20, "log_every": 10, "checkpoint_every": 10, "validate_every": 10}
    toy.set("pretrain.vae-toy.plan", plan)
    command = "python -m pipelines.stages.pretrain vae-toy"
    limited = toy.run("bash", "-c", f"ulimit -f 10000; {command}", check=False)
    assert limited.returncode == 2
    assert "a file grew past the allowed size" in limited.stderr.splitlines()[-1]
    assert not list((toy.root / ".ray").rglob("step-*")) and not (toy.root / "models").exists()
    toy.run("bash", "-c", command)
    assert weights(toy)
