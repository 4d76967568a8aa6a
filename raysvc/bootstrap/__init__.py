"""The composition: the one place that names concrete classes. Settings in, a running platform out.

Heavy parts are imported here and nowhere above, and only `raysvc up` imports this package.
"""

from raysvc.bootstrap.serve import Ready, serve

__all__ = ["Ready", "serve"]
