"""One DVC stage on a worker, as a Prefect flow: the rebuild submits it, ``dlbooks worker`` runs it in a workspace of its own."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from prefect import flow
from prefect.states import Completed, Failed

from dlbooks import UserError, rebuild, worker, workspace


@flow(name="stage", flow_run_name="{target}", persist_result=False)
def stage(target: str, snapshot: str, entries: dict, producers: list[str], force: bool = False, shared: bool = False):
    """Lets DVC run one stage of a snapshot. ``entries`` are those of ``dvc.lock`` that it needs; its own new one is the state's message."""
    from dvc.exceptions import DvcException

    try:
        return Completed(message=json.dumps(workspace.run(target, snapshot, entries, producers, force, shared)))
    except DvcException as error:
        return Failed(message=worker.last_words() or rebuild.dvc_message(error))
    except UserError as error:
        return Failed(message=str(error))
    except Exception:
        traceback.print_exc()  # into the stage's log
        raise
