import importlib.resources
import json
import math

import pytest

from headpose.errors import RecipeError
from headpose.networks.spec import parameters
from headpose.recipes import training as recipe
from headpose.recipes.training import OptimiserRecipe
from headpose.training import schedule


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_that_ships_is_whole(name):
    settings = recipe.load(name)
    assert settings.name == name
    assert parameters(settings.spec) > 0


def test_the_papers_baseline_is_the_papers():
    settings = recipe.load("paper-baseline")
    spec = settings.network.build()
    assert parameters(spec) * 4 / 1e6 == pytest.approx(99.2, rel=0.01)  # Table 1
    assert (spec.head, spec.output, settings.crop.size) == ((512, 128), "euler", 224)
    assert (settings.optimiser.kind, settings.optimiser.momentum) == ("sgd", 0.09)


def test_compact_stays_below_five_megabytes():
    assert parameters(recipe.load("compact").network.build()) * 4 < 4.96e6


def test_a_recipe_survives_its_json():
    settings = recipe.load("compact")
    assert recipe.from_dict(json.loads(settings.to_json())) == settings


def test_shares_of_all_sources_may_have_any_sum():
    sources = "data.sources=[{kind='manifest', path='a', share=3.0}, {kind='manifest', path='b', share=1.0}]"
    assert [source.share for source in recipe.load("compact", [sources]).data.sources] == [3.0, 1.0]


@pytest.mark.parametrize("change", ["data.density.max_repeats=2", "data.sources.0.share=1"])
def test_a_classifier_has_no_density_of_poses(change):
    with pytest.raises(RecipeError, match=r"^recipe: data\.density and .*\.share are for tasks with faces$"):
        recipe.load("digits", [change])


def test_overrides_reach_every_depth():
    changed = recipe.load(
        "compact", ["run.images=5000", "data.sources.1.path=elsewhere", "optimiser.rate=1", "run.bf16=off"]
    )
    assert changed.run.images == 5000
    assert changed.data.sources[1].path == "elsewhere"
    assert changed.optimiser.rate == 1.0
    assert changed.run.bf16 == "off"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.imagse=5", "imagse"),
        ("crop.sice=5", "sice"),
        ("run.batch='many'", "run.batch"),
        ("run.batch", "key=value"),
        ("data.sources.7.path=x", "7"),
        (
            "data.sources=[{kind='manifest', path='a', share=0.5, repeat=2.0}]",
            "data.sources.0 has both share and repeat",
        ),
        (
            "data.sources=[{kind='manifest', path='a', share=1.0}, {kind='manifest', path='b'}]",
            "data.sources have shares that sum to 1 and leave nothing",
        ),
        ("augment.flip=1.5", "augment.flip must be a number from 0 to 1; got 1.5"),
        ("crop.size=4", "crop.size"),
        ("network.depths=[2,2]", "stage"),
        ("run.images=0", "run.images"),
        ("optimiser.rate=true", "number"),
        ("run.images=5\nrun.batch=2", "run.images must be a whole number"),  # not the first line alone
        ("run.growing=[{size=64,until=900_000}]", "run.growing"),
        ("run.growing=[{size=64,until=200},{size=96,until=100}]", "run.growing"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(override, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.load("compact", [override])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_the_known(tmp_path):
    with pytest.raises(RecipeError, match="compact"):
        recipe.load("no-such-recipe")
    for name, text in (("broken.toml", "name = "), ("broken.json", "{"), ("list.json", "[1]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(RecipeError, match="is not a recipe"):
            recipe.load(str(tmp_path / name))


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path):
    text = (importlib.resources.files("headpose.recipes") / "compact.toml").read_text("utf-8")
    (tmp_path / "windows.toml").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert recipe.load(str(tmp_path / "windows.toml")) == recipe.load("compact")


def test_the_recipe_of_a_run_is_a_recipe(tmp_path):
    settings = recipe.load("compact", ["run.seed=3"])
    (tmp_path / "recipe.json").write_text(settings.to_json())
    assert recipe.load(str(tmp_path / "recipe.json")) == settings
    assert recipe.load(str(tmp_path / "recipe.json"), ["augment.blur=0.5"]).augment.blur == 0.5


def test_a_network_may_be_given_block_by_block():
    settings = recipe.load("compact")
    values = json.loads(settings.to_json())
    values["network"] = settings.spec.to_dict()
    again = recipe.from_dict(values)
    assert again.spec == settings.spec
    assert recipe.from_dict(json.loads(again.to_json())) == again
    with pytest.raises(RecipeError, match="inner"):
        values["network"]["stages"][0][0]["inner"] = []
        recipe.from_dict(values)


def test_a_stepwise_rate_falls_tenfold_at_each_drop():
    settings = OptimiserRecipe(rate=0.1, schedule="steps", drops=(0.2, 0.5), warmup=0)
    rates = [schedule.rate(settings, seen, 100) for seen in (0, 19, 20, 49, 50, 100)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    with pytest.raises(RecipeError, match="drops"):
        recipe.load("compact", ["optimiser.drops=[0.5, 0.2]"])


def test_hyperbolic_tangent_decay_is_the_papers():
    settings = OptimiserRecipe(rate=0.1, schedule="htd", warmup=0)
    at = [schedule.rate(settings, seen, 100) for seen in (0, 50, 100)]
    # Hsueh et al., eq. 2 with L = -6, U = 3: flat at first, then down to (1 - tanh 3) / 2.
    expected = [0.05 * (1 - math.tanh(v)) for v in (-6.0, -1.5, 3.0)]
    assert at == pytest.approx(expected)
    assert at[0] == pytest.approx(0.1, rel=1e-4)
    assert at[2] < 0.0003


def test_cosine_falls_to_zero_after_the_warmup():
    settings = OptimiserRecipe(rate=1.0, warmup=10)
    rates = [schedule.rate(settings, seen, 100) for seen in range(101)]
    assert rates.index(max(rates)) == 9
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_a_run_that_goes_on_keeps_its_recipe(tmp_path):
    began = recipe.load("compact", ["run.images=5000"])
    (tmp_path / "recipe.json").write_text(began.to_json())
    assert recipe.load_saved(tmp_path / "recipe.json") == began
    moved = recipe.load_saved(tmp_path / "recipe.json", ["run.workers=1", "data.sources.0.path=moved.csv"])
    assert (moved.run.workers, moved.data.sources[0].path, moved.run.images) == (1, "moved.csv", 5000)
    with pytest.raises(RecipeError, match="another run"):
        recipe.load_saved(tmp_path / "recipe.json", ["run.images=6000"])
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        recipe.load_saved(tmp_path / "recipe.json")
