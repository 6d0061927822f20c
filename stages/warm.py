"""The warm process of a rebuild: imports the third-party packages once, then forks a child for every stage.

``python stages/warm.py SOCKET`` listens on a Unix socket. It imports none of the project's own code: every child imports that afresh, as
the files stand. It has run no TensorFlow operation, so a child's weights equal a fresh process's bit for bit.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from dlbooks import runtime, warm  # standard library only

PACKAGES = (
    "numpy tensorflow keras matplotlib.pyplot PIL.Image pydantic ruamel.yaml requests tqdm sklearn.metrics pandas "
    "mlflow mlflow.tensorflow mlflow.models mlflow.pyfunc mlflow.store.tracking.sqlalchemy_store "
    "prefect prefect.flows prefect.tasks prefect.artifacts prefect.flow_engine prefect.task_engine prefect.cache_policies "
    "mlflow.store.model_registry.sqlalchemy_workspace_store mlflow.tracing.processor.otel "
    "mlflow.store.tracking.sqlalchemy_workspace_store mlflow.tracing.export mlflow.models.display_utils alembic.command git graphviz "
    "dvc.repo dvc.stage dvc.dvcfile dvc.cachemgr dvc.stage.cache dvc.data_cloud dvc.scm dvc.lock dvc.rwlock dvc.utils.strictyaml "
    "dvc.repo.artifacts dvc.repo.datasets dvc.repo.metrics dvc.repo.params dvc.repo.plots dvc.repo.stage scmrepo.git configobj "
    "dvc_data.hashfile.checkout dvc_data.hashfile.db.local dvc_data.hashfile.status dvc_objects.fs.local fsspec.implementations.memory "
    "sqlalchemy.dialects.sqlite opentelemetry.sdk.metrics anyio._backends._asyncio prefect.utilities.visualization pydantic.v1 "
    "matplotlib.backends.backend_agg PIL.BmpImagePlugin PIL.GifImagePlugin PIL.JpegImagePlugin PIL.PngImagePlugin PIL.PpmImagePlugin "
    "jinja2 markdown_it latex2mathml.converter"
).split()


def serve(path: str) -> None:
    """Forks a child per request until it is ended."""
    with runtime.hushed():
        for name in PACKAGES:
            importlib.import_module(name)
        settle()
    for name in [n for n in sys.modules if n.partition(".")[0] == "dlbooks"]:
        del sys.modules[name]  # a child imports the project's code as the files then stand
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children report for themselves
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(path)
        os.chmod(path, 0o600)
        door.listen(64)
        while True:
            line, _ = door.accept()
            if os.fork() == 0:
                door.close()
                child(line)
            line.close()


def settle() -> None:
    """Does what packages put off until it is needed first, and every child would do anew, at a quarter of a second."""
    import pydantic
    import sqlalchemy.orm

    inspect.getmodule(inspect.currentframe())  # fills a cache
    sqlalchemy.orm.configure_mappers()
    for model in subclasses(pydantic.BaseModel):
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def subclasses(of: type) -> set[type]:
    return {part for found in of.__subclasses__() for part in (found, *subclasses(found))}


def child(line: socket.socket) -> None:
    """Takes over the client's folder, environment and streams, runs the stage, answers with its exit code."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)
        wanted = warm.request(line)
        os.chdir(wanted["folder"])
        os.environ.clear()
        os.environ.update(wanted["environment"])
        sys.path[0] = os.path.join(wanted["folder"], "src")
        sys.argv = ["dlbooks.stage", *wanted["command"]]
        threading.Thread(target=end_with_client, args=(line,), daemon=True).start()
        from dlbooks.stage import main

        code = main(wanted["command"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            import atexit

            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            line.sendall((code & 0xFF).to_bytes(4, "little"))
        os._exit(code)


def end_with_client(line: socket.socket) -> None:
    """A closed line means that the client was interrupted or killed: interrupt the stage, and after ten seconds end it."""
    select.select([line], [], [])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1])
