"""``dlbooks run CHAPTER --profile book``: DVC's own ``dvc exp run --temp``, so that the checkout and its ``dvc.lock`` stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from dlbooks import catalog, runtime
from dlbooks.run import parameters_of


def run(found: catalog.Declared, values: dict, profile: str, variant: str, overrides: dict) -> int:
    """Checks the parameters, then runs the chapter in DVC's temporary workspace. The result is a DVC experiment and an MLflow run."""
    chapter_id = found.declaration.id
    parameters_of(found, values, profile, variant, overrides)
    chosen = {**(found.declaration.variants[variant].overrides if variant else {}), **overrides}
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-S", f"profile={profile}"]
    listed = (values.get(chapter_id) or {}).get(profile) or {}
    for key, value in chosen.items():
        sign = "" if key in listed else "+"
        command += ["-S", f"{sign}{chapter_id}.{profile}.{key}={json.dumps(value)}"]
    environment = {
        **os.environ,
        **runtime.QUIET,
        "DLBOOKS_HOME": str(runtime.home()),
        "DLBOOKS_RECIPE": json.dumps({"variant": variant, "overrides": overrides}),
    }
    return subprocess.call([*command, chapter_id], cwd=runtime.root(), env=environment)
