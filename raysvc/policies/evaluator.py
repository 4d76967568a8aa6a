"""CEL's evaluator without the command line that its package brings along, which would load a terminal toolkit.

That is 8 MB and a tenth of a second of each start, for a program that nobody runs here.
"""

import sys
from types import ModuleType

sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402 what it imports must be there first

__all__ = ["cel"]
