"""Silence the messages of libraries; errors and the output of Winnow stay."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    import transformers  # heavy: commands import this module first

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no types here
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the same
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("pytorch_lightning", "lightning_fabric", "torchmetrics"):
        warnings.filterwarnings("ignore", module=name)


def limit_kernel_cache() -> None:
    """Limit the CPU kernels that oneDNN caches, one for each shape of a batch, unless the user has set a limit.

    The default is 1024 kernels of some megabytes: batches of many lengths took 5.8 GB after 400 steps of a small model.
    Rebuilding a kernel costs no measurable time. Call this before the first computation, which reads the environment.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
