"""The Store port on SQLAlchemy Core: SQLite or PostgreSQL, one code path. SQL lives here and nowhere else."""
