"""The sync SDK over the REST API, by httpx: finding the server, one noun a module, packages, safe retries.

Belongs here: what every client of the API needs. Does not: terminals, files of the CLI, anything of the server.
Nothing is imported here, so that Ray's address hook loads without httpx.
"""
