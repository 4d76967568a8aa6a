"""The Store port on SQLAlchemy Core: SQLite or PostgreSQL, one code path. SQL lives here and nowhere else.

`writer` commits whatever is waiting in one transaction (group commit), `reader` runs queries beside it. `schema` holds
the tables and says which query each index serves; `migrations` how they came to be.
"""

from raysvc.store.store import SqlStore

__all__ = ["SqlStore"]
