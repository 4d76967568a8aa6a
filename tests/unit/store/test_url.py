import pytest

from raysvc.errors import Invalid
from raysvc.store import SqlStore
from raysvc.store.engine import file_of, parse
from raysvc.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////var/lib/raysvc/raysvc.db", "sqlite"),
        ("sqlite:///raysvc.db", "sqlite"),
        ("postgresql://user:pw@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://user:pw@host/db", "postgresql+psycopg"),
        ("postgres://user:pw@host/db?sslmode=require", "postgresql+psycopg"),
    ],
)
def test_both_databases_are_understood(url: str, driver: str) -> None:
    assert parse(url).drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        "",
        "raysvc.db",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://user:hunter2@host/db",
        "postgresql+asyncpg://user:hunter2@host/db",
        "postgresql://user:hunter2@host:port/db",
        "postgresql:hunter2",
    ],
)
def test_any_other_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        SqlStore(url, FakeClock())
    assert refusal.value.field == "database_url"
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_only_sqlite_has_a_file() -> None:
    assert str(file_of(parse("sqlite:////a/b.db"))) == "/a/b.db"
    assert file_of(parse("postgresql://host/db")) is None
