"""The real application in a process of its own, for tests: `with running_studio(...) as studio`."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_PATIENCE_S = 120.0


@dataclass
class Studio:
    """A server that answers at `url`; `output` is what it has said so far."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End the server; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def wait_for_run(self, kind: str, patience_s: float = 120) -> None:
        """Until a run of this kind has succeeded."""
        deadline = time.monotonic() + patience_s
        query = "SELECT 1 FROM training_run WHERE kind = ? AND status = 'succeeded'"
        while time.monotonic() < deadline:
            with closing(sqlite3.connect(self.data_dir / "studio.db")) as connection:
                if connection.execute(query, [kind]).fetchone():
                    return
            time.sleep(0.1)
        raise AssertionError(f"no {kind} run succeeded within {patience_s:g} s:\n{self.output}")

    def console(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a console command on the server's data directory."""
        return run_console(*arguments, "--data-dir", str(self.data_dir), timeout=timeout)


def run_console(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """`reward-studio ARGUMENTS` in a process of its own, output captured."""
    return subprocess.run(
        [sys.executable, "-m", "studio.cli", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def clean_environment() -> dict[str, str]:
    """Ours without STUDIO_* variables, which would change what is tested."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}


@contextmanager
def running_studio(data_dir: Path, backbone: Path | str, *flags: str) -> Iterator[Studio]:
    """Start `serve` on a free port and stop it, with its jobs, at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}-serve.log"
    command = [sys.executable, "-u", "-m", "studio.cli", "serve", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--backbone", str(backbone), *flags]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        yield Studio(_wait_for_url(process, log), data_dir, process, log)
    finally:
        _end(process)
        end_jobs(data_dir)


def _wait_for_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        found = re.search(r"Reward Studio is at (http://\S+)", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_jobs(data_dir: Path) -> None:
    """Kill the job processes that a server left behind on purpose."""
    path = data_dir / "studio.db"
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT pid, pid_started FROM training_run "
            "WHERE finished_at IS NULL AND pid IS NOT NULL"
        ).fetchall()
    from studio.jobs import processes

    for pid, mark in rows:
        if processes.is_running(pid, mark):
            os.killpg(pid, signal.SIGKILL)
