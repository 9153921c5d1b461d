from winnow.deployment.kept_columns import KeptColumns


def test_a_column_named_like_a_field_of_the_answer_gets_another_name():
    kept = KeptColumns(["text", "label"])
    assert kept.renamed({"label": 1, "id": 2}) == {"input_label": 1, "id": 2}


def test_the_new_name_is_not_that_of_another_column():
    kept = KeptColumns(["label"])
    assert kept.renamed({"label": 1, "input_label": 2}) == {"input_input_label": 1, "input_label": 2}


def test_a_column_has_the_same_name_in_all_answers():
    kept = KeptColumns(["label"])
    assert kept.renamed({"label": 1}) == {"input_label": 1}
    assert kept.renamed({"input_label": 2, "label": 3}) == {"input_input_label": 2, "input_label": 3}
    assert kept.renamed({"input_label": 4}) == {"input_input_label": 4}
