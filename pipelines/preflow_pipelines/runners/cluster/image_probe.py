"""Can the nodes pull the images? A pod per image runs `true` and is deleted, whatever happens.

References that were pulled are remembered for a day, so that the next submission does not ask again.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflow.artifacts.files import write_json
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.runners.cluster.access import kubernetes_service
from preflow_pipelines.runners.cluster.answers import asking, message_of
from preflow_pipelines.runners.cluster.findings import Finding, not_checked, ok, problem

ASK_SECONDS = (5.0, 10.0)
WAIT_SECONDS, LOOK_SECONDS = 40.0, 1.0
DEADLINE_SECONDS = 120  # the pod's own, should this machine die before it deletes it
REMEMBER_SECONDS = 24 * 3600.0
PINNED = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
BACKENDS_ACCOUNTS = ("pipeline-runner", "default-editor")
"""What runs get without a service account named, in single-user and in multi-user mode."""
CANNOT_PULL = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
PULLED = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff"}


def check_images(core: Any, profile: ClusterProfile, images: Mapping[str, str], remembered: Path) -> Iterator[Finding]:
    """One finding per role. `images` is role -> reference."""
    pinned: dict[str, str] = {}
    for role, reference in images.items():
        if PINNED.fullmatch(reference):
            pinned[role] = reference
        else:
            text = f"{reference} is not pinned. Expected name@sha256:... Write {profile.images} again: make push"
            yield problem(f"image {role}", text)
    known = _remembered(remembered)
    scope = _scope(profile)
    new = sorted({reference for reference in pinned.values() if f"{scope} {reference}" not in known})
    outcomes = _probe(core, profile, new) if new else {}
    pulled = [reference for reference, outcome in outcomes.items() if outcome.state == "ok" and not outcome.fix]
    if pulled:
        write_json(remembered, {**known, **{f"{scope} {reference}": time.time() for reference in pulled}})
    for role, reference in pinned.items():
        outcome = outcomes.get(reference, ok("", "pulled before"))
        yield Finding(f"image {role}", outcome.state, outcome.found, outcome.fix)


def _scope(profile: ClusterProfile) -> str:
    """Whose pods they are: another cluster, namespace or account may not read what this one can."""
    parts = (profile.api, profile.kubeconfig, profile.kube_context, profile.namespace, profile.service_account)
    return " ".join(part or "-" for part in (*parts, profile.pull_secret))


def _remembered(path: Path) -> dict[str, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: when for name, when in content.items() if time.time() - when < REMEMBER_SECONDS}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _probe(core: Any, profile: ClusterProfile, references: list[str]) -> dict[str, Finding]:
    from kubernetes.client import ApiException

    outcomes: dict[str, Finding] = {}
    pods: dict[str, str] = {}
    account = _account(core, profile)
    with asking(kubernetes_service(profile)):
        try:
            for reference in references:
                try:
                    made = core.create_namespaced_pod(
                        profile.namespace, _pod(profile, reference, account), _request_timeout=ASK_SECONDS
                    )
                    pods[reference] = made.metadata.name
                except ApiException as error:
                    if error.status not in (403, 422):
                        raise
                    said = message_of(error.body or "") or error.reason
                    outcomes[reference] = not_checked("", f"no pod may be made to try it: {said}")
            _watch(core, profile, pods, outcomes)
        finally:
            for name in pods.values():
                _delete(core, profile.namespace, name)
    return outcomes


def _watch(core: Any, profile: ClusterProfile, pods: Mapping[str, str], outcomes: dict[str, Finding]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while open_ones := [reference for reference in pods if reference not in outcomes]:
        late = time.monotonic() > until
        for reference in open_ones:
            pod = core.read_namespaced_pod(pods[reference], profile.namespace, _request_timeout=ASK_SECONDS)
            outcome = outcome_of(pod, reference, late)
            if outcome:
                outcomes[reference] = outcome
        time.sleep(LOOK_SECONDS)


def outcome_of(pod: Any, reference: str, late: bool) -> Finding | None:
    """What a probe's pod says about its image; None while it is too early."""
    statuses = pod.status.container_statuses or []
    state = statuses[0].state if statuses else None
    waiting = state.waiting if state else None
    if state and (state.running or state.terminated or (waiting and waiting.reason in PULLED)):
        return ok("", f"{_brief(reference)} can be pulled")
    if waiting and waiting.reason in CANNOT_PULL:
        said = " ".join((waiting.message or "").replace(reference, _brief(reference)).split())[:400]
        return problem(
            "",
            f"{reference} cannot be pulled ({waiting.reason}: {said or 'no message'}). Expected an image that the nodes "
            "may read. Push it (make push), or name the registry's secret: --pull-secret",
        )
    if not late:
        return None
    scheduled = [each for each in pod.status.conditions or [] if each.type == "PodScheduled"]
    if scheduled and scheduled[0].status != "True":
        return not_checked("", f"no node takes a pod to try {_brief(reference)}: {scheduled[0].message}")
    return Finding("", "ok", f"{_brief(reference)} is still being pulled", "wait for it, or submit: pods wait as well")


def _brief(reference: str) -> str:
    name, _, digest = reference.partition("@sha256:")
    return f"{name}@sha256:{digest[:12]}..."


def _account(core: Any, profile: ClusterProfile) -> str | None:
    """The account that the run's pods will have: a registry's secret may hang on it."""
    from kubernetes.client import ApiException

    if profile.service_account:
        return profile.service_account
    try:
        answer = core.list_namespaced_service_account(profile.namespace, _request_timeout=ASK_SECONDS)
    except ApiException:
        return None
    names = {account.metadata.name for account in answer.items}
    return next((name for name in BACKENDS_ACCOUNTS if name in names), None)


def _pod(profile: ClusterProfile, reference: str, account: str | None) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "preflow", "app.kubernetes.io/component": "probe"}
    size = {"cpu": "10m", "memory": "32Mi"}
    container = {
        "name": "probe",
        "image": reference,
        "command": ["true"],
        "resources": {"requests": size, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": DEADLINE_SECONDS,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if account:
        spec["serviceAccountName"] = account
    if profile.pull_secret:
        spec["imagePullSecrets"] = [{"name": profile.pull_secret}]
    labels["sidecar.istio.io/inject"] = "false"  # Kubeflow's namespaces add a proxy, which would not end
    return {"metadata": {"generateName": "preflow-probe-", "labels": labels}, "spec": spec}


def _delete(core: Any, namespace: str, name: str) -> None:
    """Delete a pod; one that is gone is no error, and one that cannot be deleted ends by its deadline."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        core.delete_namespaced_pod(name, namespace, grace_period_seconds=0, _request_timeout=ASK_SECONDS)
    except (ApiException, HTTPError):
        return
