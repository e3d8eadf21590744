"""From a data set to a plan, and the verb that writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from planning_bench import CLOCKS, made
from test_decisions import body

from embedded_vit.cli import plan as verb
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.planning import fingerprint as fingerprint_module
from embedded_vit.planning import planning
from embedded_vit.planning.build_plan import BuildPlan, read_budget
from embedded_vit.planning.fingerprint import fingerprint_of
from embedded_vit.planning.pace import measured_latency_ms, measured_pace
from embedded_vit.planning.planning import plan_for
from embedded_vit.planning.trial import measured_dice


def test_a_plan_says_everything_that_a_run_needs(nnunet_folder: Path) -> None:
    data_set = open_data_set(nnunet_folder)
    plan = plan_for(data_set, minutes=5, clocks=CLOCKS)
    config = plan.run_config(data_set)
    assert config.preprocessing.window_hu is not None
    assert config.preprocessing.context_slices == 3
    assert config.training.cutmix == 0
    assert config.training.epochs >= 1
    assert set(plan.split_of(data_set).test) == {case.name for case in data_set.cases if case.reserved_for_test}
    assert {"intensities", "orientation", "field_of_view", "image_size", "epochs", "mirror"} <= set(plan.reasons)
    assert plan.compression is None


def test_a_latency_that_no_size_meets_asks_for_pruning(nnunet_folder: Path) -> None:
    plan = plan_for(open_data_set(nnunet_folder), minutes=5, latency_ms=0.001, clocks=CLOCKS)
    assert plan.compression == "embedded-cpu"
    assert plan.network.image_size == 32


def test_the_plane_is_what_was_asked_for_or_what_short_trainings_say(nnunet_folder: Path) -> None:
    data_set, dice, tried = open_data_set(nnunet_folder), {"SLP": 0.5, "PLI": 0.6, "LPI": 0.4}, []
    clocks = replace(CLOCKS, dice=lambda _, plan: dice[plan.preprocessing.orientation])
    asked = plan_for(data_set, minutes=5, plane="coronal", clocks=clocks)
    assert asked.preprocessing.orientation == "PLI"
    assert "asked for" in asked.reasons["orientation"]
    measured = plan_for(data_set, minutes=5, plane="measured", clocks=clocks, on_trial=tried.append)
    assert measured.preprocessing == asked.preprocessing
    assert set(tried) >= {"axial", "coronal"}
    assert "coronal 0.600" in measured.reasons["orientation"]
    assert measured.minutes == 5
    assert measured.training.epochs < asked.training.epochs  # the trials took their share of the minutes


def test_pictures_are_not_cut_in_a_plane() -> None:
    pictures = replace(made([body(0), body(1)]), modality="picture")
    with pytest.raises(ConfigError, match="slices already"):
        plan_for(pictures, plane="coronal", clocks=CLOCKS)


def test_what_tests_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data_set = made([body(seed % 5) for seed in range(10)])
    read: list[str] = []
    real = type(data_set).read_volume
    monkeypatch.setattr(type(data_set), "read_volume", lambda self, case: (read.append(case.name), real(self, case))[1])
    plan = plan_for(data_set, clocks=CLOCKS)
    split = plan.split_of(data_set)
    assert sorted(read) == sorted(split.train + split.validation)
    assert not set(read) & set(split.test)


def test_cases_of_a_patient_stay_together_in_a_plan() -> None:
    data_set = made([body(seed % 5) for seed in range(10)])
    cases = tuple(Case(f"p{number // 2}_scan{number % 2}", "") for number in range(10))
    arrays = {case.name: pair for case, pair in zip(cases, data_set.arrays.values(), strict=True)}
    renamed = replace(data_set, cases=cases, arrays=arrays)
    plan = plan_for(renamed, patient=r"p\d", clocks=CLOCKS)
    split = plan.split_of(renamed)
    assert len({name[:2] for name in split.test} & {name[:2] for name in split.train}) == 0
    assert plan.reasons["patients"].startswith("10 cases of 5 patients")
    with pytest.raises(DataSetError, match="does not match the case"):
        plan_for(renamed, patient="q", clocks=CLOCKS)


def test_a_data_set_without_labels_is_not_planned() -> None:
    array, mask = body(0)
    with pytest.raises(DataSetError, match="no labels at all in 2 cases"):
        plan_for(made([(array, np.zeros_like(mask))] * 3), clocks=CLOCKS)


def test_cases_are_measured_once_until_their_files_change(
    nnunet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data_set = open_data_set(nnunet_folder)
    names = [case.name for case in data_set.cases]
    first = fingerprint_of(data_set, names)
    measured: list[str] = []
    real = fingerprint_module.case_figures

    def counted(volume, *others):  # type: ignore[no-untyped-def]
        measured.append(volume.source)
        return real(volume, *others)

    monkeypatch.setattr(fingerprint_module, "case_figures", counted)
    assert fingerprint_of(data_set, names).cases == first.cases
    assert measured == []
    mask = next((nnunet_folder / "labelsTr").glob("*.nii.gz"))
    content = mask.read_bytes()
    image = nibabel.load(mask)
    try:
        nibabel.save(nibabel.Nifti1Image((np.asarray(image.dataobj) > 0).astype(np.uint8), image.affine), mask)
        fingerprint_of(data_set, names)
    finally:
        mask.write_bytes(content)
    assert len(measured) == 1


def test_steps_and_latency_are_measured_on_this_computer(nnunet_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedded_vit.planning.pace.STEPS", 4)
    plan = plan_for(open_data_set(nnunet_folder), minutes=1, clocks=CLOCKS)
    config = plan.model_copy(
        update={"training": plan.training.model_copy(update={"batch_size": 2, "deep_supervision": True})}
    ).run_config(open_data_set(nnunet_folder))

    pace = measured_pace(at(config, 32), at(config, 64))
    assert 0 < pace.seconds(64) < 5
    assert 0 < measured_latency_ms(at(config, 32)) < 1000


def test_the_dice_of_a_plane_is_that_of_the_validation_patients(nnunet_folder: Path) -> None:
    data_set = open_data_set(nnunet_folder)
    plan = at(plan_for(data_set, minutes=0.5, clocks=CLOCKS), 32)
    plan = plan.model_copy(update={"training": plan.training.model_copy(update={"epochs": 1, "coarse_epochs": 0})})
    dice = measured_dice(data_set, plan)
    assert dice is not None
    assert 0 <= dice <= 1


def at(described, size: int):  # type: ignore[no-untyped-def]
    """A run or a plan, at an image size."""
    network = described.network.model_copy(update={"image_size": size})
    preprocessing = described.preprocessing.model_copy(update={"image_size": size})
    return described.model_copy(update={"network": network, "preprocessing": preprocessing})


def test_the_verb_prints_the_plan_and_writes_it(
    nnunet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "Clocks", lambda **_: CLOCKS)
    output = tmp_path / "build-plan.yaml"
    verb.command(data=nnunet_folder, output=output, budget="latency_ms=3", minutes=5)
    plan = BuildPlan.read(output)
    assert plan.latency_ms == 3
    assert plan.network.image_size <= 96
    printed = capsys.readouterr().out
    for reason in plan.reasons.values():
        assert reason in printed
    assert "liver" in printed
    assert str(nnunet_folder) not in output.read_text()


@pytest.mark.parametrize("text", ["macs=5", "latency_ms", "latency_ms=x", "latency_ms=-1", "latency_ms=inf"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        read_budget(text)
    assert read_budget("latency_ms=5") == 5
