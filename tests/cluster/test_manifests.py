"""The example cluster files hold to the schemas of those who read them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.runtime.identity import REPOSITORY

EXAMPLES = REPOSITORY / "examples/cluster"
Content = dict[str, Any]


def read(name: str) -> Content:
    content: Content = yaml.safe_load((EXAMPLES / name).read_text())
    return content


@pytest.fixture
def cluster() -> Content:
    return read("ray-autoscaler.yaml")


@pytest.fixture
def job() -> Content:
    return read("kuberay-rayjob.yaml")


def check_cluster(content: Content) -> None:
    """What `ray up` does before it reaches for a machine: fill in defaults, hold to the schema."""
    validate_config(prepare_config(content))


def check_job(content: Content) -> None:
    schema = json.loads(Path(__file__).with_name("rayjob_schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(content)


def pods(job: Content) -> dict[str, Content]:
    """Each pod's specification."""
    cluster = job["spec"]["rayClusterSpec"]
    found = {"submitter": job["spec"]["submitterPodTemplate"]["spec"]}
    found["head"] = cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        found[group["groupName"]] = group["template"]["spec"]
    return found


def test_ray_accepts_the_cluster(cluster: Content) -> None:
    check_cluster(cluster)


def test_ray_refuses_unknown_keys_of_the_cluster(cluster: Content) -> None:
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        check_cluster(cluster | {"setup_comands": []})


def test_cluster_keeps_its_doors_shut(cluster: Content) -> None:
    (head,) = [line for line in cluster["head_start_ray_commands"] if "--head" in line]
    (worker,) = [line for line in cluster["worker_start_ray_commands"] if "start" in line]
    assert "--dashboard-host=127.0.0.1" in head
    for line in (head, worker):
        assert "RAY_AUTH_MODE=token" in line
        assert "RAY_AUTH_TOKEN=" not in line, "a token in the file"
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_kuberay_would_accept_the_job(job: Content) -> None:
    check_job(job)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "true"),
        (("spec", "ttlSecondsAfterFinished"), "300"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
    ],
)
def test_slips_in_the_job_are_found(job: Content, path: tuple[str, ...], value: Any) -> None:
    section = job
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check_job(job)


def test_what_the_job_may_not_lack_is_missed(job: Content) -> None:
    for required in ("groupName", "minReplicas", "maxReplicas", "template"):
        lacking = copy.deepcopy(job)
        del lacking["spec"]["rayClusterSpec"]["workerGroupSpecs"][0][required]
        with pytest.raises(jsonschema.ValidationError, match=required):
            check_job(lacking)


def test_token_of_the_job_comes_from_a_secret(job: Content) -> None:
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {
        "mode": "token",
        "secretName": "symbiosis-ray-token",
    }
    variables = [
        variable["name"]
        for pod in pods(job).values()
        for container in pod["containers"]
        for variable in container.get("env", [])
    ]
    assert variables and not [name for name in variables if "TOKEN" in name or "PASS" in name]


def test_nodes_of_the_job_share_the_folder_that_it_runs_in(job: Content) -> None:
    by_name = pods(job)
    del by_name["submitter"]
    for pod in by_name.values():
        claims = {each["name"]: each["persistentVolumeClaim"] for each in pod["volumes"]}
        (container,) = pod["containers"]
        (mount,) = container["volumeMounts"]
        assert claims[mount["name"]] == {"claimName": "symbiosis-shared"}
        assert f"cd {mount['mountPath']}/symbiosis &&" in job["spec"]["entrypoint"]


def test_job_has_gpus_for_itself_and_for_training(job: Content) -> None:
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    each = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert group["minReplicas"] * each > job["spec"]["entrypointNumGpus"]


def test_versions_are_those_of_this_environment(job: Content) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
