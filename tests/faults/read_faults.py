#!/usr/bin/env python3
"""read_faults.py: one segment of one partition cannot be read any more (EIO).

The data directory lies in a FUSE file system of this script, which hands everything through to a directory beside it, and answers reads of
one file with EIO from a moment on. The partition's other segments, the other partitions and all appends must go on, the reader of the
bad range must be told so, and when the disk reads again so must everyone, without a restart.

Needs root, /dev/fuse, and Python with confluent-kafka and fusepy (libfuse2); says SKIP where that is missing.
"""
import errno
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kill_restart
import raw
import raw_fetch
import scene

try:
    import fuse
except (ImportError, OSError):
    fuse = None

RECORDS = 4000


class Through(fuse.Operations if fuse else object):
    """Everything goes through, but reads of files whose path has what the control file says."""

    def __init__(self, root, control):
        self.root, self.control = root, control

    def _at(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path, size, offset, fh):
        bad = self.control.read_text() if self.control.exists() else ""
        if bad and bad in path:
            raise fuse.FuseOSError(errno.EIO)
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def open(self, path, flags):
        return os.open(self._at(path), flags)

    def create(self, path, mode, fi=None):
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def getattr(self, path, fh=None):
        st = os.lstat(self._at(path))
        return {key: getattr(st, key) for key in
                ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid", "st_blocks")}

    def truncate(self, path, length, fh=None):
        os.truncate(self._at(path), length)

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self._at(path))]

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def unlink(self, path):
        os.unlink(self._at(path))

    def rename(self, old, new):
        os.rename(self._at(old), self._at(new))

    def chmod(self, path, mode):
        os.chmod(self._at(path), mode)

    def utimens(self, path, times=None):
        os.utime(self._at(path), times)

    def statfs(self, path):
        st = os.statvfs(self._at(path))
        return {key: getattr(st, key) for key in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")}

    def fsync(self, path, datasync, fh):
        os.fdatasync(fh) if datasync else os.fsync(fh)

    def flush(self, path, fh):
        return 0

    def release(self, path, fh):
        os.close(fh)


def serve(root, at, control):
    fuse.FUSE(Through(root, control), str(at), foreground=True, direct_io=True, default_permissions=True)


def unreadable(stage):
    if fuse is None or not os.path.exists("/dev/fuse"):
        raise scene.Skip("no fusepy, or no /dev/fuse")
    root, at, control = stage.place / "real", stage.place / "data", stage.place / "control"
    root.mkdir()
    at.mkdir()
    server = multiprocessing.Process(target=serve, args=(str(root), at, control), daemon=True)
    server.start()
    if scene.eventually(lambda: os.path.ismount(at), 10) is None:
        raise scene.Skip("FUSE does not mount here")
    try:
        return judged(stage, root, control)
    finally:
        stage.end()
        subprocess.run(["umount", str(at)], check=False)
        server.join(5)


def judged(stage, root, control):
    stage.start("log.segment.bytes=1048576")
    kill_restart.create_topic(stage.broker.address, "ledger", 2)
    client, problems = stage.client(), []
    for number in range(RECORDS):
        for partition in range(2):
            value = f"{number:08}".encode() + b"." * 1000
            if client.produced(raw.produce("ledger", partition, raw.batch([value])), "ledger"):
                problems.append(f"{partition}:{number} was refused before anything was wrong")
    segments = sorted(path.name for path in root.rglob("ledger-0/*.log"))
    bad = segments[1]
    first_bad, after_bad = int(bad[:20]), int(segments[2][:20])

    def read(partition):
        reader = raw_fetch.Consumer(stage.port, "ledger", partition)
        found, said = reader.read(0, RECORDS)
        reader.close()
        return found, sorted({what for _, what in said}), [offset for offset, _ in said]

    control.write_text(f"ledger-0/{bad}")
    found, said, missed = read(0)
    lost = [offset for offset in range(RECORDS) if offset not in found]
    if lost and (min(lost) < first_bad or max(lost) >= after_bad):
        problems.append(f"records {min(lost)} to {max(lost)} cannot be read, the bad segment has {first_bad} to {after_bad}")
    if not lost:
        problems.append("everything was read: the fault did not reach the broker")
    neighbour, told, _ = read(1)
    if len(neighbour) != RECORDS or told:
        problems.append(f"the other partition: {len(neighbour)} of {RECORDS}, told {told}")
    refused = [partition for partition in range(2) if client.produced(raw.produce("ledger", partition, raw.batch([b"after"])), "ledger")]
    if refused:
        problems.append(f"appends to {refused} were refused")
    control.write_text("")
    began = time.monotonic()
    again, told_after, _ = read(0)
    if len(again) != RECORDS:
        problems.append(f"after the disk reads again {RECORDS - len(again)} are missing, told {told_after}")
    return (f"segments={len(segments)} of partition 0, {first_bad}..{after_bad} bad, unreadable={len(lost)} told={said} "
            f"others={len(neighbour)} appended=yes again_s={time.monotonic() - began:.1f}"), problems


SCENES = {"unreadable": unreadable}

if __name__ == "__main__":
    scene.play(__doc__, SCENES)
