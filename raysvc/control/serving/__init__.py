"""Model deployments: accepted, reconciled, routed, and spoken to by their replicas.

What decides is pure (`decide`, `routes`); one loop of effects (`reconciler`), on the holder of the lease; every server
listens to replicas (`replicas`) and keeps its own proxy in step (`router`).
"""
