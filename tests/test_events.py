from __future__ import annotations

import copy
import dataclasses
import pickle
from itertools import pairwise

import pytest

import cobre


def test_metrics_are_attributes() -> None:
    event = cobre.ProgressEvent("train", "progress", 1, 1, 5, {"lower_bound": 2.0}, 0.5)
    assert event.lower_bound == 2.0
    assert event.worker_id is None
    with pytest.raises(AttributeError, match="lower_bound"):
        _ = event.gap


def test_events_are_frozen_and_survive_pickle() -> None:
    event = cobre.ProgressEvent("train", "progress", 1, 1, None, {"gap": 0.25}, 0.5, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.done = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301
    assert copy.deepcopy(event).gap == 0.25


def test_training_tells_every_iteration(example: cobre.Case) -> None:
    events: list[cobre.ProgressEvent] = []
    result = cobre.train(
        example, stopping=[cobre.IterationLimit(4)], progress_callback=events.append, progress=False
    )
    assert {event.system for event in events} == {"train"}
    assert (events[0].phase, events[-1].phase) == ("started", "finished")
    steps = [event for event in events if event.phase == "progress"]
    assert [event.iteration for event in steps] == [1, 2, 3, 4]
    assert [event.done for event in steps] == [1, 2, 3, 4]
    assert {event.total for event in steps} == {4}
    assert {event.worker_id for event in events} == {None}
    records = result.convergence_history
    assert [event.lower_bound for event in steps] == [record.lower_bound for record in records]
    assert [event.upper_bound for event in steps] == [record.upper_bound for record in records]
    assert [event.gap for event in steps] == [record.gap for record in records]
    assert all(event.iteration_time_ms > 0 for event in steps)
    assert all(first.elapsed_secs <= second.elapsed_secs for first, second in pairwise(events))


def test_simulation_tells_how_far_it_is(example: cobre.Case, trained: cobre.TrainingResult) -> None:
    events: list[cobre.ProgressEvent] = []
    cobre.simulate(example, trained.policy, scenarios=150, progress_callback=events.append, progress=False)
    assert {event.system for event in events} == {"simulate"}
    assert (events[0].phase, events[-1].phase) == ("started", "finished")
    complete = [event.scenarios_complete for event in events if event.phase == "progress"]
    assert complete == sorted(complete)
    assert complete[-1] == 150
    assert {event.total for event in events} == {150}


def test_a_callback_that_raises_stops_the_run(example: cobre.Case) -> None:
    def refuse(event: cobre.ProgressEvent) -> None:
        if event.iteration == 3:
            raise LookupError("enough")

    rules = [cobre.IterationLimit(10_000)]
    with pytest.raises(LookupError, match="enough"):
        cobre.train(example, stopping=rules, progress_callback=refuse, progress=False)
