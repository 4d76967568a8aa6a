"""Rules on who starts a job's entrypoint: the field is there for them, though a record leaves its default out."""

from raysvc.domain.admission import Deny, Warn

from .submission import Write, admission, review

NO_POOL = """
    policy: drivers
    rules:
    - name: no-pool
      when: job.driver == "warm" && project != "vision"
      deny: true
      message: Only vision may use warm drivers.
    - name: seen
      when: job.driver == "ray"
      warn: true
      message: Started by {job.driver}.
"""


async def test_a_rule_can_tell_the_kinds_of_driver_apart(policies: Write) -> None:
    rules = policies(NO_POOL)
    assert [type(verdict) for verdict in await review(rules, admission(driver="warm", project="other"))] == [Deny]
    assert await review(rules, admission(driver="warm")) == []
    [said] = await review(rules, admission())
    assert isinstance(said, Warn)
    assert said.message == "Started by ray."
