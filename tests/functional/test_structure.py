import pytest

from winnow.functional.structure import Structure, zeros_count


@pytest.mark.parametrize(
    ("numel", "sparsity", "zeros"),
    [
        (768 * 768, 0.8, 471_859),
        (3072 * 768, 0.8, 1_887_437),
        (2 * 768, 0.8, 1_229),
        (10, 0.25, 2),
        (10, 0.35, 4),
        (10, 0.05, 0),
        (10, 0.15, 2),
        (10, 0.0, 0),
        (1, 0.8, 1),
    ],
)
def test_the_number_of_zeros_is_rounded_half_to_even(numel, sparsity, zeros):
    assert zeros_count(numel, sparsity) == zeros


def test_bert_base_at_80_percent_has_the_published_number_of_zeros():
    matrices = 12 * [768 * 768] * 4 + 12 * [3072 * 768] * 2
    assert len(matrices) == 72
    assert sum(zeros_count(numel, 0.8) for numel in matrices) == 67_947_720


@pytest.mark.parametrize("value", ["block4", "[1,4]", "[1, 4]", [1, 4]])
def test_blocks_of_four_are_spelled_in_two_ways(value):
    assert Structure.parse(value) == Structure(block=4)
    assert str(Structure.parse(value)) == "block4"


@pytest.mark.parametrize(
    ("value", "kept", "group"), [("2:4", 2, 4), (124, 2, 4), ("1:16", 1, 16), (62, 1, 2), ("15:16", 15, 16)]
)
def test_a_pattern_is_read_also_as_the_number_that_yaml_takes_it_for(value, kept, group):
    structure = Structure.parse(value)
    assert (structure.kept, structure.group, structure.width) == (kept, group, group)
    assert structure.sparsity == 1 - kept / group
    assert str(structure) == f"{kept}:{group}"


def test_without_a_structure_each_weight_stands_alone():
    structure = Structure.parse("unstructured")
    assert (structure.width, structure.sparsity, str(structure)) == (1, None, "unstructured")


@pytest.mark.parametrize(
    "value", ["4:2", "2:2", "0:4", "2:17", "block8", "[4,1]", [4, 1], [1, 8], "2-4", "", None, True, 4, 2.4, "semi"]
)
def test_what_is_no_structure_is_refused(value):
    with pytest.raises(ValueError, match="not a structure"):
        Structure.parse(value)


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.25, 8), (0.35, 16), (0.05, 0), (0.15, 8)])
def test_the_zeros_of_blocks_are_four_times_the_rounded_number_of_blocks(sparsity, zeros):
    assert Structure(block=4).zeros(40, sparsity) == zeros
