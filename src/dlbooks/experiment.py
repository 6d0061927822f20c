"""``dlbooks run CHAPTER --profile book``: DVC's own ``dvc exp run --temp``, so that the checkout and its ``dvc.lock`` stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from dlbooks import catalog, own, runtime
from dlbooks.run import parameters_of


def run(stage: own.Stage, values: dict, profile: str, variants: list[str], overrides: dict) -> int:
    """Runs a chapter in DVC's temporary workspace, once per variant; each result is a DVC experiment and an MLflow run.

    Several variants become child runs of one MLflow run. Parameters are checked before anything starts. Returns DVC's exit code.
    """
    found, variants = stage.found, variants or [""]
    for variant in variants:
        parameters_of(found, values, profile, variant, overrides)
    environment = {**os.environ, **runtime.QUIET, "DLBOOKS_HOME": str(runtime.home())}
    if len(variants) == 1:
        return once(stage, values, profile, variants[0], overrides, environment)
    from dlbooks import tracking

    with tracking.parent(found.declaration, profile, variants) as parent:
        return max(once(stage, values, profile, v, overrides, {**environment, "DLBOOKS_PARENT_RUN": parent}) for v in variants)


def once(stage: own.Stage, values: dict, profile: str, variant: str, overrides: dict, environment: dict[str, str]) -> int:
    """One experiment: the overridden keys are named to DVC, which records them; the recipe's name travels in the environment."""
    found, chapter_id = stage.found, stage.found.declaration.id
    chosen = {**(found.declaration.variants[variant].overrides if variant else {}), **overrides}
    listed = (values.get(chapter_id) or {}).get(profile) or {}
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-S", f"profile={profile}"]
    for key, value in chosen.items():
        command += ["-S", f"{'' if key in listed else '+'}{chapter_id}.{profile}.{key}={json.dumps(value)}"]
    for name in stage.swaps.values():  # the workspace holds tracked files, and what is named here
        command += ["-C", str(catalog.dataset(name).declaration.path.relative_to(runtime.root()))]
    recipe = json.dumps({"variant": variant, "overrides": overrides})
    return subprocess.call([*command, stage.id], cwd=runtime.root(), env={**environment, "DLBOOKS_RECIPE": recipe})
