import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from winnow.config.numbered import is_recipe, runnable
from winnow.config.sweep_values import listed
from winnow.errors import UserError
from winnow.files.conf_folder import CONF


@pytest.fixture(scope="module")
def loader():
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("recipe=glob(oneshot9*)", "recipe=oneshot90,oneshot95,oneshot97,oneshot99"),
        ("recipe=glob([quant,ptq,cyclic*],exclude=[cyclic80,cyclic90])", "recipe=cyclic95,cyclic97,cyclic99,ptq,quant"),
        ("recipe=glob(layers?)", "recipe=layers1,layers3,layers6,layers9"),
        ("recipe=glob(transfer*0)", "recipe=transfer80,transfer90"),
        ("recipe=choice(dense,prune80)", "recipe=dense,prune80"),
        ("teacher=glob(*,exclude=[c*,t*])", "teacher=dense,none,self"),
        ("task=glob(demo*)", "task=demo,demo_entities,demo_questions"),
        ("modifier@recipe.pruning=glob(g*)", "modifier@recipe.pruning=gmp"),
        ("seed=range(1,4)", "seed=1,2,3"),
        ("seed=sort(3,1,2,reverse=true)", "seed=3,2,1"),
        ("recipe.num_epochs=sort(range(1,7,2),reverse=true)", "recipe.num_epochs=5,3,1"),
        ("recipe.pruning.final_sparsity=range(0.5,0.75,0.1)", "recipe.pruning.final_sparsity=0.5,0.6,0.7"),
        ("+recipe.x=choice('a,b',c)", r"+recipe.x=a\,b,c"),
        ("seed=1,2", "seed=1,2"),
        ("task.data.path='a,b'", "task.data.path='a,b'"),
        ("task.metrics=[f1,accuracy]", "task.metrics=[f1,accuracy]"),
        ("~recipe.x", "~recipe.x"),
    ],
)
def test_a_sweep_becomes_a_plain_list_and_other_overrides_stay(loader, typed, values):
    assert listed([typed], loader) == [values]


def test_a_shuffled_sweep_has_the_values_of_its_range(loader):
    name, _, values = listed(["seed=shuffle(range(1,9))"], loader)[0].partition("=")
    assert name == "seed"
    assert sorted(values.split(",")) == list("12345678")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("recipe=glob(onehsot9*)", r"^recipe=glob\(onehsot9\*\) matches no recipe\. There are .*oneshot<N>"),
        ("task=glob(x*)", r"^task=glob\(x\*\) matches no task\. There are cola, "),
        ("seed=glob(*)", r"^seed=glob\(\*\): glob\(\) chooses files of an option, such as recipe; seed is none\.$"),
        ("recipe.num_epochs=interval(1,3)", r"^recipe\.num_epochs=interval\(1,3\): an interval has no list of values;"),
        ("seed=range(3,3)", r"^seed=range\(3,3\): there is no value in it; a sweep needs one or more\.$"),
    ],
)
def test_a_sweep_without_values_is_refused(loader, typed, message):
    with pytest.raises(UserError, match=message):
        listed([typed], loader)


def test_a_pattern_matches_only_recipes_that_run_as_they_are():
    files = [path.stem for path in (CONF / "recipe").glob("*.yaml")]
    names = runnable(files)
    assert all(map(is_recipe, names))
    assert {"dense", "quant", "transfer", "prune80", "layers6_prune97_18of30"} <= set(names)
    assert not {"prune", "oneshot", "layers"} & set(names)


def test_a_recipe_of_the_user_is_matched_by_its_own_name():
    assert runnable(["mine", "prune_slow"]) == ["mine", "prune_slow"]
