"""From specifications to objects. A constructor's signature is the only schema.

A specification is a name, a dotted ``package.module:Class``, a dictionary ``{"name": ..., arguments}``, a class or an
instance. Its normal form is a dictionary with the name and *every* argument of the constructor.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gcl.core.classes import class_paths, find_class, name_of
from gcl.core.errors import ConfigError, GCLError, unknown

NAME = "name"


@dataclass(frozen=True)
class Slot:
    """Marks a constructor argument that takes a part: ``encoder: Annotated[Any, Slot("encoder")]``.

    With ``many`` it takes named parts that are applied in order, ``{"edge": spec, "feature": spec}``; a single
    specification stands for one part, and ``None`` in a mapping takes a part out.
    """

    kind: str
    many: bool = False


def normalise(slot: str, spec: Any, preset: Any = None) -> Any:
    """The normal form of a specification, merged over a preset.

    The same name keeps the preset's arguments and replaces those that are given; a new name discards them and takes its
    class's defaults. An instance is returned as it is.

    Args:
        slot: the kind of part.
        spec: the specification, or ``None`` for the preset alone.
        preset: what is merged under it.

    Raises:
        ConfigError: an unknown name or key (the nearest is given), or a value of the wrong type.
    """
    return _normalise(slot, spec, preset, where=slot)


def resolve(slot: str, spec: Any, **overrides: Any) -> Any:
    """The object of a specification. Parts inside it stay specifications; it resolves them itself.

    Raises:
        ConfigError: as :func:`normalise`, or what the constructor refuses.
    """
    if _is_instance(spec):
        if overrides:
            raise ConfigError(f"{slot} was given as an object; its arguments {sorted(overrides)} cannot be changed")
        return spec
    record = normalise(slot, overrides or None, spec) if spec is not None else normalise(slot, overrides)
    arguments = {key: value for key, value in record.items() if key != NAME}
    cls = find_class(slot, record[NAME])
    try:
        return cls(**arguments)
    except GCLError as error:
        raise type(error)(f"{slot} {record[NAME]!r}: {error}") from None


def resolve_many(slot: str, spec: Any) -> dict[str, Any]:
    """The objects of named parts, in order."""
    return {key: resolve(slot, value) for key, value in _as_parts(slot, spec).items() if value is not None}


def describe(obj: Any) -> Any:
    """The specification of an object, from its stored arguments; the inverse of :func:`resolve`.

    An object that does not store its arguments (a module from elsewhere) is described by its class alone, with the key
    ``opaque``: such a description cannot be resolved.
    """
    if isinstance(obj, Mapping):
        return {key: describe(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [describe(value) for value in obj]
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, Path):
        return str(obj)
    if inspect.isclass(obj):
        return {NAME: name_of(obj)}
    record: dict[str, Any] = {NAME: name_of(type(obj))}
    for key in _signature(type(obj)):
        if not hasattr(obj, key):
            return {NAME: name_of(type(obj)), "opaque": True}
        record[key] = describe(getattr(obj, key))
    return record


def dotted_key(cls: type, key: str, given: Mapping[str, Any] = {}, *, absent: bool = False) -> str | None:
    """``part.key`` of the first part of a class that takes an argument of this name; ``None`` where none does.

    Args:
        cls: whose parts.
        key: an argument that it does not take itself.
        given: specifications of its parts, where they are not the defaults.
        absent: look at the parts that are ``None`` in place of the others; of such a part any will do.
    """
    hints = hints_of(cls)
    for name, parameter in _signature(cls).items():
        slot, spec = _slot_of(hints.get(name)), given.get(name, parameter.default)
        if slot is None or slot.many or _is_instance(spec) or (spec is None) != absent:
            continue
        part = _as_mapping(slot.kind, spec, name).get(NAME)
        if part is None and not absent:  # a mapping without a name changes the default
            part = _as_mapping(slot.kind, parameter.default, name).get(NAME)
        for known in [part] if part is not None else class_paths(slot.kind):
            if key in _signature(find_class(slot.kind, known)):
                return f"{name}.{key}"
    return None


# -- normal forms ----------------------------------------------------------------------------------------------------


def _normalise(slot: str, spec: Any, preset: Any, where: str) -> Any:
    if _is_instance(spec):
        return spec
    given = _as_mapping(slot, spec, where)
    base = _as_mapping(slot, None if _is_instance(preset) else preset, where)
    name = given.get(NAME, base.get(NAME))
    if name is None:
        if _is_instance(preset):
            raise ConfigError(f"{where} is an object; its arguments {sorted(given)} cannot be changed, give a name too")
        registered = class_paths(slot)
        if len(registered) != 1:
            raise ConfigError(f"{where} needs a name, one of: {', '.join(sorted(registered))}")
        name = next(iter(registered))
    cls = find_class(slot, name)
    if base.get(NAME) is not None and find_class(slot, base[NAME]) is not cls:
        base = {}
    parameters = _signature(cls)
    hints = hints_of(cls)
    for key in (*given, *base):
        if key != NAME and key not in parameters:
            inner = dotted_key(cls, key, {**base, **given}) or dotted_key(cls, key, {**base, **given}, absent=True)
            raise ConfigError(
                f"{where}: unknown key {key!r}; did you mean '{where}.{inner}'?"
                if inner
                else f"{where}: {unknown('key', key, parameters)}"
            )
    record: dict[str, Any] = {NAME: name_of(cls)}
    for key, parameter in parameters.items():
        layers = [layer[key] for layer in (base, given) if key in layer]
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        if not layers and parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{where}: {name!r} needs {key}; give {where}.{key}=...")
        record[key] = _merge(hints.get(key, Any), default, layers, f"{where}.{key}")
    return record


def _merge(hint: Any, default: Any, layers: Sequence[Any], where: str) -> Any:
    """The value of one argument: its default, then each layer over it, by the argument's annotation."""
    slot = _slot_of(hint)
    mapping_of = _mapping_value(hint)
    value = default
    for index, layer in enumerate([default, *map(_plain, layers)]):
        if slot is not None:
            if layer is None:
                value = None
            elif slot.many:
                value = _merge_parts(slot.kind, layer, None if index == 0 else value, where)
            else:
                value = _normalise(slot.kind, layer, None if index == 0 else value, where)
        elif mapping_of is not None and isinstance(layer, Mapping):
            below = value if index and isinstance(value, Mapping) else {}
            value = {
                key: _merge(mapping_of, below.get(key), [layer[key]] if key in layer else [], f"{where}.{key}")
                for key in (*below, *(key for key in layer if key not in below))
            }
        else:
            value = layer
    if slot is None:
        _check(value, hint, where, is_default=not layers)
    return list(value) if type(value) is tuple else value  # as a file of settings holds it


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number; anything else as it is."""
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_scalar else value


def _merge_parts(kind: str, spec: Any, preset: Any, where: str) -> dict[str, Any]:
    parts = _as_parts(kind, spec)
    single = not isinstance(spec, Mapping) or NAME in spec
    below: dict[str, Any] = {} if single or preset is None else dict(preset)
    for key, part in parts.items():
        if part is None:  # stays in the normal form where it takes out a part of the defaults
            if key in below:
                below[key] = None
        else:
            below[key] = _normalise(kind, part, below.get(key), f"{where}.{key}")
    return below


def _as_parts(kind: str, spec: Any) -> dict[str, Any]:
    """Named parts of a ``many`` slot: a mapping of parts, a sequence of them, or a single one."""
    if spec is None:
        return {}
    if isinstance(spec, Mapping) and NAME not in spec:
        return dict(spec)
    if isinstance(spec, list | tuple):
        return {f"part{index}": part for index, part in enumerate(spec)}
    return {kind: spec}


def _as_mapping(slot: str, spec: Any, where: str) -> dict[str, Any]:
    if spec is None:
        return {}
    if isinstance(spec, str):
        return {NAME: spec}
    if inspect.isclass(spec):
        return {NAME: name_of(spec)}
    if isinstance(spec, Mapping):
        if spec.get("opaque"):
            raise ConfigError(f"{where} was an object ({spec[NAME]}) that cannot be made again from its description")
        return dict(spec)
    raise ConfigError(f"{where} must be a name, a mapping with a name, a class or an object, got {spec!r}")


def _is_instance(spec: Any) -> bool:
    plain = (Mapping, str, int, float, list, tuple)
    return spec is not None and not isinstance(spec, plain) and not inspect.isclass(spec)


def _signature(cls: type) -> dict[str, inspect.Parameter]:
    """Constructor arguments that can be configured."""
    parameters = list(inspect.signature(cls).parameters.values())
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {parameter.name: parameter for parameter in parameters if parameter.kind not in kinds}


def hints_of(cls: type) -> dict[str, Any]:
    """The annotations of a constructor's arguments, slots among them."""
    return get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]  # it may be a subclass's


# -- values against annotations --------------------------------------------------------------------------------------


def _slot_of(hint: Any) -> Slot | None:
    if get_origin(hint) is Annotated:
        return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Slot)), None)
    if get_origin(hint) in (Union, types.UnionType):
        return next((slot for option in get_args(hint) if (slot := _slot_of(option)) is not None), None)
    return None


def _mapping_value(hint: Any) -> Any:
    """``X`` of ``Mapping[str, X]`` where parts are somewhere inside it, else ``None``."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((found for option in get_args(hint) if (found := _mapping_value(option)) is not None), None)
    if get_origin(hint) in (dict, Mapping):
        arguments = get_args(hint)
        if len(arguments) == 2 and (_slot_of(arguments[1]) or _mapping_value(arguments[1]) is not None):
            return arguments[1]
    return None


def _check(value: Any, hint: Any, where: str, *, is_default: bool) -> None:
    if not is_default and not _fits(value, hint):
        raise ConfigError(f"{where} must be {_wording(hint)}, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any or isinstance(hint, str):
        return True
    if origin is Annotated:
        return _fits(value, get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if origin in (list, Sequence) or getattr(hint, "_name", None) == "Sequence":
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if origin is tuple:
        options = get_args(hint)
        if len(options) == 2 and options[1] is ...:
            return isinstance(value, list | tuple) and all(_fits(item, options[0]) for item in value)
        return isinstance(value, list | tuple) and len(value) == len(options) and all(map(_fits, value, options))
    if origin is not None:
        return isinstance(value, Mapping) if issubclass(origin, Mapping) else True
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _wording(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(option) for option in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_wording(option) for option in arguments)
    if hint is type(None):
        return "null"
    plain = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    if hint in plain:
        return plain[hint]
    if origin in (list, tuple, Sequence) and arguments:
        return f"a list ({_wording(arguments[0])})"
    return getattr(hint, "__name__", str(hint))
