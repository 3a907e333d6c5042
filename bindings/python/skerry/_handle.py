"""Ownership of the library's objects.

The library must not be called with an object that is being closed. A handle counts its users
without a lock, which a forked child might find held: list.append and list.pop are atomic, a user
enters before it looks whether the handle is closing, and a closer says so before it looks for
users.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Callable, List, Optional


class Handle:
    """A pointer that is freed once: by close(), or by the last user if close() came first."""

    def __init__(self, pointer: int, free: Callable[[int], Any], closed_message: str) -> None:
        self._pointer: Optional[int] = pointer
        self._free = free
        self._to_free: List[int] = [pointer]
        self._users: List[None] = []
        self._pins: List[None] = []
        self._closing = False
        self._closed_message = closed_message
        _handles.add(self)

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def in_use(self) -> bool:
        return bool(self._users) or bool(self._pins)

    def __enter__(self) -> int:
        self._users.append(None)
        if self._closing:
            self.__exit__()
            raise ValueError(self._closed_message)
        return self._pointer  # type: ignore[return-value]

    def __exit__(self, *_: Any) -> None:
        try:
            self._users.pop()
        except IndexError:  # forgotten in a forked child
            pass
        self._free_if_last()

    def pin(self) -> None:
        """A user that outlives the call, and a fork: memory that is still shown."""
        self._pins.append(None)

    def unpin(self) -> None:
        self._pins.pop()
        self._free_if_last()

    def refuse(self) -> None:
        """New users are turned away from now on."""
        self._closing = True

    def close(self) -> Any:
        """Frees now, or leaves it to the last user. Returns what `free` returned, else None."""
        self._closing = True
        return None if self.in_use else self._free_once()

    def _free_if_last(self) -> None:
        if self._closing and not self.in_use:
            self._free_once()

    def _free_once(self) -> Any:
        try:
            pointer = self._to_free.pop()
        except IndexError:
            return None
        self._pointer = None
        return self._free(pointer)


_handles: "weakref.WeakSet[Handle]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The threads that were inside a call are the parent's.
    for handle in list(_handles):
        handle._users.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
