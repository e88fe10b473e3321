"""The launcher on a Ray cluster of its own: the same outputs and dvc.lock as `dvc repro`."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.processes import gone, start, until, whole_checkpoints
from tests.pipelines.small_project import Project

pytestmark = pytest.mark.pipeline
REPRO = ("python", "-m", "pipelines.cluster.repro")
BRANCHES = ("pretrain@vae-toy", "pretrain@vae-digits")


@pytest.fixture
def fresh(project: Project) -> Project:
    """Nothing is made yet; trainings go through the launcher's Ray cluster."""
    project.run("dvc", "init", "-q", "--no-scm")
    project.set("runtime.num_workers", 1)
    project.set("runtime.ray_address", None)
    return project


def locked(project: Project) -> dict[str, Any]:
    """dvc.lock, without the figures that hold times."""
    stages = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    for stage in stages.values():
        stage["outs"] = [out for out in stage["outs"] if not out["path"].startswith("metrics/")]
    return dict(stages)


@pytest.mark.slow
def test_same_as_dvc_repro(fresh: Project, tmp_path: Path) -> None:
    one_by_one = Project(tmp_path / "one-by-one")
    shutil.copytree(fresh.root, one_by_one.root)
    one_by_one.set("runtime.num_workers", 0)  # where work runs changes no result
    side_by_side = fresh.run(*REPRO, *BRANCHES)
    one_by_one.run("dvc", "repro", *BRANCHES)
    assert locked(fresh) == locked(one_by_one)
    written = list(locked(fresh))
    for model in ("toy", "digits"):  # DVC itself orders branches differently each time
        data = "25-gaussians" if model == "toy" else model
        own = [name for name in written if name.endswith((f"@{data}", f"-{model}"))]
        assert [name.split("@")[0] for name in own] == ["fetch", "shard", "pretrain"]
    for model in ("vae-toy", "vae-digits"):
        ours, theirs = (
            (each.root / "models" / model / "weights.safetensors").read_bytes()
            for each in (fresh, one_by_one)
        )
        assert ours == theirs
    lines = side_by_side.stdout.splitlines()
    first_end = next(i for i, line in enumerate(lines) if "Updating lock file" in line)
    begun = [line for line in lines[:first_end] if "Running stage" in line]
    assert len(begun) >= 2, "branches ran one after the other"
    assert "Running stage" not in fresh.run("dvc", "repro", *BRANCHES).stdout
    again = fresh.run(*REPRO, *BRANCHES).stdout
    assert "Running stage" not in again and again.count("didn't change") == 6


def test_a_failed_branch_leaves_the_others_alone(fresh: Project) -> None:
    fresh.set("runtime.num_workers", 0)
    catalogue = fresh.root / "data/catalog.yaml"
    content = yaml.safe_load(catalogue.read_text())
    content["stripes"]["path"] = "nowhere"
    catalogue.write_text(yaml.safe_dump(content))
    done = fresh.run(*REPRO, "shard@stripes", "pretrain@vae-toy", check=False)
    assert done.returncode == 1
    assert "error: failed: fetch@stripes; not run, waiting for it: shard@stripes" in done.stderr
    assert (fresh.root / "models/vae-toy/weights.safetensors").is_file()
    assert not (fresh.root / "data/shards/stripes").exists()


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_mid_training_it_goes_on(fresh: Project, number: signal.Signals) -> None:
    plan = fresh.settings()["pretrain"]["vae-toy"]["plan"]
    plan |= {"steps": 4000, "checkpoint_every": 200, "validate_every": 200}
    fresh.set("pretrain.vae-toy.plan", plan)
    running = start(fresh, *REPRO, "pretrain@vae-toy")
    until(lambda: whole_checkpoints(fresh), "a checkpoint")
    below = running.descendants()
    running.process.send_signal(number)
    running.wait()
    assert gone(below), "something goes on alone"
    done = fresh.run(*REPRO, "pretrain@vae-toy")
    assert re.search(r"goes on from the checkpoint of step \d+", done.stdout)
    assert (fresh.root / "models/vae-toy/weights.safetensors").is_file()


def test_wrong_calls_are_one_line(fresh: Project) -> None:
    none = fresh.run(*REPRO, "--at-once", "0", check=False)
    assert (none.returncode, none.stderr) == (2, "error: --at-once 0: at least 1\n")
    unknown = fresh.run(*REPRO, "pretrain@nobody", check=False)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: dvc: ") and unknown.stderr.count("\n") == 1
