from __future__ import annotations

import copy
import pickle
from functools import cache
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cobre

# What it costs to get rid of water, in $ per hm3: 0.001 $ per m3/s and hour, in stages where 1 m3/s is 1 hm3.
SPILLAGE_PRICE = 0.001 * 1e6 / 3600


@cache
def small_policy() -> cobre.Policy:
    """Train a policy of few cuts."""
    rules = [cobre.IterationLimit(5)]
    return cobre.train(cobre.example_case(), stopping=rules, progress=False).policy


def heights(policy: cobre.Policy, stage: int, state: dict[str, float]) -> list[float]:
    """Value of every active cut at a state."""
    columns = policy.cuts(stage).to_pydict()
    result = []
    for row, intercept in enumerate(columns["intercept"]):
        if columns["is_active"][row]:
            slopes = {name: cast("float", columns[name][row]) for name in policy.states}
            result.append(cast("float", intercept) + sum(slopes[name] * state[name] for name in slopes))
    return result


def test_shape(trained: cobre.TrainingResult, example: cobre.Case) -> None:
    policy = trained.policy
    assert policy.states == example.states
    assert policy.initial_state == example.initial_state
    assert policy.stages == len(policy.nodes) == 12
    assert policy.iterations == 10
    assert policy.lower_bound == trained.final_lower_bound
    assert policy.seed == 42
    assert policy.problem_sha256 == example.problem_sha256
    assert policy.cuts().num_rows == policy.total_cuts == sum(len(policy.cuts(t)) for t in range(12))
    assert policy.cuts(-1).num_rows == 0
    assert "lower bound" in repr(policy)
    assert "<table>" in policy._repr_html_()


def test_the_value_is_the_highest_cut(trained: cobre.TrainingResult) -> None:
    policy = trained.policy
    state = policy.initial_state
    for stage in range(policy.stages - 1):
        assert policy.value(stage, state) == pytest.approx(max(heights(policy, stage, state)), rel=1e-12)
    assert policy.value(-1, state) == 0.0
    assert policy.value(policy.nodes[3], state) == policy.value(3, state)


@settings(deadline=None, max_examples=25)
@given(shares=st.lists(st.floats(0.0, 2.0), min_size=4, max_size=4), weight=st.floats(0.0, 1.0))
def test_values_are_convex_and_water_is_worth_at_least_its_spillage(
    shares: list[float], weight: float
) -> None:
    policy = small_policy()
    start = policy.initial_state
    names = policy.states
    some = {name: share * start[name] for name, share in zip(names, shares, strict=True)}
    more = {name: 1.1 * value for name, value in some.items()}
    between = {name: weight * some[name] + (1.0 - weight) * more[name] for name in names}
    low, high, middle = (policy.value(1, state) for state in (more, some, between))
    scale = 1e-9 * (1.0 + abs(high))
    added = sum(more[name] - some[name] for name in names)
    assert low <= high + SPILLAGE_PRICE * added + scale
    assert middle <= weight * high + (1.0 - weight) * low + scale


def test_policies_survive_pickle_copy_and_disk(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    policy = trained.policy
    policy.save(tmp_path / "policy")
    assert trained.output_dir is not None
    twins = [
        pickle.loads(pickle.dumps(policy)),  # noqa: S301
        copy.deepcopy(policy),
        cobre.Policy.load(tmp_path / "policy"),
        cobre.Policy.load(trained.output_dir / "policy"),
        cobre.Policy.load(trained.output_dir),
    ]
    for twin in twins:
        assert twin == policy
        assert twin.cuts() == policy.cuts()
        assert twin.value(0, policy.initial_state) == policy.value(0, policy.initial_state)
    assert policy != 3


def test_saving_replaces_an_older_policy(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    small_policy().save(tmp_path / "policy")
    trained.policy.save(tmp_path / "policy")
    assert cobre.Policy.load(tmp_path / "policy") == trained.policy


def test_damaged_and_missing_files_are_named(trained: cobre.TrainingResult, tmp_path: Path) -> None:
    with pytest.raises(cobre.IOError) as missing:
        cobre.Policy.load(tmp_path / "nowhere")
    assert missing.value.kind == "OutputNotFound"
    assert missing.value.path is not None
    trained.policy.save(tmp_path / "policy")
    cuts = tmp_path / "policy" / "cuts.parquet"
    content = bytearray(cuts.read_bytes())
    content[len(content) // 2] ^= 1
    cuts.write_bytes(bytes(content))
    with pytest.raises(cobre.IOError) as damaged:
        cobre.Policy.load(tmp_path / "policy")
    assert damaged.value.kind == "OutputCorrupted"
    assert damaged.value.path == str(cuts)


def test_wrong_questions_are_refused(trained: cobre.TrainingResult) -> None:
    policy = trained.policy
    state = policy.initial_state
    with pytest.raises(cobre.ValidationError, match="12 stages"):
        policy.value(12, state)
    with pytest.raises(cobre.ValidationError, match="storage:0"):
        policy.value(0, {name: value for name, value in state.items() if name != "storage:0"})
    with pytest.raises(cobre.ValidationError, match="storage:9"):
        policy.value(0, {**state, "storage:9": 1.0})
    with pytest.raises(TypeError, match="mapping"):
        policy.value(0, [1.0, 2.0, 3.0, 4.0])  # type: ignore[arg-type]
    with pytest.raises(cobre.ValidationError, match="nonsense"):
        policy.cuts("nonsense")
