"""The files a job left in RAYSVC_OUTPUT_DIR."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from raysvc.client.wire import Call, Wire, path_part, read_items
from raysvc.errors import Unavailable
from raysvc.ports import ArtifactFile


class Artifacts:
    """Of the jobs of a project; each method takes another `project` where it is not the client's."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def list(self, job_id: str, *, project: str | None = None) -> list[ArtifactFile]:
        """Return the job's files as they are now; a running job may still write them. Raises NotFound (the job)."""
        return read_items(ArtifactFile, self._wire.send(self._call(job_id, "", project)))

    def read(self, job_id: str, path: str, *, project: str | None = None) -> Iterator[bytes]:
        """Yield a file's bytes; raises NotFound, Unavailable where the connection breaks."""
        with self._wire.stream(self._call(job_id, f"/{quote(path)}", project)) as response:
            yield from response.iter_bytes()

    def download(
        self,
        job_id: str,
        path: str,
        to: Path,
        *,
        project: str | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Path:
        """Write a file to `to` (a file, or a folder that exists), whole or not at all, and return where it is.

        `on_progress` hears how many bytes came. May be repeated; replaces.
        """
        target = to / Path(path).name if to.is_dir() else to
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                for chunk in self.read(job_id, path, project=project):
                    file.write(chunk)
                    on_progress(len(chunk))
            partial.replace(target)
        except OSError as error:
            raise Unavailable(f"{target} cannot be written: {error.strerror}.") from error
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _call(self, job_id: str, below: str, project: str | None) -> Call:
        return Call("GET", f"/v1/jobs/{path_part(job_id)}/artifacts{below}", {"project": project or self._project})
