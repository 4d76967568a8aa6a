"""The proxy that OpenAI clients talk to: HAProxy as a process of its own. No request passes through Python."""

from raysvc.backends.edge.haproxy import HaproxyEdge

__all__ = ["HaproxyEdge"]
