import pytest

from winnow.tasks.alike_labels import note_alike


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ("Pos\u200b", "Pos\\u200b"),
        ("pos", "pos"),
        ("P os", "P os"),
        ("\uff30os", "\uff30os"),
    ],
)
def test_labels_that_look_alike_are_noted(capsys, other, shown):
    note_alike(["Pos", "neg", other], "label")
    message = f"note: some labels of 'label' look alike but are different classes: 'Pos' and '{shown}'.\n"
    assert capsys.readouterr().err == message


def test_accents_of_two_forms_are_shown(capsys):
    note_alike(["caf\u00e9", "cafe\u0301"], "label")
    assert "'caf\u00e9' and 'cafe\\u0301'" in capsys.readouterr().err


def test_other_labels_are_not_noted(capsys):
    note_alike(["1", "1.0", "01", "pos", "positive", "caf\u00e9", "cafe"], "label")
    assert capsys.readouterr().err == ""
