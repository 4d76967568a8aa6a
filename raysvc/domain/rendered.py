"""What a backend would be sent: shown by --dry-run, sent by apply. The two are the same bytes."""

from typing import Any, Literal

from raysvc.domain.model import Model


class Rendered(Model):
    """`documents` in the order they are sent: HTTP calls (`method`, `path`, `body`) or Kubernetes manifests.

    Secret values never stand here: a reference stays a reference until the moment of sending.
    """

    format: Literal["http", "kubernetes"]
    documents: tuple[dict[str, Any], ...]
