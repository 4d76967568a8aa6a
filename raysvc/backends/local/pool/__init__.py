"""The server's side of warm drivers: which jobs may have one, the project's pool, and the channel to it.

The pool itself is the program `raysvc.backends.local.warm`, which runs on the cluster.
"""
