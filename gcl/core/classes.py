"""The classes behind names: registered ones, and a user's own by ``package.module:Class``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types

from gcl.core.errors import ConfigError, GCLError, nearest, unknown
from gcl.core.registry import PARTS


def names(slot: str) -> list[str]:
    """The registered names of a slot, sorted. Imports nothing."""
    return sorted(class_paths(slot))


def find_class(slot: str, name: str) -> type:
    """The class behind a name or a dotted ``package.module:Class``.

    Raises:
        ConfigError: an unknown name (the nearest is given), or a dotted name that cannot be imported.
    """
    table = class_paths(slot)
    path = table.get(name.lower().replace("-", "_"), name)
    if path is name and ":" not in name:
        raise ConfigError(unknown(slot, name, table))
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name or module_name.startswith("."):
        raise ConfigError(f"{slot} {name!r} names no class; give package.module:Class")
    if module_name.endswith(".py"):
        stem = module_name.rpartition("/")[2][:-3]
        raise ConfigError(f"{slot} {name!r} names a file; give the module, {stem}:{class_name}, and run where it lies")
    try:
        module = _import(module_name)
        found = getattr(module, class_name, None)
    except GCLError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{slot} {name!r} cannot be imported ({error}); install the module, or run where it lies"
        ) from error
    except (Exception, SystemExit) as error:  # whatever a user's module does
        raise ConfigError(
            f"{slot} {name!r} cannot be imported ({type(error).__name__}: {error}); mend the module"
        ) from error
    if found is None:
        known = [each for each, value in vars(module).items() if inspect.isclass(value)]
        close = f"; did you mean {near[0]!r}?" if (near := nearest(class_name, known)) else ""
        where = getattr(module, "__file__", None) or "a module without a file"
        raise ConfigError(f"{slot} {name!r}: {where} has no class {class_name!r}{close or '; give another module'}")
    if not inspect.isclass(found):
        raise ConfigError(f"{slot} {name!r} is not a class")
    return found


def _import(name: str) -> types.ModuleType:
    """A module that is installed, or else lies in the working directory, which a command does not search."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        try:
            here = os.getcwd()
        except OSError:
            raise error from None
        if here in sys.path:
            raise
        sys.path.append(here)  # and stays, for what the module imports later
        importlib.invalidate_caches()
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            sys.path.remove(here)
            raise


def class_paths(slot: str) -> dict[str, str]:
    """``package.module:Class`` of each registered name of a slot."""
    if slot not in PARTS:
        raise ConfigError(unknown("slot", slot, PARTS))
    return PARTS[slot]


def name_of(cls: type) -> str:
    """The registered name of a class, else its dotted ``package.module:Class``."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    for table in PARTS.values():
        for name, known in table.items():
            if known == path:
                return name
    return path
