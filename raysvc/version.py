"""Which raysvc this is."""

import importlib.metadata


def _find() -> str:
    try:
        return importlib.metadata.version("raysvc")
    except importlib.metadata.PackageNotFoundError:
        return "0+checkout"  # run from its source, without being installed


__version__ = _find()
