"""Clusters that jobs share."""

from raysvc.domain.cluster import SharedCluster
from raysvc.store.reader import Reader
from raysvc.store.record import SqlRecords
from raysvc.store.schema import cluster, cluster_event
from raysvc.store.writer import Writer


class SqlClusters(SqlRecords[SharedCluster]):
    def __init__(self, writer: Writer, reader: Reader) -> None:
        advice = "Choose another name, or delete that one first."
        super().__init__(writer, reader, kind=SharedCluster, table=cluster, events=cluster_event, advice=advice)
