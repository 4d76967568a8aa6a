"""What people type. Presents what the SDK returns; decides nothing.

One module a command; `app` loads the one that is typed and no other, so that `raysvc job list` never waits for the
imports of `raysvc up`.
"""

from raysvc.cli.app import main

__all__ = ["main"]
