from __future__ import annotations

import sys
from pathlib import Path

import pytest

import cobre
from support import COBRE, EXAMPLE, copy_case, dry_case, edit_json, run_cobre

SCRIPT = Path(sys.executable).with_name("cobre")
FEW = ("--iterations", "3", "--seed", "1")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training made by the command."""
    path = tmp_path_factory.mktemp("cli") / "output"
    done = run_cobre("train", EXAMPLE, "--output", path, *FEW)
    assert done.returncode == 0, done.stderr
    return path


def test_version_of_module_and_script() -> None:
    programs = [COBRE, [str(SCRIPT)]] if SCRIPT.exists() else [COBRE]
    for program in programs:
        done = run_cobre("version", program=program)
        assert (done.returncode, done.stdout) == (0, f"cobre {cobre.__version__}\n")
    if not SCRIPT.exists():
        pytest.skip(f"{SCRIPT} is not installed: only python -m cobre was tested")


def test_help_and_usage() -> None:
    done = run_cobre("--help")
    assert done.returncode == 0
    for command in ("demo", "validate", "train", "simulate", "version"):
        assert command in done.stdout
    assert run_cobre("trian").returncode == 2
    assert run_cobre("train", EXAMPLE).returncode == 2
    assert run_cobre("train", EXAMPLE, "--output", "x", "--iterations", "many").returncode == 2
    assert run_cobre("train", EXAMPLE, "--output", "x", "--set", "nonsense").returncode == 2
    assert run_cobre("train", EXAMPLE, "--output", "x", "--weight", "0.5").returncode == 2


def test_demo(tmp_path: Path) -> None:
    done = run_cobre("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    for words in ("certified lower bound", "simulated mean cost", "gap", "storage", "marginal cost"):
        assert words in done.stdout
    for name in ("SUDESTE", "SUL", "NORDESTE", "NORTE", "TRANSSHIPMENT"):
        assert name in done.stdout
    assert not list(tmp_path.iterdir())
    assert run_cobre("demo").stdout.splitlines()[2:4] == done.stdout.splitlines()[2:4]


def test_validate_a_good_case() -> None:
    done = run_cobre("validate", EXAMPLE)
    assert done.returncode == 0
    assert "four_reservoirs: valid" in done.stdout
    assert "thermals" in done.stdout


def test_validate_lists_every_problem(tmp_path: Path) -> None:
    case = copy_case(EXAMPLE, tmp_path / "case")
    edit_json(case / "config.json", lambda content: content.update(trainning={}))
    edit_json(case / "stages.json", lambda content: content["stages"][2].update(num_scenarios=-1))
    (case / "penalties.json").unlink()
    done = run_cobre("validate", case)
    assert done.returncode == 2
    for words in ("config.json", "trainning", "stages.json", "num_scenarios", "penalties.json"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr
    assert "problems" in done.stdout.splitlines()[-1]


def test_train_writes_a_policy(output: Path) -> None:
    result = cobre.TrainingResult.load(output)
    expected = cobre.train(EXAMPLE, seed=1, stopping=[cobre.IterationLimit(3)], progress=False)
    assert result == expected


def test_train_takes_settings(tmp_path: Path) -> None:
    path = tmp_path / "output"
    done = run_cobre(
        *("train", EXAMPLE, "--output", path, "--set", "training.forward_passes=2"),
        *("--alpha", "0.5", "--weight", "0.3", "--threads", "1", *FEW),
    )
    assert done.returncode == 0, done.stderr
    expected = cobre.train(
        EXAMPLE,
        seed=1,
        config_overrides={"training": {"forward_passes": 2}},
        risk=cobre.CVaR(0.5, 0.3),
        stopping=[cobre.IterationLimit(3)],
        progress=False,
    )
    assert cobre.TrainingResult.load(path) == expected
    assert "lower bound" in done.stdout


def test_simulate(output: Path, tmp_path: Path) -> None:
    path = tmp_path / "output"
    done = run_cobre(
        *("simulate", EXAMPLE, "--policy", output / "policy", "--output", path),
        *("--scenarios", "20", "--seed", "7"),
    )
    assert done.returncode == 0, done.stderr
    expected = cobre.simulate(EXAMPLE, output, scenarios=20, seed=7, progress=False)
    assert cobre.SimulationResult.load(path) == expected
    assert "mean cost" in done.stdout


def test_progress_goes_to_stderr_without_colours(tmp_path: Path) -> None:
    arguments = ("train", EXAMPLE, "--output", tmp_path / "output", *FEW)
    done = run_cobre(*arguments, "--progress", env={"NO_COLOR": "1"})
    assert done.returncode == 0
    assert "iteration 3/3" in done.stderr
    assert "\x1b" not in done.stderr
    assert run_cobre(*arguments).stderr == ""
    assert run_cobre(*arguments, "--no-progress").stderr == ""


def test_bad_input_exits_with_2(tmp_path: Path) -> None:
    done = run_cobre("train", tmp_path / "nowhere", "--output", tmp_path / "output")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "output").exists()
    traced = run_cobre("train", tmp_path / "nowhere", "--output", tmp_path / "output", "--debug")
    assert traced.returncode == 2
    assert "Traceback" in traced.stderr


def test_unreadable_files_exit_with_4(tmp_path: Path) -> None:
    done = run_cobre("simulate", EXAMPLE, "--policy", tmp_path / "nowhere")
    assert done.returncode == 4
    assert "nowhere" in done.stderr
    (tmp_path / "file").write_text("")
    done = run_cobre("train", EXAMPLE, "--output", tmp_path / "file" / "output", *FEW)
    assert done.returncode == 4
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_infeasible_stages_exit_with_3(tmp_path: Path) -> None:
    case = dry_case(tmp_path / "case", stage=3)
    done = run_cobre("train", case, "--output", tmp_path / "output", *FEW)
    assert done.returncode == 3
    assert "stage 3" in done.stderr
    assert ".mps" in done.stderr
    assert "Traceback" not in done.stderr
