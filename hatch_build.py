"""The build hook of the package: the browser page is built from web/ when the package is built or set up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Builds web/ into the package; without npm the package is built all the same."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page before the files of the package are gathered."""
        if not (Path(self.root) / "web").is_dir():  # of sources without it
            return
        sys.path.insert(0, str(Path(self.root) / "web"))
        from build_page import build_page

        build_page()
