"""Services."""

from raysvc.domain.service import Service
from raysvc.store.reader import Reader
from raysvc.store.record import SqlRecords
from raysvc.store.schema import service, service_event
from raysvc.store.writer import Writer


class SqlServices(SqlRecords[Service]):
    def __init__(self, writer: Writer, reader: Reader) -> None:
        advice = "Change it with `raysvc service update`, or choose another name."
        super().__init__(writer, reader, kind=Service, table=service, events=service_event, advice=advice)
