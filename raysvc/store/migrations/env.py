"""What Alembic runs around the steps: on the connection, and within the transaction, that `run.upgrade` was given."""

from alembic import context

from raysvc.store.schema import metadata, version

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=version.name,
)
context.run_migrations()
