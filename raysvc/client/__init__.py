"""The sync SDK over the REST API, by httpx."""
