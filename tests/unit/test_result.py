"""result.json: complete, finite, documented, and refused with a clear message when it is not ours."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from result_fixture import LENET, example_chip, example_dict, example_result

from crosstile.errors import CrosstileError
from crosstile.mapping.plan import Activity, plan_layer
from crosstile.study import result as result_module
from crosstile.study.result import LayerActivity, LayerResult, Result, result_schema


def changed(path: str, value: object) -> dict[str, Any]:
    data = example_dict()
    node: Any = data
    *parents, leaf = path.split(".")
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    node[leaf] = value
    return data


def test_a_result_survives_the_file_unchanged(tmp_path: Path) -> None:
    result = example_result()
    path = tmp_path / "result.json"
    path.write_text(result.to_json(), encoding="utf-8")
    assert Result.from_json(path) == result
    assert Result.from_json(path).to_json() == result.to_json()


def test_the_file_has_a_format_and_utc_time() -> None:
    data = json.loads(example_result(created="2025-01-02T05:04:05.678+02:00").to_json())
    assert data["format"] == "crosstile-result/1"
    assert data["created"] == "2025-01-02T03:04:05Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        example_result(created="2025-01-02T03:04:05")


def test_the_committed_schema_is_the_current_one() -> None:
    committed = files("crosstile").joinpath("library/schemas/result.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == result_schema(), (
        "the schema changed: write result_schema() to library/schemas/result.schema.json"
    )


def test_the_schema_is_valid_accepts_results_and_refuses_others() -> None:
    validator = jsonschema.Draft202012Validator(result_schema())
    validator.check_schema(result_schema())
    data = json.loads(example_result().to_json())
    validator.validate(data)
    data["cost"]["cost_of_coffee"] = 3
    with pytest.raises(jsonschema.ValidationError, match="cost_of_coffee"):
        validator.validate(data)


def test_the_schema_documents_fields_and_requires_the_contract() -> None:
    cost = result_schema()["$defs"]["Cost"]
    wanted = {"energy_j", "latency_s", "area_m2", "edp_js", "edap", "tops_per_w", "tops_per_mm2"}
    assert wanted <= set(cost["required"])
    assert "J s m2" in cost["properties"]["edap"]["description"]


@pytest.mark.parametrize("name", ["energy_j", "latency_s", "area_m2", "edp_js", "edap", "tops_per_w"])
def test_contract_figures_cannot_be_left_out(name: str) -> None:
    data = example_dict()
    del data["cost"][name]
    with pytest.raises(ValidationError, match=name):
        Result.model_validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cost.energy_j", float("inf")),
        ("accuracy.mean", float("nan")),
        ("chip.array.read_time_s", float("nan")),
        ("layers.0.energy_by_component.adc", float("-inf")),
        ("accuracy.mean", 1.2),
        ("accuracy.ci95", [0.9, 0.8]),
        ("layers.0.engine", "magic"),
        ("layers.0.conductance.target", [1, 2]),
        ("trials", 0),
        ("surprise", 1),
    ],
)
def test_wrong_values_are_refused(path: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Result.model_validate(changed(path, value))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), None])
def test_a_ratio_that_is_not_finite_becomes_null(value: float | None) -> None:
    result = Result.model_validate(changed("layers.0.snr_db", value))
    assert result.layers[0].snr_db is None
    assert "Infinity" not in result.to_json()
    assert "NaN" not in result.to_json()


def test_results_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        example_result().seed = 1  # type: ignore[misc]


def test_activity_has_the_fields_of_the_plan_and_takes_it_as_it_is() -> None:
    assert set(LayerActivity.model_fields) == {field.name for field in dataclasses.fields(Activity)}
    activity = plan_layer(LENET[0], example_chip()).activity
    layer = LayerResult.model_validate(example_dict()["layers"][0] | {"activity": activity})
    assert layer.activity.adc_conversions == activity.adc_conversions


def test_the_estimate_maps_onto_the_result() -> None:
    report = pytest.importorskip("crosstile.cost.report")
    layer = {field.name: 1.0 for field in dataclasses.fields(report.LayerCost)}
    costs = result_module.layer_costs_from_estimate(
        layer | {"limited_by": "array", "energy_by_component_j": {"adc": 1.0}}
    )
    assert set(costs) <= set(LayerResult.model_fields)
    assert costs["latency_by_part_s"]["chip_io"] == 1.0
    numbers = {field.name: 1 for field in dataclasses.fields(report.CostReport)}
    part = {field.name: 1 for field in dataclasses.fields(report.ComponentCost)}
    words = {"name": "adc", "role": "adc", "component": "x", "source": "some work", "tag": "assumed"}
    estimate: dict[str, Any] = numbers | {
        "schedule": "pipelined", "chip": "c", "notes": [], "layers": [], "ops": 84, "edap_jsm2": 5.0,
        "throughput_hz": 7.0, "cell_utilisation": 0.25, "components": [part | words],
    }  # fmt: skip
    cost = result_module.cost_from_estimate(estimate)
    assert (cost.macs, cost.edap, cost.throughput_per_s, cost.utilisation) == (42, 5.0, 7.0, 0.25)
    assert result_module.components_from_estimate(estimate)[0].tag == "assumed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a crosstile-result/1"),
        ("{", "not a crosstile-result/1"),
        ("[]", "not a crosstile-result/1"),
        ("[" * 100_000, "not a crosstile-result/1"),
        ('{"format": "crosstile-result/9"}', "format"),
        ("\udcff", "not a crosstile-result/1"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CrosstileError, match=message) as caught:
        Result.from_json(path)
    assert "other.json" in str(caught.value)


def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.json"
    text = example_result().to_json().replace('"seed": 7', '"seed": NaN')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CrosstileError, match="seed"):
        Result.from_json(path)


def test_missing_directory_and_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CrosstileError, match="cannot be read"):
        Result.from_json(tmp_path / "absent.json")
    with pytest.raises(CrosstileError, match="cannot be read"):
        Result.from_json(tmp_path)
    path = tmp_path / "large.json"
    path.write_text(example_result().to_json(), encoding="utf-8")
    monkeypatch.setattr(result_module, "MAX_BYTES", 1000)
    with pytest.raises(CrosstileError, match="at most 1000"):
        Result.from_json(path)
