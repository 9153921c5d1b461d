"""Silence for what libraries say of themselves; errors and our own words stay."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric", "torchmetrics"):
        warnings.filterwarnings("ignore", module=name)


def limit_kernel_cache() -> None:
    """Let oneDNN keep few of the kernels that it builds for each shape of a batch on a CPU; a user's own limit stays.

    It keeps 1024 by default, some megabytes each: windows of many lengths took 5.8 GB after 400 steps of a small model.
    To be called before the first computation, which reads the environment. Building a kernel anew costs nothing that
    can be measured.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
