"""The recipe lives beside the model, not in the package: found from the project's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))     # before tests/vision, which has a `models` of its own
