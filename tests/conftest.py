import os

from dlbooks import runtime

os.environ.update(runtime.environment("mini"))
