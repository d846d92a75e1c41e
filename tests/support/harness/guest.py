"""PID 1 of an emulated machine: makes its namespaces, then runs programs and reads files in them for the harness.

Started as `python -I -S guest.py SOCKET`, with the standard library alone.  A user namespace makes it root of nothing
but this machine; mounts show the system read-only, Python as a copy on write, and the folders of one job.  It ends with
its socket, and every process of the machine with it.  The protocol is in `machine.py`, which is the other end.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import platform
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable
from typing import Any

_NEW_MOUNTS, _NEW_USER, _NEW_PROCESSES, _NEW_IPC, _NEW_NAMES = 0x20000, 0x10000000, 0x20000000, 0x8000000, 0x4000000
_READ_ONLY, _NO_SUID, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4096, 16384, 1 << 18
_DETACH = 2
_SET_PARENT_DEATH_SIGNAL, _SET_DUMPABLE = 1, 4
# Neither has a function in every C library.
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_HERE, _WHOLE_TREE = -100, 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())


def _unshare(flags: int) -> None:
    """Enter new namespaces, as the user that this process has been: root inside, whoever it was outside."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEW_USER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _show(source: str, target: str, *, read_only: bool = False) -> None:
    """Let a file or folder of the outside stand at `target`."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    _mount(source, target, flags=_BIND | _RECURSIVE)
    if read_only:
        attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
        _call("syscall", _MOUNT_SETATTR, _HERE, target.encode(), _WHOLE_TREE, attributes, ctypes.c_size_t(32))


def _copy_on_write(source: str, target: str, changes: str, layer: str | None) -> None:
    """Let a folder stand at `target`, another one laid over it, whose changes stay in this machine."""
    upper, work = os.path.join(changes, "upper"), os.path.join(changes, "work")
    for folder in (target, upper, work):
        os.makedirs(folder, exist_ok=True)
    try:
        lower = f"{layer}:{source}" if layer else source
        _mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work},userxattr")
    except OSError:  # not over every file system
        copy = os.path.join(changes, "copy")
        for each in filter(None, (source, layer)):
            shutil.copytree(each, copy, symlinks=True, dirs_exist_ok=True)
        _show(copy, target)


def build(plan: dict[str, Any]) -> None:
    """Make the machine's file system out of the outside's, and leave the outside.

    Arguments:
        plan: `root`, an empty folder; `system`, paths to show as they are, read-only; `copies`, lists of a path and a
            folder for its changes, and of a folder to lay over it, if any; `binds`, lists of a path outside and the
            path inside; `read`, the same for what nobody may change.
    """
    root = plan["root"]
    _mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    _mount("machine", root, "tmpfs", options="mode=755")
    for path in plan["system"]:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        else:
            _show(path, root + path, read_only=True)
    for name in ("null", "zero", "full", "random", "urandom"):
        _show(f"/dev/{name}", f"{root}/dev/{name}")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{root}/dev/{name}")
    for name in ("dev/shm", "run", "proc", "var/tmp"):
        os.makedirs(f"{root}/{name}")
    os.chmod(f"{root}/dev/shm", 0o1777)
    os.chmod(f"{root}/var/tmp", 0o1777)
    _mount("proc", f"{root}/proc", "proc")
    for source, target in plan["binds"]:
        _show(source, root + target)
    for source, target in plan["read"]:
        _show(source, root + target, read_only=True)
    for path, changes, layer in plan["copies"]:
        _copy_on_write(path, root + path, changes, layer or None)
    os.chdir(root)
    _call("syscall", _PIVOT_ROOT[platform.machine()], b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")
    # In one more namespace the mounts are locked: root inside can't make them writable, or take them off.
    _unshare(_NEW_MOUNTS)
    _call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)


def run(request: dict[str, Any], output: int) -> dict[str, Any]:
    """Run a program to its end, and say how it ended; what it leaves behind continues."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.chdir(request["cwd"])
            os.execve(request["command"][0], request["command"], request["env"])
        except OSError as problem:
            os.write(2, f"{request['command'][0]}: {problem}\n".encode())
        finally:
            os._exit(127)
    late = []

    def stop(number: int, frame: Any) -> None:
        late.append(number)
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    while True:
        ended, status = os.waitpid(-1, 0)  # PID 1 also buries what others left behind
        if ended == child:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return {"code": os.waitstatus_to_exitcode(status), "late": bool(late)}


def _read(path: str) -> str | None:
    """The content of a regular file in base64; None where there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        with open(file, "rb", closefd=False) as opened:
            return base64.b64encode(opened.read()).decode("ascii")
    finally:
        os.close(file)


def read(request: dict[str, Any]) -> dict[str, Any]:
    """The contents of files."""
    return {"files": [_read(path) for path in request["paths"]]}


def write(request: dict[str, Any]) -> dict[str, Any]:
    """Create or replace files, and their folders."""
    for path, content in request["files"]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
    for path in request["removed"]:
        if os.path.lexists(path) and not os.path.isdir(path):
            os.unlink(path)
    return {}


def collect(request: dict[str, Any]) -> dict[str, Any]:
    """The files below a folder, or the one file, by their path; hidden ones are left out, as upload-artifact does."""
    root = request["path"]
    if os.path.isfile(root):
        return {"files": [[os.path.basename(root), _read(root)]]}
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(path):
                found.append([os.path.relpath(path, root), _read(path)])
    return {"files": sorted(found)}


_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"read": read, "write": write, "collect": collect}


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next request, and the file that came with it.

    Raises:
        EOFError: the other end is gone.
    """
    head, files, _, _ = socket.recv_fds(control, 8, 1)
    size, data = int.from_bytes(head, "big"), b""
    while len(data) < size:
        more = control.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    if not head:
        raise EOFError
    return json.loads(data), list(files)


def answer(control: socket.socket, reply: dict[str, Any]) -> None:
    """Send an answer."""
    data = json.dumps(reply).encode()
    control.sendall(len(data).to_bytes(8, "big") + data)


def serve(control: socket.socket) -> None:
    """Carry out requests until the other end is gone."""
    while True:
        try:
            request, files = receive(control)
        except (EOFError, OSError):
            return
        try:
            if request["operation"] == "run":
                reply = run(request, files[0])
            else:
                reply = _OPERATIONS[request["operation"]](request)
        except (OSError, ValueError) as problem:
            reply = {"error": str(problem)}
        for file in files:
            os.close(file)
        answer(control, reply)


def main() -> None:
    """Make the machine, and serve; the process that was started only waits for the machine's PID 1."""
    control = socket.socket(fileno=int(sys.argv[1]))
    plan, _ = receive(control)
    try:
        _unshare(_NEW_MOUNTS | _NEW_PROCESSES | _NEW_IPC | _NEW_NAMES)
    except OSError as problem:
        answer(control, {"unavailable": problem.strerror})
        return
    child = os.fork()
    if child:
        control.close()
        os.waitpid(child, 0)
        return
    try:
        build(plan)
    except OSError as problem:
        answer(control, {"unavailable": problem.strerror})
        os._exit(1)
    _call("prctl", _SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    answer(control, {})
    serve(control)
    os._exit(0)


if __name__ == "__main__":
    main()
