"""How the schema came to be, one file a step. Loads Alembic, so it is imported only where there is a step to make."""
