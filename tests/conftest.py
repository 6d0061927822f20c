import os

import pytest

from dlbooks import runtime

os.environ.update(runtime.environment("mini"))


@pytest.fixture(scope="session", autouse=True)
def threads():
    """Whichever test runs the first operation: threads and determinism are those of profile ``mini``, and cannot be changed afterwards."""
    runtime.load_tensorflow()
    runtime.prepare("mini", 0)
