"""Names that a package exports and imports on first use (PEP 562).

Importing a package must stay cheap: a device has no PyTorch, and NumPy may not be imported before the command line
has limited its threads. The `__init__` of a package therefore looks like this::

    from typing import TYPE_CHECKING

    from embedded_vit.lazy import lazily

    __all__ = ["open_data_set"]

    if TYPE_CHECKING:  # for mypy and editors
        from embedded_vit.datasets.layouts import open_data_set
    else:
        __getattr__, __dir__ = lazily(__name__, {"layouts": ["open_data_set"]})

`tests/test_lazy.py` checks that the three lists of every package agree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, exports: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and the `__dir__` of a package that imports its exports on first use.

    Args:
        package: The package's `__name__`.
        exports: Name of a module of the package -> the names that the package exports from it.

    Returns:
        `__getattr__`, which imports the module, and `__dir__`, which also lists names that were not imported yet.

    Raises:
        ValueError: A name is exported twice, or is also the name of a module of the package: importing that module
            would replace the export, so `from package import name` would depend on what was imported before.
    """
    module_of = {name: module for module, names in exports.items() for name in names}
    if len(module_of) < sum(map(len, exports.values())):
        raise ValueError(f"{package}: a name is exported twice")
    for name in module_of.keys() & exports.keys():
        raise ValueError(f"{package}: exports '{name}', which is also one of its modules; rename the module")

    def get_attribute(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'", name=name, obj=sys.modules[package])
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def list_attributes() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get_attribute, list_attributes
