"""Whatever text the edge of the domain lets in, every store keeps as it is; what none could keep, the edge refuses."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raysvc.domain.job import JobSpec
from raysvc.domain.text import LONGEST_KEY, LONGEST_VALUE, check_spec
from raysvc.errors import Invalid
from raysvc.ports import Store
from tests.contract.store.make import added

# Surrogates cannot come in: JSON with one is refused before any of this.
_ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_HARSH = st.one_of(
    _ANY,
    st.sampled_from(["\0", "a\0b", "\x1b[2J", "\r\n", "\x7f", "\u2028", "\u202e", "\U0010ffff" * LONGEST_VALUE]),
    st.text(st.sampled_from("\U0010fffd\U00020000"), min_size=LONGEST_KEY, max_size=LONGEST_VALUE),
)
_SPECS = st.fixed_dictionaries(
    {"entrypoint": _HARSH.filter(bool)},
    optional={
        "name": _HARSH,
        "labels": st.dictionaries(_HARSH, _HARSH, max_size=3),
        "metadata": st.dictionaries(_HARSH, _HARSH, max_size=3),
        "label_selector": st.dictionaries(_HARSH, _HARSH, max_size=2),
        "runtime_env": st.dictionaries(_HARSH, st.recursive(_HARSH, st.lists, max_leaves=5), max_size=3),
    },
)


@given(asked=_SPECS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_what_the_edge_lets_in_every_store_keeps(store: Store, asked: dict[str, Any]) -> None:
    try:
        check_spec(JobSpec(**asked))
    except (ValidationError, Invalid):
        return
    job = await added(store, **asked)
    assert await store.jobs.get_by_uid(job.uid) == job
    assert (await store.jobs.get("default", job.id)).spec.model_dump() == job.spec.model_dump()
    assert not {"\0", "\n"} & set("".join([*job.spec.labels, *job.spec.labels.values(), job.spec.name or ""]))
