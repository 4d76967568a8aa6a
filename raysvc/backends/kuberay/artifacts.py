"""What jobs leave in RAYSVC_OUTPUT_DIR. Implements `Artifacts`."""

from collections.abc import AsyncIterator, Sequence

from raysvc.errors import NotFound
from raysvc.ports import ArtifactFile

NOT_KEPT = (
    "RAYSVC_OUTPUT_DIR and RAYSVC_CHECKPOINT_DIR are in the pod and end with it: write results to an object store or a "
    "volume of your own."
)


class KubeArtifacts:
    """None are kept yet: the folder is an emptyDir of the pod, and nobody but the kubelet could read it."""

    async def list(self, uid: str) -> Sequence[ArtifactFile]:  # noqa: ARG002 of no job
        return []

    async def read(self, uid: str, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:  # noqa: ARG002 of no job
        raise NotFound(f"Job {uid} has no artifact {path!r}. {NOT_KEPT}", field="path")
        yield b""

    async def delete(self, uid: str) -> None:
        """Do nothing: the pods took it with them."""
