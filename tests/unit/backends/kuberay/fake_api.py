"""As much of a Kubernetes API server as single faults need, with a Ray behind its proxy. Real runs: `tests/kube`."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]
NAMESPACE = "ns"
JOBS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"
CLUSTERS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
TOKEN = "the cluster's own"


class FakeApi:
    """Objects by path. `refuse` answers the next calls of a kind; `log` is what was asked, watches left out."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.refuse: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.log: list[tuple[str, str]] = []
        self.ray_jobs: dict[str, Json] = {}
        self.ray_logs: dict[str, bytes] = {}
        self.packages: dict[str, bytes] = {}
        self.ray_headers: list[dict[str, str]] = []
        self.ray_down = False
        self.expired = False
        self._versions = itertools.count(1)
        self._history: list[tuple[str, Json]] = []
        self._watches: list[tuple[str, asyncio.Queue[Json | None]]] = []
        self.url = ""

    def put(self, folder: str, name: str, **fields: Any) -> Json:
        """Keep an object, as the operator or somebody with kubectl would."""
        path = f"{folder}/{name}"
        kind = "MODIFIED" if path in self.objects else "ADDED"
        before = self.objects.get(path, {"metadata": {"name": name, "uid": f"uid-{next(self._versions)}"}})
        metadata = {**before["metadata"], **fields.pop("metadata", {}), "resourceVersion": str(next(self._versions))}
        found = {**before, **fields, "metadata": metadata}
        self.objects[path] = found
        self._tell(folder, {"type": kind, "object": found})
        return found

    def status(self, name: str, word: str, **more: Any) -> None:
        """Be the operator: set a RayJob's status."""
        cluster = {"rayClusterName": f"{name}-abcde", "dashboardURL": f"{name}-abcde-head-svc.ns.svc:8265"}
        if word in {"", "Initializing"}:
            cluster.pop("dashboardURL")
        else:
            secret = {"auth_token": base64.b64encode(TOKEN.encode()).decode()}
            self.objects.setdefault(f"{SECRETS}/{name}-abcde", {"metadata": {"name": "t"}, "data": secret})
            self.objects.setdefault(f"{CLUSTERS}/{name}-abcde", {"metadata": {"name": f"{name}-abcde"}})
        self.put(JOBS, name, status={**cluster, "jobDeploymentStatus": word, **more})

    def remove(self, folder: str, name: str) -> None:
        found = self.objects.pop(f"{folder}/{name}", None)
        if found is not None:
            found["metadata"]["resourceVersion"] = str(next(self._versions))
            self._tell(folder, {"type": "DELETED", "object": found})

    def names(self, folder: str) -> list[str]:
        return [path.rpartition("/")[2] for path in self.objects if path.startswith(f"{folder}/")]

    def cut(self) -> None:
        """End every watch."""
        for _, queue in self._watches:
            queue.put_nowait(None)

    def say(self, folder: str, event: Json) -> None:
        """Tell who watches now, and nobody later."""
        for path, queue in self._watches:
            if path == folder:
                queue.put_nowait(event)

    @property
    def watching(self) -> int:
        return len(self._watches)

    def _tell(self, folder: str, event: Json) -> None:
        self._history.append((folder, event))
        for path, queue in self._watches:
            if path == folder:
                queue.put_nowait(event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path, method = request.path, request.method
        if "/proxy/" in path:
            return await self._ray(request, path.partition("/proxy")[2])
        if request.query.get("watch"):
            return await self._watch(request)
        self.log.append((method, path))
        for (verb, start), answers in self.refuse.items():
            if verb == method and path.startswith(start) and answers:
                status, message = answers.pop(0)
                return web.json_response({"kind": "Status", "message": message, "code": status}, status=status)
        return await self._serve(request, method, path)

    async def _serve(self, request: web.Request, method: str, path: str) -> web.Response:  # noqa: PLR0911 a table
        folder, _, name = path.rpartition("/")
        if method == "POST":
            body = await request.json()
            if f"{path}/{body['metadata']['name']}" in self.objects:
                return _status(409, "already exists")
            body["metadata"].setdefault("uid", f"uid-{next(self._versions)}")
            return web.json_response(self.put(path, body["metadata"]["name"], **body), status=201)
        if method == "GET" and path in _FOLDERS:
            wanted = request.query.get("labelSelector")
            items = [found for key, found in self.objects.items() if key.rpartition("/")[0] == path]
            for one in wanted.split(",") if wanted else ():
                key, equals, value = one.partition("=")
                labelled = [(found, found["metadata"].get("labels", {}).get(key)) for found in items]
                items = [found for found, has in labelled if (has == value if equals else has is not None)]
            return web.json_response({"metadata": {"resourceVersion": str(next(self._versions))}, "items": items})
        if path not in self.objects:
            return _status(404, f"{name} not found")
        if method == "DELETE":
            self.remove(folder, name)
            return web.json_response({"kind": "Status", "status": "Success"})
        if method == "PUT":
            return web.json_response(self.put(folder, name, **await request.json()))
        if method == "PATCH":
            return self._patch(folder, name, await request.json())
        return web.json_response(self.objects[path])

    def _patch(self, folder: str, name: str, operations: list[Json]) -> web.Response:
        found = json.loads(json.dumps(self.objects[f"{folder}/{name}"]))
        for operation in operations:
            *way, last = (step.replace("~1", "/") for step in operation["path"].strip("/").split("/"))
            place: Any = found
            for step in way:
                place = place[int(step)] if isinstance(place, list) else place[step]
            if operation["op"] == "test" and place.get(last) != operation["value"]:
                return _status(422, "the server rejected our request due to an error in our request")
            place[last] = operation["value"]
        return web.json_response(self.put(folder, name, **found))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if self.expired:
            self.expired = False
            return _status(410, "too old resource version")
        await response.prepare(request)
        entry = (request.path, asyncio.Queue[Json | None]())
        since = int(request.query["resourceVersion"])
        for folder, event in self._history:
            if folder == request.path and int(event["object"]["metadata"]["resourceVersion"]) > since:
                entry[1].put_nowait(event)
        self._watches.append(entry)
        try:
            while (news := await entry[1].get()) is not None:
                await response.write(json.dumps(news).encode() + b"\n")
        finally:
            self._watches.remove(entry)
        return response

    async def _ray(self, request: web.Request, path: str) -> web.Response:  # noqa: PLR0911 a table
        if self.ray_down:
            return _status(503, "no endpoints available for service")
        self.ray_headers.append({name.lower(): value for name, value in request.headers.items()})
        _, _, name = path.rpartition("/")
        if path.startswith("/api/packages/gcs/"):
            if request.method == "PUT":
                self.packages[name] = await request.read()
            return web.Response(status=200 if name in self.packages else 404)
        if request.method == "POST" and path == "/api/jobs/":
            body = await request.json()
            self.ray_jobs.setdefault(body["submission_id"], {"status": "PENDING", "sent": body})
            return web.json_response({"submission_id": body["submission_id"]})
        if path.endswith("/stop"):
            self.ray_jobs[path.split("/")[-2]]["status"] = "STOPPED"
            return web.json_response({"stopped": True})
        if path == "/api/v0/logs/file":
            return web.Response(body=self.ray_logs.get(request.query["filename"], b""))
        if path == "/api/v0/nodes":
            node = {"node_id": "n1", "is_head_node": True, "state": "ALIVE"}
            return web.json_response({"data": {"result": {"result": [node]}}})
        found = self.ray_jobs.get(name)
        return web.json_response(found) if found else web.Response(status=404, text="no such job")


_FOLDERS = frozenset({JOBS, CLUSTERS, PODS, SECRETS, POLICIES, EVENTS, "/api/v1/nodes"})


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message, "code": code}, status=code)


@asynccontextmanager
async def serving() -> AsyncIterator[FakeApi]:
    """Serve one on a port of its own, in this event loop."""
    fake = FakeApi()
    app = web.Application(client_max_size=1 << 28)
    app.router.add_route("*", "/{rest:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    fake.url = f"http://127.0.0.1:{port}"
    try:
        yield fake
    finally:
        fake.cut()
        await runner.cleanup()
