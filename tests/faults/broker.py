"""A broker process under test: started by a command, waited for, killed, started again.

The command is a template: {dir} is the data directory, {port} the port. The same scripts so run against
Ottla and against any other broker that speaks the protocol.
"""
import os
import shlex
import signal
import socket
import subprocess
import time

OTTLA = "target/release/ottla serve --data-dir {dir} --listen 127.0.0.1:{port}"


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """One broker process; `pid` changes with every start."""

    def __init__(self, command, data_dir, port, log_path):
        self.argv = shlex.split(command.format(dir=data_dir, port=port))
        self.address = f"127.0.0.1:{port}"
        self.port = port
        self.log = open(log_path, "ab")
        self.process = None

    def start(self, patience_s=60, env=None):
        """Starts the process, with more in its environment, and returns the seconds until it answered a request (ApiVersions)."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {})})
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"the broker ended with {self.process.returncode} at start; its log: {self.log.name}")
            if self._answers():
                return time.monotonic() - began
            if time.monotonic() - began > patience_s:
                raise SystemExit(f"the broker does not answer after {patience_s} s; its log: {self.log.name}")
            time.sleep(0.005)

    def _answers(self):
        # length | ApiVersions, version 0, correlation id 7, no client id
        request = (10).to_bytes(4, "big") + bytes([0, 18, 0, 0, 0, 0, 0, 7, 0xFF, 0xFF])
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.settimeout(2)
                s.sendall(request)
                return len(s.recv(8)) > 0
        except OSError:
            return False

    def kill(self):
        """kill -9, and waits until the process is gone."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, patience_s=30):
        """SIGTERM; returns (exit code, seconds)."""
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(patience_s)
        return code, time.monotonic() - began
