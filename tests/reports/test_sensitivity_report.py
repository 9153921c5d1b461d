import json

import yaml

from winnow.reports.sensitivity_report import save_report, sensitivity_text
from winnow.training.sensitivity import Sensitivity

QUERY, OUTPUT = "bert.encoder.layer.{}.attention.self.query.weight", "bert.encoder.layer.{}.output.dense.weight"
CHOSEN = {QUERY.format(0): 0.905, OUTPUT.format(0): 0.7, OUTPUT.format(1): 0.85}
RESULT = Sensitivity(
    examples=256,
    sparsities=[0.8, 0.9],
    alone={name: [0.0, 0.02] for name in CHOSEN},
    planned=dict.fromkeys(CHOSEN, 0.8),
    chosen=CHOSEN,
    together={"planned": 0.25, "chosen": 0.125},
)


def test_the_text_has_a_row_for_each_kind_of_matrix_and_a_blank_where_a_layer_has_none():
    assert sensitivity_text(RESULT, "prune80 of run on sst2").splitlines() == [
        "prune80 of run on sst2",
        "----------------------",
        "% zeros in layer         0   1",
        "attention.self.query  90.5",
        "output.dense            70  85",
        "",
        "Divergence with all matrices pruned at once, without training, on 256 training examples: 0.250 with the "
        "sparsities of the recipe, 0.125 with these.",
    ]


def test_the_files_hold_the_mapping_the_divergences_and_a_picture(tmp_path):
    picture, mapping = save_report(RESULT, "prune80", tmp_path)
    assert yaml.safe_load(mapping.read_text()) == CHOSEN
    assert json.loads((tmp_path / "sensitivity.json").read_text())["alone"] == RESULT.alone
    assert picture.read_bytes().startswith(b"\x89PNG")
