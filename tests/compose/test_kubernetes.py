"""The Kubernetes manifests: valid by the schemas of several versions, with no more rights than needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rag.settings import Settings

ROOT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
FOLDERS = ("base", "autoscaling")
VERSIONS = ("1.31", "1.34", "1.37")


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.yaml")):
            if path.name != "kustomization.yaml":
                for document in yaml.safe_load_all(path.read_text("utf-8")):
                    yield f"{folder}/{path.name}", document


def kinds(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in manifests() if document["kind"] == kind]


def containers() -> list[dict[str, Any]]:
    return [each for one in kinds("Deployment") for each in one["spec"]["template"]["spec"]["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version: str) -> None:
    for name, document in manifests():
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{name}: {error.message} at {list(error.path)}")


def test_a_wrong_manifest_would_be_noticed() -> None:
    (wrong,) = [each for each in kinds("Deployment") if each["metadata"]["name"] == "longleaf-worker"]
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_names_every_file_and_no_other(folder: str) -> None:
    written = yaml.safe_load((ROOT / folder / "kustomization.yaml").read_text("utf-8"))
    there = {path.name for path in (ROOT / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(written["resources"]) == there


def test_settings_that_are_named_exist() -> None:
    literals = yaml.safe_load((ROOT / "base" / "kustomization.yaml").read_text("utf-8"))["configMapGenerator"]
    named = {line.partition("=")[0] for each in literals for line in each["literals"]}
    named |= {variable["name"] for container in containers() for variable in container["env"]}
    assert named <= {f"LONGLEAF_{name.upper()}" for name in Settings.model_fields}


def test_containers_have_no_more_rights_than_they_need() -> None:
    assert containers()
    for deployment in kinds("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in containers():
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_probes_ask_what_the_service_answers() -> None:
    for container in containers():
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness")} == {"http"}


def test_a_pod_is_given_the_time_that_it_takes_to_leave() -> None:
    literals = yaml.safe_load((ROOT / "base" / "kustomization.yaml").read_text("utf-8"))["configMapGenerator"]
    given = dict(line.split("=") for line in literals[0]["literals"])
    taken = float(given["LONGLEAF_DRAIN_SECONDS"]) + float(given["LONGLEAF_SHUTDOWN_SECONDS"])
    for deployment in kinds("Deployment"):
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > taken + 20


def test_names_lead_to_each_other() -> None:
    components = {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in kinds("Deployment")
    }
    for deployment in kinds("Deployment"):
        assert deployment["spec"]["selector"]["matchLabels"].items() <= (
            deployment["spec"]["template"]["metadata"]["labels"].items()
        )
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in deployment["spec"]["template"]["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims <= {each["metadata"]["name"] for each in kinds("PersistentVolumeClaim")}
    (service,) = kinds("Service")
    assert service["spec"]["selector"]["app.kubernetes.io/component"] in components
    (scaler,) = kinds("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] in {
        each["metadata"]["name"] for each in kinds("Deployment")
    }
