"""Version of the package, and what its results may be used for."""

from __future__ import annotations

__all__ = ["RESEARCH_USE_ONLY", "__version__"]

__version__ = "0.1.0"

RESEARCH_USE_ONLY = "Research use only. Not a medical device: do not use for diagnosis or treatment."
