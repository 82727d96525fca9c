"""The nets of models/, also where a file ``models.py`` of your own takes that name.

``from minigrad.models import resnet50`` and ``from models import resnet50`` give the same function. Python finds a file
or folder ``models`` beside your program before it finds ours; then only ``minigrad.models`` leads to our nets.

Next: :mod:`minigrad.advice`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models import *  # noqa: F403
    from models import plain as plain
    from models import preact as preact
    from models import predict as predict
    from models import pretrained as pretrained
    from models import resnet as resnet
    from models import vgg as vgg

FOLDER = Path(__file__).resolve().parents[1] / "models"


def _nets() -> ModuleType:
    """Import models/, under its own name if that leads there, and else under the name of this module."""
    file = FOLDER / "__init__.py"
    found = find_spec("models")
    if found is not None and found.origin and Path(found.origin).resolve() == file:
        return import_module("models")
    spec = spec_from_file_location(__name__, file, submodule_search_locations=[str(FOLDER)])
    if spec is None or spec.loader is None or not file.exists():
        raise ImportError(f"minigrad.models: expected minigrad's nets in {FOLDER}; install minigrad-numpy again")
    package = sys.modules[__name__] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


_package = _nets()
for _file in FOLDER.glob("[!_]*.py"):
    sys.modules[f"{__name__}.{_file.stem}"] = import_module(f"{_package.__name__}.{_file.stem}")
sys.modules[__name__] = _package  # what `import minigrad.models` gives
