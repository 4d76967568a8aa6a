"""What can go wrong with the cluster."""


class ClusterError(Exception):
    """The cluster cannot be built, started or stopped. The text says why, and what to do."""
