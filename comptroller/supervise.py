"""Keeps the recorder running beside the gateway: started before it, restarted when it dies, stopped
last, so that it records what the workers settled while they drained."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from comptroller.data_dir import READY_LINE
from comptroller.serve import CONFIG_VARIABLE, REDIS_VARIABLE

STOP_S_MAX = 60.0
RESTART_PAUSE_S = 1.0
_log = logging.getLogger("comptroller.up")


class RecorderFailed(RuntimeError):
    """The recorder did not start; its log says why."""


class RecorderProcess:
    """The recorder as a child process; its log is `<data dir>/recorder.log`."""

    def __init__(self, data_dir: Path, config_path: Path | None, redis_url: str) -> None:
        self._log_path = data_dir / "recorder.log"
        self._environment = {
            **os.environ,
            "COMPTROLLER_DATA_DIR": str(data_dir),
            REDIS_VARIABLE: redis_url,
        }
        if config_path is not None:
            self._environment[CONFIG_VARIABLE] = str(config_path)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts it and waits until the records are open. Raises RecorderFailed."""
        ready = threading.Event()
        # One thread starts every process and lives as long as they: the kernel ends a child with
        # the thread that made it.
        self._watcher = threading.Thread(target=self._keep_running, args=(ready,), daemon=True)
        self._watcher.start()
        ready.wait()
        if self._process is None or self._process.poll() is not None:
            raise RecorderFailed(f"{self._last_words()} (all of it is in {self._log_path})")

    def _last_words(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        last = lines[-1] if lines else "it said nothing"
        return last.removeprefix("comptroller: ")

    def _keep_running(self, ready: threading.Event) -> None:
        while not self._stopping.is_set():
            with self._log_path.open("ab") as log:
                self._process = process = subprocess.Popen(
                    [sys.executable, "-m", "comptroller.record"],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            assert process.stdout is not None
            started = process.stdout.readline().strip() == READY_LINE.encode()
            if not started and not ready.is_set():
                process.wait()
                ready.set()
                return
            ready.set()
            process.wait()
            process.stdout.close()
            if not self._stopping.is_set():
                _log.warning("the recorder ended (%s) and is started again", process.returncode)
                self._stopping.wait(RESTART_PAUSE_S)

    def stop(self) -> None:
        """Asks it to record what is left and end, and waits for that."""
        self._stopping.set()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
