"""Files that users name by URL, over HTTP: a model's config and headers (hf://, s3://, https://), price lists.

Belongs here: byte ranges, redirects, address checks, credentials of the caller's environment. Does not: what the bytes
mean. Every fetch has a limit of bytes and of time, and goes to the address that was checked.
"""
