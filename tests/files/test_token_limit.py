import json
from types import SimpleNamespace

import pytest

from winnow.errors import UserError
from winnow.files.token_limit import check_length, limit_tokenizer, saved_token_limit, token_limit

BERT = {"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (BERT, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "deberta", "max_position_embeddings": 512, "position_biased_input": True}, 512),
        ({"model_type": "esm", "max_position_embeddings": 1026, "position_embedding_type": "rotary"}, None),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({}, None),
    ],
)
def test_the_limit_is_that_of_the_positions_of_the_model(config, limit):
    assert token_limit(config) == limit


@pytest.mark.parametrize(("tokenizer", "limit"), [({}, 512), ({"model_max_length": 10**30}, 512), (None, 512)])
def test_a_tokenizer_without_a_limit_does_not_raise_that_of_the_model(tmp_path, tokenizer, limit):
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    if tokenizer is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert saved_token_limit(tmp_path) == limit


def test_a_tokenizer_with_a_smaller_limit_has_the_say(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 256}')
    assert saved_token_limit(tmp_path) == 256


@pytest.mark.parametrize(("own", "limit"), [(10**30, 512), (1024, 512), (256, 256)])
def test_a_tokenizer_cuts_texts_to_what_the_model_reads(tmp_path, own, limit):
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    tokenizer = SimpleNamespace(model_max_length=own)
    limit_tokenizer(tokenizer, tmp_path)
    assert tokenizer.model_max_length == limit


def test_a_length_above_the_limit_is_refused_with_the_limit():
    with pytest.raises(UserError, match=r"^task\.max_length=600: the model reads 512 tokens at most; set task\.max_le"):
        check_length("task.max_length", 600, 512)
    check_length("task.max_length", 512, 512)
    check_length("task.max_length", 600, None)
