"""A real Kubernetes on one Linux machine, without Docker: `python -m tests.cluster up`.

`cluster` brings it up and takes it down from the parts: `programs` and `ray_image` are built once and kept (`cache`);
`pki`, `network`, `control_plane`, `node`, `kuberay` and `fake_nodes` make one part each, and may be asked again.
What the parts are told lies in `plan` and `render`, which touch nothing. Whatever runs is known by its `cgroup`.
"""
