"""Bounds that other programs found: published optima, and deterministic equivalents solved here by HiGHS."""

from __future__ import annotations

from pathlib import Path

import pytest

import cobre
from extensive_form import optimum
from support import EXAMPLE, ROOT, case_directory, edit_json, run_program, shared, truncate_case

# Expected costs in $ of examples/four_reservoirs/README.md; hours of a block are 10^6 / 3600.
SHIPPED = {2: 135_824_446.093098, 3: 216_552_332.103108}
PUBLISHED = {
    (2, "hydro"): 488_205.1421541,
    (2, "published"): 490_099.3278616,
    (3, "published"): 782_309.05819,
}
HOURS = 1e6 / 3600

FOUR_REGIONS_3_STAGES = 2_717_590_945.4


def converged_bound(case: Path, iterations: int) -> float:
    """Train long enough for the bound to meet the optimum."""
    rules = (cobre.BoundStalling(40, 1e-13), cobre.IterationLimit(iterations))
    return cobre.train(case, seed=1, stopping=rules, progress=False).final_lower_bound


@pytest.mark.parametrize("stages", SHIPPED)
def test_first_stages_of_the_example(stages: int, tmp_path: Path) -> None:
    case = truncate_case(EXAMPLE, tmp_path / "case", stages)
    assert converged_bound(case, 400) == pytest.approx(SHIPPED[stages], rel=1e-9)


@pytest.mark.parametrize(("stages", "first_inflow"), PUBLISHED, ids=str)
def test_brazilian_system_with_all_years(stages: int, first_inflow: str, tmp_path: Path) -> None:
    figures, case = shared("data/brazil"), tmp_path / "case"
    script = ROOT / "examples" / "make_four_reservoirs.py"
    options = ("--stages", stages, "--openings", 82, "--first-inflow", first_inflow)
    run_program(script, figures, case, *options)
    bound = converged_bound(case, 600) / HOURS
    assert bound == pytest.approx(PUBLISHED[stages, first_inflow], rel=1e-9)


def test_four_regions_three_stages(tmp_path: Path) -> None:
    openings = shared("data/4ree-noise_openings.parquet")
    case = truncate_case(case_directory("4ree"), tmp_path / "case", 3, openings)
    assert converged_bound(case, 600) == pytest.approx(FOUR_REGIONS_3_STAGES, rel=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_four_regions_two_stages_by_the_extensive_form(rate: float, tmp_path: Path) -> None:
    openings = shared("data/4ree-noise_openings.parquet")
    case = truncate_case(case_directory("4ree"), tmp_path / "case", 2, openings)
    edit_json(case / "stages.json", lambda content: content["policy_graph"].update(annual_discount_rate=rate))
    assert converged_bound(case, 400) == pytest.approx(optimum(case), rel=1e-9)


def test_the_extensive_form_agrees_with_the_published_optima(tmp_path: Path) -> None:
    case = truncate_case(EXAMPLE, tmp_path / "case", 2)
    assert optimum(case) == pytest.approx(SHIPPED[2], rel=1e-9)
