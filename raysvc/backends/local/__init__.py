"""Ray on this machine: one head that raysvc starts itself, or a Ray that runs already and is given by its address."""

from raysvc.backends.local.backend import LocalBackend
from raysvc.backends.local.config import LocalConfig

__all__ = ["LocalBackend", "LocalConfig"]
