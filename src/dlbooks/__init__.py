"""Deep-learning books that run: every chapter a reproducible pipeline run.

This package imports nothing heavy: TensorFlow, MLflow, Prefect and DVC are loaded where they are used.
"""

__version__ = "0.1.0"


class UserError(Exception):
    """A mistake of the person at the keyboard: shown as one line, without a traceback, exit code 2.

    The message names what is wrong (key, file, line, URL) and what would be right.
    """
