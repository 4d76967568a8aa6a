"""Uploads of working_dir, py_modules and wheels, by the names that Ray's client gives them."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from raysvc.api.ray.caller import caller
from raysvc.control.platform import Platform
from raysvc.errors import NotFound


class PackageRoutes:
    """Ray's /api/packages over the shelf. A package belongs to its project: no other sees it or shares its name."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def get(self, request: Request) -> Response:
        """Answer 200 with nothing where the package is kept, and pin it; 404 tells the client to upload it."""
        who, project = await caller(request)
        protocol, name = request.path_params["protocol"], request.path_params["name"]
        try:
            await self._platform.shelf.find(who, project, protocol, name)
        except NotFound as error:
            text = f"Package {protocol}://{name} does not exist" if who.sees(project) else error.message
            return PlainTextResponse(text, status_code=error.status)
        return Response()

    async def put(self, request: Request) -> Response:
        """Keep an upload; 200 with nothing is the only answer that Ray's client takes for success."""
        who, project = await caller(request)
        uri = (request.path_params["protocol"], request.path_params["name"])
        await self._platform.shelf.put(who, project, uri, request.stream())
        return Response()
