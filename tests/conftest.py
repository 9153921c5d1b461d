"""Fixtures of all tests. Caches are in a temporary folder; the network is off."""

# ruff: noqa: E402 -- the environment is set before the libraries that read it are imported

import os
import shutil
import signal
import tempfile

# Before any import of datasets or transformers, which read these once; commands run by tests inherit them.
_CACHE = tempfile.mkdtemp(prefix="winnow-tests-")
os.environ |= {
    "HF_HOME": _CACHE,
    "HF_DATASETS_CACHE": f"{_CACHE}/datasets",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HYPOTHESIS_STORAGE_DIRECTORY": f"{_CACHE}/hypothesis",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.pop("HYDRA_FULL_ERROR", None)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl-C
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it

import copy
import functools
import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import hypothesis
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from winnow.config.resolve import run_config
from winnow.config.run import RunConfig
from winnow.engine.library import instruction_set, library
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.quiet import quiet_libraries

hypothesis.settings.register_profile("winnow", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("winnow")
quiet_libraries()
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each worker has a core
datasets.disable_progress_bars()
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def pytest_collection_finish() -> None:
    gc.freeze()  # else each collection visits all objects of the libraries, a tenth of the time


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def sparse_engine() -> str:
    """The instruction set of the sparse engine, which is compiled once; without it the test is skipped."""
    try:
        return instruction_set(library())
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def each_yaml_text_is_parsed_once() -> Iterator[None]:
    """Hydra parses all files again for each composition, which is a fifth of its time."""
    parse, parsed = OmegaConf.load, {}

    def load(file: Any) -> Any:
        if not hasattr(file, "read"):
            return parse(file)
        text = file.read()
        file.seek(0)
        if text not in parsed:
            parsed[text] = parse(file)
        return copy.deepcopy(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load)
        yield


@pytest.fixture(scope="session")
def hydra_compose() -> Iterator[Callable[..., Any]]:
    """What Hydra composes of a command line."""

    @functools.cache
    def composed(*overrides: str) -> Any:
        GlobalHydra.instance().clear()
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            return compose("train", overrides=list(overrides))

    yield composed
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session")
def configured(hydra_compose: Callable[..., Any]) -> Callable[..., RunConfig]:
    """The configuration of a run, from its overrides."""
    return lambda *overrides: run_config(hydra_compose(*overrides), overrides)
