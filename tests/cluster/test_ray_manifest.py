"""The manifest for KubeRay: Serve's own schema takes its configuration, Kubernetes' its pods, and both fit
the code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig, AutoscalingContext
from ray.serve.schema import ServeDeploySchema

from api.cluster import serve_app
from api.cluster.serve_scaling import METRIC, WaitingTokens
from rag.settings import Settings

PATH = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "cluster" / "rayservice.yaml"
VERSIONS = ("1.31", "1.37")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(yaml.safe_load(PATH.read_text("utf-8")))


@pytest.fixture(scope="module")
def config(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(yaml.safe_load(manifest["spec"]["serveConfigV2"]))


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_serve_takes_the_configuration_and_would_refuse_a_wrong_one(config: dict[str, Any]) -> None:
    deployed = ServeDeploySchema.model_validate(config)
    assert deployed.applications[0].import_path == "api.cluster.serve_app:build"
    (application,) = config["applications"]
    for deployment in application["deployments"]:
        AutoscalingConfig.model_validate(deployment.get("autoscaling_config", {}))
    nameless = {key: value for key, value in application.items() if key != "import_path"}
    with pytest.raises(ValidationError):
        ServeDeploySchema.model_validate({**config, "applications": [nameless]})
    with pytest.raises(ValidationError):
        AutoscalingConfig.model_validate({"min_replicas": 3, "max_replicas": 2})


def test_what_it_names_is_in_the_application(config: dict[str, Any]) -> None:
    (application,) = config["applications"]
    assert application["name"] == serve_app.APP
    assert set(application["args"]) <= set(Settings.model_fields)
    Settings(_env_file=None, **application["args"])
    source = inspect.getsource(serve_app.application).replace("name=API", f'name="{serve_app.API}"')
    for deployment in application["deployments"]:
        assert f'name="{deployment["name"]}"' in source


@pytest.mark.parametrize("version", VERSIONS)
def test_its_pods_are_valid_and_have_no_more_rights_than_they_need(
    manifest: dict[str, Any], version: str
) -> None:
    for pod in pods(manifest):
        labels = {"app": "ray"}
        around = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "longleaf"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        kubernetes_validate.validate(around, version, strict=True)
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


@pytest.mark.parametrize(
    ("waiting", "now", "wanted"), [(0, 2, 2), (100_000, 2, 4), (900_000, 2, 8), (None, 3, 3)]
)
def test_engines_come_for_tokens_that_wait(waiting: int | None, now: int, wanted: int) -> None:
    metrics = {} if waiting is None else {METRIC: {"a": float(waiting), "b": waiting - 5.0}}
    unused: dict[str, Any] = dict.fromkeys(inspect.signature(AutoscalingContext.__init__).parameters)
    del unused["self"]
    context = AutoscalingContext(
        **{
            **unused,
            "aggregated_metrics": metrics,
            "target_num_replicas": now,
            "capacity_adjusted_min_replicas": 2,
            "capacity_adjusted_max_replicas": 8,
        }
    )
    assert WaitingTokens(32_768)(context)[0] == wanted
