"""``dlbooks deploy``: the work pools and the deployments of ``prefect.yaml``, registered at a Prefect server."""

from __future__ import annotations

import os
import subprocess
import sys

from dlbooks import UserError, catalog, fleet, runtime, services

POOLS = {
    "main": "Rebuilds, checks and single chapters, in the checkout itself.",
    "cpu": "Stages of rebuilds.",
    "gpu": "Stages of rebuilds on GPUs, one training per device.",
}


def deploy() -> list[str]:
    """Makes the pools, lets Prefect register every deployment of ``prefect.yaml``, and gives the form of the chapter deployments their choices.

    Returns the names of the deployments, ``flow/deployment``.
    """
    url = services.prefect_url()
    os.environ.update({**services.prefect_environment(), "PREFECT_API_URL": url, "DLBOOKS_HOME": str(runtime.home())})
    services.await_prefect_at(url, seconds=10)
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    with get_client(sync_client=True) as client:
        for name, about in POOLS.items():
            fleet.work_pool(client, name, about)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(command, cwd=runtime.root(), capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"Prefect refused prefect.yaml: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
        found = [d for d in client.read_deployments() if "dlbooks" in d.tags]
        flows = {f.id: f.name for f in client.read_flows()}
        for deployment in found:
            if flows[deployment.flow_id] == "chapter":
                schema = with_choices(deployment.parameter_openapi_schema, deployment.name)
                client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))
    return sorted(f"{flows[d.flow_id]}/{d.name}" for d in found)


def with_choices(schema: dict, family: str) -> dict:
    """The parameter schema of the flow ``chapter`` with the chapters of a family, and the profiles, as choices."""
    properties = {name: dict(entry) for name, entry in schema["properties"].items()}
    properties["chapter_id"]["enum"] = [c.id for c in catalog.chapters().values() if c.family == family]
    properties["profile"]["enum"] = ["", *runtime.PROFILES]
    return {**schema, "properties": properties}
