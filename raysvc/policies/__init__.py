"""The Policy port: CEL rules from YAML files, and webhooks.

Belongs here: the format of policy files, their compilation, and the calls to webhooks. Decides about one submission at
a time; keeps no state but the compiled files, and changes nothing itself.

A policy file is one policy. Its rules run from the first to the last, then its webhooks; files run in order of their
names. What a rule or webhook sets is seen by all that come later.

    policy: gpu-rules                    # the policy's name, in refusals and events
    mode: enforce                        # or warn: say what would be refused or set, and let all pass
    rules:
    - name: at-most-8-gpus
      when: job.demand.gpus > 8          # CEL; the rule applies where it is true (left out: always)
      deny: true                         # exactly one of deny, warn, set
      message: A job may ask for at most 8 GPUs; this one asks for {job.demand.gpus}.
    - name: cost-center
      when: '!("cost-center" in job.labels)'
      warn: true
      message: Please label your jobs with a cost-center.
    - name: research-defaults
      when: project == "research" && job.priority == 0
      set:                               # dotted fields of a job; texts are CEL expressions
        priority: 10
        labels.team: '"research"'        # so a text needs quotes of its own
        labels.owner: owner
      message: Defaults of project research.
      on_error: open                     # what if it cannot be evaluated: closed (refuse) or open (pass and warn);
    webhooks:                            #   left out: closed, and open for a rule that only warns
    - name: cost-check
      url: https://hooks.example.com/raysvc
      secret_file: hook.key              # key of the HMAC; relative to this file
      timeout_s: 2
      on_error: closed
      allow_private: false               # true: may call private and loopback addresses, and plain http
      ca_file: corporate-ca.pem          # left out: the usual authorities

Expressions know `job` (the fields of a job spec that are set, and `id`; `demand`: driver and workers together; `image`
and `images`: every container image it names, however it names them), `project`, `owner`, `role` and `operation`.

A webhook gets the admission as JSON by POST, with `X-Raysvc-Signature: t=<unix seconds>,v1=<hex>`, the HMAC-SHA256 of
`<t>.<body>`; receivers should refuse an old `t`. It answers 200 with `{"verdict": "allow|deny|warn|amend", "message":
"…", "changes": {"labels.team": "research"}}`. If it amends, the rules of its file that deny or warn look once more.
"""

from raysvc.policies.check import Report, RuleReport, check
from raysvc.policies.file import PolicyFile
from raysvc.policies.folder import PolicyFolder, load, read

__all__ = ["PolicyFile", "PolicyFolder", "Report", "RuleReport", "check", "load", "read"]
