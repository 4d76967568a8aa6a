"""Amounts: what a job asks for in all, and that a default is shared and not copied."""

from raysvc.domain.job import JobSpec
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup


def test_a_demand_is_the_driver_and_its_workers() -> None:
    workers = (WorkerGroup(scale=Scale(want=3, max=3), resources=Resources(cpus=2, custom={"tpu": 1})),)
    spec = JobSpec(entrypoint="x", resources=Resources(cpus=1, memory=5), shape=Shape(workers=workers))
    assert spec.demand() == Resources(cpus=7, memory=5, custom={"tpu": 3})


def test_a_demand_is_in_floats_so_that_a_rule_may_add_to_it() -> None:
    demand = JobSpec(entrypoint="x").demand()
    assert (type(demand.cpus), type(demand.gpus), type(demand.memory)) == (float, float, int)


def test_equal_amounts_have_equal_hashes() -> None:
    one, other = Resources(cpus=1, custom={"a": 1, "b": 2}), Resources(cpus=1, custom={"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert hash(one) != hash(Resources(cpus=2))


def test_specs_that_leave_resources_out_share_the_default() -> None:
    assert JobSpec(entrypoint="x").resources is JobSpec(entrypoint="y").resources
