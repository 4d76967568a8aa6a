"""Places where Ray runs. Each backend renders purely, then sends; nothing here imports ray.

`rayjob` holds what every backend needs to speak to a cluster by Ray's REST API; each other package is one backend.
"""
