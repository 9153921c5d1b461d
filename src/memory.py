"""Memory that training takes beside the model and its batches."""

import os


def limit_kernel_cache() -> None:
    """Let oneDNN keep few of the kernels that it builds for each shape of a batch on a CPU; a user's own limit stays.

    It keeps 1024 by default, some megabytes each: windows of many lengths took 5.8 GB after 400 steps of a small model.
    To be called before the first computation, which reads the environment. Building a kernel anew costs nothing that
    can be measured.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
