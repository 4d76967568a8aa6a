"""The planner's part of the API. Loaded when a plan is first asked for: it costs a server 3 MB and 0.1 s."""

from raysvc.domain import pool as declared
from raysvc.domain.plan import Plan, PlanRequest
from raysvc.errors import Invalid
from raysvc.planner.catalogue import load_catalogue
from raysvc.planner.plan import plan
from raysvc.planner.pool import of_pool
from raysvc.sources.access import Access
from raysvc.sources.fetch import Fetcher, Limits
from raysvc.sources.remote import opener

# The largest public models have 20 MB of headers; a request's time-out of most clients and proxies is 60 s.
_LIMITS = Limits(nbytes=64 << 20, seconds=30.0, timeout_s=10.0)


def check_place(model: str) -> None:
    """Return for a model of the catalogue or behind a URL; raise Invalid for a path, whatever is there."""
    if "://" not in model and load_catalogue().model(model) is None:
        raise Invalid(
            f"There is no model {model[:200]!r} in the catalogue. Name one by hf://, s3:// or https://, or plan "
            "a directory of your own machine with `raysvc service plan`.",
            field="model",
        )


def make(asked: PlanRequest, pool: declared.Pool | None, models: Access) -> Plan:
    """Return the plan, on the declared pool where one is given. Blocks; raises what the planner raises."""
    if pool is not None:
        asked = asked.model_copy(update={"pools": (*asked.pools, of_pool(pool))})
    if "://" not in asked.model:
        return plan(asked)
    with Fetcher(trusted=models.trusted, allow_private=models.allow_private, limits=_LIMITS) as fetcher:
        return plan(asked, reader=opener(models, fetcher))
