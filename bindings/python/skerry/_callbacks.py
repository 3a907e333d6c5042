"""Python functions as the callbacks of C functions that take long."""

from __future__ import annotations

import os
from typing import Any, Callable, List, Optional, Tuple

from . import _abi

Progress = Callable[[str, int, int], Any]


class Callbacks:
    """Python functions as the C callbacks; what they raise comes out of check()."""

    def __init__(self, progress: Optional[Progress]) -> None:
        self._function = progress
        self._raised: Optional[BaseException] = None
        self.problems: List[Tuple[str, str]] = []
        self.progress = _abi.ProgressFunction(self._on_progress)
        self.problem = _abi.ProblemFunction(self._on_problem)

    def __enter__(self) -> "Callbacks":
        return self

    def __exit__(self, *_: Any) -> None:
        del self.progress, self.problem  # they refer to this object

    def _on_progress(self, _: Any, what: bytes, done: int, total: int) -> int:
        try:
            if self._function is None:
                return 0
            return 1 if self._function(os.fsdecode(what), done, total) else 0
        except BaseException as error:  # carried over the C frames
            self._raised = error
            return 1

    def _on_problem(self, _: Any, kind: bytes, detail: bytes) -> None:
        self.problems.append((os.fsdecode(kind), os.fsdecode(detail)))

    def check(self, code: int, path: Any) -> None:
        if self._raised is not None:
            raise self._raised
        if code < 0:
            _abi.fail(code, path)
