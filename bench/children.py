"""Helper processes of the bench: each has a CPU bill of its own, which nobody counts.

A child speaks lines of JSON over its standard streams and ends when its input does, so that none
outlives the bench, however that ends.
"""

import json
import selectors
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

END_TIMEOUT_S = 5.0
FIRST_LINE_TIMEOUT_S = 15.0


class BenchFailed(Exception):
    """Something did not do its part; the message says what."""


class Child:
    """`python -m bench.<module>`, ready once it has said its first line (`first`)."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C reaches the bench only, which ends them in order
        )
        try:
            self.first = self._line(FIRST_LINE_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """One line there, one line back. Raises BenchFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return self._line(timeout_s)

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise BenchFailed(f"bench.{self._name} said nothing for {timeout_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"bench.{self._name} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Ends it, and waits for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
