"""What all tests have in common."""

from hypothesis import settings

# The same examples each time: a change is red for what it did. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")
