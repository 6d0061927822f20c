"""Deep-learning books that run: every chapter a reproducible pipeline run.

This package imports nothing heavy: TensorFlow, MLflow, Prefect and DVC are loaded where they are used.
"""

__version__ = "0.1.0"


def load(name: str, *, alias: str = "", version: int = 0):
    """A trained chapter: its ``Run`` with ``model``, ``metrics``, ``params``, ``records(…)``, ``predict(…)``, ``history`` and ``figures``.

    By default what stands in ``data/runs``; with ``alias`` (``champion``, ``challenger``) or ``version`` that model of the MLflow registry, which has
    neither history nor figures: these are the MLflow run's. A chapter that is not there is a ``UserError`` that says how to train it.
    """
    import os

    from dlbooks import runtime

    # Before what reads them is imported.
    for key in ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL", "DO_NOT_TRACK"):
        os.environ.setdefault(key, runtime.QUIET[key])
    if alias or version:
        runtime.load_tensorflow()
        from dlbooks import registry

        return registry.run(name, alias or registry.CHAMPION, version or None)
    from dlbooks.run import trained

    return trained(name)


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one line, without a traceback, exit code 2.

    The message names what is wrong (key, file, line, URL) and what would be right.
    """
