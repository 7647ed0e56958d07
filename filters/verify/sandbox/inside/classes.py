"""What notices an object that passes for another one by a method nobody can read in its class.

A class that is equal to everything passes every test. Written out, `def __eq__` is found by reading
the patch. There are many ways to give a class a method by a computed name, and no audit event for
them, so classes are looked at themselves: all at the end, and new ones before they can be freed. A
class is part of a cycle, so that only the collector frees it.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from typing import Any

_METHODS_TEXT = """
__bool__ __class__ __contains__ __eq__ __ge__ __getattribute__ __gt__ __hash__ __instancecheck__
__le__ __len__ __lt__ __ne__ __subclasscheck__
"""
_METHODS = tuple(_METHODS_TEXT.split())
_USUAL = (types.WrapperDescriptorType, types.MethodDescriptorType, type(None), property)
"""Of the types that such a method may have besides a function's: `__hash__ = str.__hash__`."""

_space_of: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__


class Classes:
    """The classes that there are before an attempt, and what others do."""

    def __init__(self) -> None:
        self._held = _list_classes()  # so that no other class gets the id of one
        self._known = set(_measure(self._held))

    def watch(self, say: Callable[..., None], changed: Collection[str]) -> Callable[[], None]:
        """Report each method that a file of `changed` gives to a class by another way than `def`:
        from now on whenever the collector begins, and when the returned function is called."""
        said: set[str] = set()
        modules, objects, type_of = sys.modules, gc.get_objects, type
        known = self._known

        def look(classes: list[type]) -> None:
            for one, measured in zip(classes, _measure(classes), strict=True):
                if measured in known:
                    continue
                space = _space_of(one)
                there = [name for name in _METHODS if name in space and name not in said]
                for name in there:
                    if _is_disguised(name, space, changed, modules):
                        said.add(name)
                        say("reached", f"{name} without a def", "")

        def before_collection(phase: str, found: Mapping[str, int]) -> None:
            if phase == "start":
                some = objects(generation=found["generation"])
                # `isinstance` may ask an object's own `__class__`
                look([one for one in some if issubclass(type_of(one), type_of)])

        gc.callbacks.append(before_collection)
        return lambda: look(_list_classes())


def _measure(classes: list[type]) -> Iterator[tuple[int, int]]:
    """Which class each is, and how much it holds: what is added to one is seen."""
    return zip(map(id, classes), map(len, map(_space_of, classes)), strict=True)


def _is_disguised(
    name: str,
    space: Mapping[str, Any],
    changed: Collection[str],
    modules: Mapping[str, types.ModuleType],
) -> bool:
    method = space[name]
    if isinstance(method, types.FunctionType):
        code = method.__code__
        return code.co_filename in changed and code.co_name != name
    if isinstance(method, _USUAL):
        return False
    module = modules.get(space.get("__module__", ""))
    return getattr(module, "__file__", None) in changed


def _list_classes() -> list[type]:
    """All classes that there are, each once: a metaclass may say of its own what equality is."""
    found: dict[int, type] = {id(object): object}
    level: list[type] = [object]
    while level:
        below: Iterator[list[type]] = map(type.__subclasses__, level)
        children = list(chain.from_iterable(below))
        new = dict(zip(map(id, children), children, strict=True))
        level = [new[name] for name in new.keys() - found.keys()]
        found |= new
    return list(found.values())
