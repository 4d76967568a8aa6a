"""`python -m raysvc.cli`: for those who start raysvc with the very Python that runs."""

from raysvc.cli.app import main

main()
