from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import cobre
from support import EXAMPLE, case_directory, copy_case, edit_json


def test_example_case(example: cobre.Case) -> None:
    assert (example.name, example.stages) == ("four_reservoirs", 12)
    assert example.states == [f"storage:{hydro}" for hydro in range(4)]
    assert example.initial_state["storage:0"] == 59419.3
    assert example.config["training"]["forward_passes"] == 4
    assert example.summary["stages"] == 12
    assert example.summary["hydros"] == 4
    assert {"buses", "hydros", "lines", "thermals"} <= set(example.tables)
    assert example.tables["hydros"].num_rows == 4
    assert "four_reservoirs" in repr(example)
    assert "<table>" in example._repr_html_()


def test_overrides_change_the_configuration_and_not_the_problem(example: cobre.Case) -> None:
    other = cobre.Case.load(EXAMPLE, {"training": {"forward_passes": 8}})
    assert other.config["training"]["forward_passes"] == 8
    assert other.config["training"]["stopping_rules"] == example.config["training"]["stopping_rules"]
    assert other.problem_sha256 == example.problem_sha256
    again = other.with_overrides({"simulation": {"num_scenarios": 3}})
    assert again.config["training"]["forward_passes"] == 8
    assert again.config["simulation"]["num_scenarios"] == 3


def test_cases_survive_pickle() -> None:
    case = cobre.Case.load(EXAMPLE, {"training": {"forward_passes": 8}})
    twin = pickle.loads(pickle.dumps(case))  # noqa: S301
    assert twin.config == case.config
    assert twin.problem_sha256 == case.problem_sha256


def test_the_order_of_entities_does_not_matter(example: cobre.Case, tmp_path: Path) -> None:
    path = copy_case(EXAMPLE, tmp_path / "case")
    edit_json(path / "system" / "hydros.json", lambda content: content["hydros"].reverse())
    edit_json(path / "system" / "thermals.json", lambda content: content["thermals"].reverse())
    assert cobre.Case.load(path).problem_sha256 == example.problem_sha256


def test_five_mistakes_are_reported_together(tmp_path: Path) -> None:
    path = copy_case(EXAMPLE, tmp_path / "case")

    def misspell(content: Any) -> None:  # noqa: ANN401
        content["training"]["forward_pases"] = content["training"].pop("forward_passes")

    edit_json(path / "config.json", misspell)
    edit_json(path / "stages.json", lambda content: content["stages"][3].update(num_scenarios=0))
    edit_json(path / "system" / "thermals.json", lambda content: content["thermals"][5].update(bus_id=77))
    edit_json(
        path / "system" / "hydros.json",
        lambda content: content["hydros"][1]["reservoir"].update(min_storage_hm3=1e9),
    )
    edit_json(path / "penalties.json", lambda content: content["line"].update(exchange_cost="cheap"))

    problems = cobre.Case.validate(path)
    found = {problem.file: problem for problem in problems}
    assert {"config.json", "stages.json", "system/thermals.json", "penalties.json"} <= set(found)
    assert "system/hydros.json" in found
    misspelt = next(problem for problem in problems if "forward_pases" in str(problem))
    assert misspelt.suggestion is not None
    assert "forward_passes" in misspelt.suggestion
    assert "77" in str(found["system/thermals.json"])
    assert "num_scenarios" in str(found["stages.json"])
    assert "exchange_cost" in str(found["penalties.json"])
    assert "storage" in str(found["system/hydros.json"])

    with pytest.raises(cobre.ValidationError) as caught:
        cobre.Case.load(path)
    assert caught.value.problems == problems
    for problem in problems:
        assert str(problem) in str(caught.value)


def test_unsupported_features_are_refused_by_name() -> None:
    problems = cobre.Case.validate(case_directory("d06-fpha-variable-head"))
    text = "\n".join(map(str, problems))
    assert "fpha" in text.lower()
    assert any(problem.file == "system/hydro_production_models.json" for problem in problems)


def test_a_valid_case_has_no_problems() -> None:
    assert cobre.Case.validate(EXAMPLE) == []
    assert cobre.Case.validate(case_directory("4ree")) == []


def test_missing_files_are_named(tmp_path: Path) -> None:
    (nothing,) = cobre.Case.validate(tmp_path / "nowhere")
    assert nothing.kind == "MissingFile"
    path = copy_case(EXAMPLE, tmp_path / "case")
    (path / "penalties.json").unlink()
    (path / "system" / "lines.json").unlink()
    problems = cobre.Case.validate(path)
    assert {problem.file for problem in problems} == {"penalties.json", "system/lines.json"}
    assert {problem.kind for problem in problems} == {"MissingFile"}


def test_files_that_are_no_json_are_named(tmp_path: Path) -> None:
    path = copy_case(EXAMPLE, tmp_path / "case")
    (path / "config.json").write_text("{ not json")
    (path / "scenarios" / "load_seasonal_stats.parquet").write_bytes(b"not parquet")
    problems = {problem.file: problem for problem in cobre.Case.validate(path)}
    assert problems["config.json"].kind == "ParseError"
    assert problems["scenarios/load_seasonal_stats.parquet"].kind == "ParseError"


def test_overrides_are_validated_like_the_file() -> None:
    (problem,) = cobre.Case.validate(EXAMPLE, {"trainning": {"forward_passes": 8}})
    assert problem.file == "config.json"
    assert "training" in (problem.suggestion or "")
    with pytest.raises(TypeError, match="JSON"):
        cobre.Case.load(EXAMPLE, {"training": {1, 2}})
    with pytest.raises(TypeError, match="mapping"):
        cobre.Case.load(EXAMPLE, [1])  # type: ignore[arg-type]
