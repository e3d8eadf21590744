from pathlib import Path

import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.planning.build_plan import BuildPlan, SplitPlan
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan


@pytest.fixture
def build_plan(decathlon_folder: Path) -> BuildPlan:
    training = TrainingConfig.for_recipe("modern", epochs=3, coarse_epochs=2)
    architecture = {"image_size": 32, "family": "hybrid", "widths": (8, 16), "stem_stride": 2}
    config = plan(open_data_set(decathlon_folder), network=None, architecture=architecture, training=training)
    return BuildPlan(
        preprocessing=config.preprocessing,
        network=config.network,
        training=training,
        mirror=True,
        split=SplitPlan(seed=3, patient=r"\d+", validation_cases=1),
        latency_ms=5,
        minutes=2.5,
        reasons={"epochs": "3: what 2.5 minutes are enough for: 10 % are left"},
    )


def test_a_plan_is_read_back_as_it_was_written(build_plan: BuildPlan, tmp_path: Path) -> None:
    path = tmp_path / "build-plan.yaml"
    build_plan.write(path)
    assert BuildPlan.read(path) == build_plan
    assert path.read_text().startswith("# What `embedded-vit build` will do.")
    with pytest.raises(OutputError, match="exists already"):
        build_plan.write(path)


def test_no_path_of_the_user_is_in_it(build_plan: BuildPlan, decathlon_folder: Path, tmp_path: Path) -> None:
    build_plan.write(tmp_path / "build-plan.yaml")
    assert str(decathlon_folder) not in (tmp_path / "build-plan.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minutes: 2.5", "minuets: 2.5", r"unknown option 'minuets' \(did you mean 'minutes'\?\)"),
        ("minutes: 2.5", "minutes: -1", "minutes: Input should be greater than 0"),
        ("patient: \\d+", "patient: '('", "not a regular expression"),
        ("image_size: 32", "image_size: 30", "network: "),
    ],
)
def test_a_changed_plan_is_checked(build_plan: BuildPlan, old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "build-plan.yaml"
    build_plan.write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message) as raised:
        BuildPlan.read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_plan_becomes_a_run_and_a_split(build_plan: BuildPlan, decathlon_folder: Path) -> None:
    data_set = open_data_set(decathlon_folder)
    config = build_plan.run_config(data_set)
    assert config.labels.mirror
    assert not data_set.labels.mirror
    assert config.labels.names == data_set.labels.names
    split = build_plan.split_of(data_set)
    assert split.seed == 3
    assert len(split.validation) == 1


def test_a_plan_for_other_data_is_refused(build_plan: BuildPlan, decathlon_folder: Path) -> None:
    data_set = open_data_set(decathlon_folder)
    other = build_plan.model_copy(update={"network": build_plan.network.model_copy(update={"classes": 3})})
    with pytest.raises(ConfigError, match="structures; the plan was made for 2; plan anew"):
        other.run_config(data_set)
    two_channels = Preprocessing.for_modality("MR", channels=("T1", "T2"), image_size=32)
    with pytest.raises(ConfigError, match="its channels are CT; the plan was made for T1, T2"):
        build_plan.model_copy(update={"preprocessing": two_channels}).run_config(data_set)
