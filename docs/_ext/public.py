"""The reference: ``.. public:: minigrad minigrad.ops.conv`` documents what users call, in the order of the source.

It takes the names that a package lists in ``__all__`` (those without an underscore, where there is no list) and that
are defined in the module. So a new function gets its entry by being public, and tests/docs/test_site.py makes sure that
no module is forgotten.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import reading
from docutils import nodes
from docutils.statemachine import StringList
from sections import to_rest
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Public(SphinxDirective):
    """Entries for the public names of a package that one of its modules defines."""

    required_arguments = 1
    optional_arguments = 1
    option_spec = {"only": str.split}  # noqa: RUF012  docutils reads it from the class

    def run(self) -> list[nodes.Node]:
        """Return the entries."""
        package, module = self.arguments[0], self.arguments[-1]
        self.env.note_dependency(str(reading.files()[module].path))
        lines = [f".. py:currentmodule:: {package}", ""]
        for name, thing in names(package, module):
            if name not in self.options.get("only", [name]):
                continue
            if isinstance(thing, type):
                kinds = [thing, *(base for base in thing.__bases__ if base.__module__.startswith(f"{package}."))]
                own = [kind for kind in kinds if kind is thing or not hasattr(import_module(package), kind.__name__)]
                methods = [m for c in own for m, f in vars(c).items() if not m.startswith("_") and inspect.getdoc(f)]
                lines += [f".. autoclass:: {package}.{name}"]
                if not issubclass(thing, Exception):
                    fields = getattr(thing, "_fields", ())  # of a NamedTuple: its docstring describes them
                    members = [m for m in methods if not m.isupper() and m not in fields]
                    lines += [f"   :members: {', '.join(members)}"] if members else []
                lines += [""]
            else:
                lines += [f".. autofunction:: {package}.{name}", ""]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, items=[(self.env.docname, 0)] * len(lines)), 0, node)
        return node.children


def names(package: str, module: str) -> list[tuple[str, Any]]:
    """List what `package` offers of `module`, from first line to last."""
    offered = import_module(package)
    listed = getattr(offered, "__all__", [name for name in vars(offered) if not name.startswith("_")])
    found = []
    for name in listed:
        thing = getattr(offered, name)
        if callable(thing) and getattr(thing, "__module__", None) == module and thing.__doc__:
            place = reading.index().find(f"{module}.{thing.__qualname__}")
            found.append((place[1] if place else 0, name, thing))
    if not found:
        raise ValueError(f"public: {package} has no public names of {module}")
    return [(name, thing) for _, name, thing in sorted(found, key=lambda entry: entry[0])]


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn numpydoc into reST."""
    lines[:] = to_rest(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
