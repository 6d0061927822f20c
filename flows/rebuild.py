"""The scheduled rebuild: DVC says what is stale, Prefect's workers run it in parallel, ``dvc.lock`` becomes that of a serial ``dvc repro``.

A deployment of this flow runs in the checkout (pool ``main``) and sends its stages to the pools of ``pools``; without any it starts a server-side
pool and a worker of its own, as ``make repro`` does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from prefect import flow
from prefect.states import Completed, Failed

from dlbooks import rebuild as rebuilding


@flow(name="rebuild", persist_result=False)
def rebuild(
    targets: list[str] | None = None,
    profile: Literal["", "mini", "book", "smoke"] = "",
    force: bool = False,
    pools: dict[str, str] | None = None,
    jobs: int = 0,
    keep_going: bool = True,
):
    """Rebuilds what changed.

    ``targets``: stages, with what they need; all if none. ``profile``: another one than in ``params.yaml`` is rebuilt in a checkout of its own
    below ``.dlbooks``, with a ``dvc.lock`` of its own. ``force``: run although nothing changed. ``pools``: work pool of each hardware class,
    such as ``{"cpu": "cpu", "gpu": "gpu"}``. ``jobs``: stages at a time on this machine, where no pools are given. ``keep_going``: after a
    failure, still run what does not depend on it.
    """
    code = rebuilding.repro(targets or [], force, jobs, pools, keep_going, profile)
    return Failed(message="stages failed: see the artifact `rebuild`") if code else Completed(message="up to date")


if __name__ == "__main__":
    rebuild()
