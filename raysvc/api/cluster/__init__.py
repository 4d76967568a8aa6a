"""What passes through the front to a cluster's own Ray: which paths, for whom, and with what taken out.

Ray's state calls and the dashboards' origin both stand on it. Reading only: what changes a cluster goes through
control.
"""
