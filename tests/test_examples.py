"""The examples do what they say, from their own command lines."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from tests.toys import BERT
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.files.conf_folder import CONF

EXAMPLES = CONF.parent / "examples"


@pytest.fixture
def model(tmp_path):
    """A model whose matrices have a whole number of weights in 80 %."""
    sizes = {"hidden_size": 40, "intermediate_size": 80}
    BertForSequenceClassification(BertConfig(**{**BERT, **sizes}, vocab_size=len(tiny_tokenizer()))).save_pretrained(
        tmp_path / "model"
    )
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [f"{'a good' if i % 2 else 'a bad'} film number {i},{i % 2}" for i in range(64)]
    (tmp_path / "data/train.csv").write_text("\n".join(["sentence,label", *rows]) + "\n")
    return tmp_path / "data"


def run(name, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def check_example(name, checkpoint, model, data, folder, capsys, *options):
    """It prunes to 80 %, and resumed from a checkpoint it ends with the same weights."""
    run(name, model, data, folder / "whole", *options)
    assert re.search(r"^80\.00% of the encoder's weights are zero: ", capsys.readouterr().out, re.MULTILINE)
    for part in ("dense", checkpoint):
        copy = shutil.copytree if (folder / "whole" / part).is_dir() else shutil.copy
        Path(folder / "resumed").mkdir(exist_ok=True)
        copy(folder / "whole" / part, folder / "resumed" / part)
    run(name, model, data, folder / "resumed", "--resume", folder / "resumed" / checkpoint, *options)
    whole, resumed = (load_file(folder / each / "pruned/model.safetensors") for each in ("whole", "resumed"))
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


@pytest.mark.filterwarnings("default")  # of libraries, as a user sees them
@pytest.mark.parametrize(
    ("name", "checkpoint"), [("own_lightning_loop", "epoch=1.ckpt"), ("transformers_trainer", "checkpoint-4")]
)
def test_it_prunes_to_80_percent_and_resumes_to_the_same_weights(name, checkpoint, model, data, tmp_path, capsys):
    check_example(name, checkpoint, model, data, tmp_path, capsys)  # after epoch 2 of 3


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (tmp_path / "notebook.py").write_text("\n".join(code))
    runpy.run_path(str(tmp_path / "notebook.py"))
    output = capsys.readouterr().out
    assert re.search(r"^80\.\d\d% of the encoder's weights are zero$", output, re.MULTILINE)
    assert "{'text': 'the plot was not dull', 'label': " in output
