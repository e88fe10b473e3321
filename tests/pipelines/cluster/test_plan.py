"""What the launcher plans: DVC's order and edges, and what each stage takes of the cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from components.errors import UserError
from pipelines.cluster.branches import Room
from pipelines.cluster.lock_order import orderly_locks
from pipelines.cluster.plan import Need, need_of, read_plan
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import Params, load_params
from tests.pipelines.small_project import Project


@pytest.fixture
def planned(project: Project) -> Project:
    project.run("dvc", "init", "-q", "--no-scm")
    return project


def changed(**runtime: object) -> Params:
    params = load_params(REPOSITORY / "params.yaml")
    new = params.runtime.model_copy(update=runtime)
    return params.model_copy(update={"runtime": new})


def test_plan_is_that_of_dvc(planned: Project) -> None:
    plan = read_plan(planned.root, [])
    listed = planned.run("dvc", "stage", "list", "--name-only", "dvc.yaml").stdout
    assert sorted(stage.target for stage in plan) == sorted(listed.split())
    edges = re.findall(r'"(.+)" -> "(.+)"', planned.run("dvc", "dag", "--dot").stdout)
    assert {(before, stage.target) for stage in plan for before in stage.after} == set(edges)
    seen: set[str] = set()
    for stage in plan:
        assert stage.after <= seen, stage.target
        seen.add(stage.target)
    after = {stage.target: stage.after for stage in plan}
    assert after["compose@vaebm-digits"] == {
        "shard@digits",
        "pretrain@vae-digits",
        "features@digits",
    }
    assert after["fetch@digits"] == frozenset()


def test_only_the_targets_and_what_they_read(planned: Project) -> None:
    plan = [stage.target for stage in read_plan(planned.root, ["pretrain@vae-toy"])]
    assert plan == ["fetch@25-gaussians", "shard@25-gaussians", "pretrain@vae-toy"]


def test_unknown_target_is_one_line(planned: Project) -> None:
    with pytest.raises(UserError, match="pretrain@nobody"):
        read_plan(planned.root, ["pretrain@nobody"])


def test_no_repository_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc"):
        read_plan(tmp_path, [])


def test_needs() -> None:
    params = changed(num_workers=3, threads=2, gpu=True)
    assert need_of("pretrain", "vae-toy", params) == Need(6, 3, 0, 0)
    assert need_of("sample", "vae-toy", params) == Need(2, 1, 2, 1)
    assert need_of("fetch", "mnist", params) == Need(1, 0, 1, 0)
    sweep = need_of("sweep", "vaebm-fashion-langevin", params)
    assert sweep == Need(2, 0, 0, 0), "two trials of one CPU at once"
    in_process = changed(num_workers=0, threads=2, gpu=False)
    assert need_of("pretrain", "vae-toy", in_process) == Need(2, 0, 2, 0)
    shrinking = changed(num_workers=4, min_workers=1, threads=2)
    assert need_of("pretrain", "vae-toy", shrinking) == Need(2, 0, 0, 0)


def test_room_is_bounded_by_each_resource() -> None:
    one, gpu = Need(1, 0, 1, 0), Need(1, 1, 1, 1)
    room = Room(cpus=3, gpus=1, at_once=16)
    room.taken = [one, gpu]
    assert room.has(one)
    assert not room.has(gpu)
    assert not room.has(Need(2, 0, 2, 0))
    room.at_once = 2
    assert not room.has(one)


def test_new_stages_stand_in_the_plans_order_and_old_ones_stay(planned: Project) -> None:
    lock = planned.root / "dvc.lock"
    plan = ["fetch@digits", "shard@digits", "pretrain@vae-digits"]
    entry = {"cmd": "true"}
    lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"shard@digits": entry}}))
    with orderly_locks(planned.root, plan):
        ended = {"shard@digits": entry, "pretrain@vae-digits": entry, "fetch@digits": entry}
        text = yaml.safe_dump({"schema": "2.0", "stages": ended}, sort_keys=False)
        lock.write_text(text)
    stages = yaml.safe_load(lock.read_text())["stages"]
    assert list(stages) == ["shard@digits", "fetch@digits", "pretrain@vae-digits"]
