"""Starting, killing and stopping the broker under test."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

BIN = os.environ.get("KEROLOX_TEST_BIN")
NAMESRV = os.environ.get("KEROLOX_TEST_NAMESRV")


class Broker:
    """A Kerolox process, or a cluster that already runs (which can't be restarted)."""

    def __init__(self):
        self.process = None
        self.dir = None
        self.ports = {}
        self.namesrv = NAMESRV
        if NAMESRV:
            return
        if not BIN:
            raise RuntimeError(
                "set KEROLOX_TEST_BIN to the kerolox binary, or KEROLOX_TEST_NAMESRV to host:port of a running cluster"
            )
        self.dir = tempfile.mkdtemp(prefix="kerolox-compat-cpp-")
        try:
            self.start()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                self.stop()
            raise

    def start(self):
        """Runs the process until it is ready; after kill() on the same data and ports."""
        ports_file = os.path.join(self.dir, "ports.json")
        if os.path.exists(ports_file):
            os.remove(ports_file)
        args = [BIN, "server", "--data-dir", os.path.join(self.dir, "data"), "--ports-file", ports_file]
        for name in ("namesrv", "broker", "grpc", "proxy", "http"):
            args += [f"--{name}-port", str(self.ports.get(name, 0))]
        with open(os.path.join(self.dir, "stderr.txt"), "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not os.path.exists(ports_file):
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended before it was ready\n{self.stderr_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the broker was not ready in 30 s\n{self.stderr_tail()}")
            time.sleep(0.02)
        with open(ports_file, encoding="utf-8") as file:
            self.ports = json.load(file)
        self.namesrv = f"127.0.0.1:{self.ports['namesrv']}"

    def kill(self):
        """Ends the process at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends the process in order and removes its files."""
        if self.dir is None:
            return
        try:
            if self.process is None:
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker had ended by itself\n{self.stderr_tail()}")
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                tail = self.stderr_tail()
                self.kill()
                raise RuntimeError(f"the broker did not end in 20 s after SIGTERM\n{tail}") from None
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def stderr_tail(self):
        """The end of what the broker wrote."""
        if self.dir is None:
            return ""
        with open(os.path.join(self.dir, "stderr.txt"), "rb") as file:
            return "end of the broker's stderr:\n" + file.read()[-4000:].decode("utf-8", "replace")
