"""Ray's own HTTP surface, as Ray's unmodified clients (2.40 to 2.60) expect it.

Only translation: bodies, codes and phrases. What a job is and may do is decided in control.
"""

from raysvc.api.ray.openapi import TAG, paths
from raysvc.api.ray.route import ray_routes

__all__ = ["TAG", "paths", "ray_routes"]
