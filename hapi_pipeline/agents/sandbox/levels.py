"""How a sandbox is set up at each level, and running one program in it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from hapi_pipeline.agents.sandbox import confine, toolbox
from hapi_pipeline.agents.sandbox.private import private_folder
from hapi_pipeline.agents.texts import clean

LEVELS = ("docker", "podman", "bubblewrap", "landlock")
"""From the strongest to the weakest; the first two only where the operator chose them."""
_CONTAINERS = ("docker", "podman")
# what docker and podman need to find their settings, storage and server; neither hands any of it on to a container
_FOR_THE_TOOL = frozenset(
    ("PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS",
     "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
     "CONTAINER_HOST", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")
)  # fmt: skip
INSIDE = "/workspace"
_HERE = Path(__file__).resolve().parent
_SYSTEM = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/local/lib",
)
_LINKS = ("/lib", "/lib64")  # links into /usr on most systems, folders on some
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_USER = 1000  # within a view of its own
_GRACE = 30.0  # seconds that a launcher may take beyond the time of its program
_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))  # programs that run at the same time

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "$WORKSPACE/.tmp",
    "TMPDIR": "$WORKSPACE/.tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "$WORKSPACE/.tmp",
    # every thread takes address space and counts as a process
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All that a program in the sandbox finds in its environment."""


class SandboxError(Exception):
    """The sandbox itself failed; the program is not to blame."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. Bytes, seconds, counts."""

    seconds: float = 60.0
    memory_bytes: int = 2 << 30
    workspace_bytes: int = 256 << 20
    file_bytes: int = 64 << 20
    files: int = 2000
    processes: int = 64
    open_files: int = 256


@dataclass(frozen=True)
class Program:
    """What is to run: a Python script of that source, or a command; and what it finds.

    `files` are (path in the workspace, file to copy there); `inputs` names read-only folders shown in the workspace;
    `reads` are further paths that the program may read, where they are.
    """

    script: str | None = None
    command: tuple[str, ...] = ()
    files: tuple[tuple[str, Path], ...] = ()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    `why` is empty when it ended by itself, else the limit that ended it: wall, memory, disk, files or processes; or
    not_started. `output` is the head and tail of what it printed.
    """

    exit_code: int
    why: str
    seconds: float
    output: str
    peak_processes: int


def missing(level: str) -> str | None:
    """What a level lacks on this machine, as far as that can be told without trying it."""
    if level in _CONTAINERS:
        if shutil.which(level) is None:
            return f"{level} is not installed"
        return None if os.environ.get("HAPI_SANDBOX_IMAGE") else "HAPI_SANDBOX_IMAGE does not name an image with Python"
    if level == "bubblewrap":
        return None if shutil.which("bwrap") else "bubblewrap is not installed"
    abi = confine.landlock_abi()
    if abi < confine.MIN_ABI:
        return f"this kernel offers Landlock version {abi}, and {confine.MIN_ABI} (Linux 6.2) is needed"
    return None if confine.seccomp_supported() else "seccomp rules are not known for this machine's processor"


def run(level: str, program: Program, packed: IO[bytes]) -> Outcome:
    """Run a program at a level; `packed` receives a tar of the regular files that it leaves in the workspace.

    Waits for a free place first. Raises SandboxError when the sandbox could not do its work.
    """
    with _places, private_folder("hapi-sandbox-") as folder:
        if os.getuid() == 0 or level in _CONTAINERS:
            program = _for_another_user(program, folder)
        tar = folder / "in.tar"
        _write_tar(tar, program)
        start, request = _plan(level, program, folder)
        request["tar_bytes"] = tar.stat().st_size
        with (folder / "errors").open("w+b") as errors:
            try:
                return _carry_out(start, request, tar, packed, errors)
            except (OSError, ValueError, EOFError, KeyError) as error:
                errors.seek(0)
                told = clean(errors.read(2000).decode("utf-8", "replace")).strip()
                raise SandboxError(told.splitlines()[-1] if told else f"{type(error).__name__}: {error}") from error


def _write_tar(path: Path, program: Program) -> None:
    with tarfile.open(path, "w") as archive:
        for name, source in program.files:
            archive.add(source, name, recursive=False)
        if program.script is not None:
            source = path.with_name("script.py")
            source.write_text(program.script, "utf-8", errors="replace")
            archive.add(source, "script.py")


def _for_another_user(program: Program, folder: Path) -> Program:
    """The program with inputs that a user without our rights can read."""
    folder.chmod(0o711)
    inputs = {}
    for name, path in program.inputs.items():
        inputs[name] = folder / "inputs" / name
        shutil.copytree(path, inputs[name], copy_function=shutil.copyfile, symlinks=True)
    for place in (folder / "inputs").rglob("*") if inputs else ():
        if not place.is_symlink():
            place.chmod(0o755 if place.is_dir() else 0o644)
    return replace(program, inputs=inputs)


@dataclass
class _Start:
    """How the launcher is started: its command, and the open files that it is given."""

    command: list[str]
    files: list[int] = field(default_factory=list)


def _bwrap() -> str:
    return shutil.which("bwrap") or "bwrap"


def _plan(level: str, program: Program, folder: Path) -> tuple[_Start, dict[str, Any]]:
    """(how the launcher is started, its request)"""
    own_view = level != "landlock"
    inside = {name: f"/inputs/{name}" if own_view else str(path) for name, path in program.inputs.items()}
    tools = "/toolbox" if own_view else str(toolbox.linked())
    ours = "/sandbox" if own_view else str(_HERE)
    workspace = INSIDE if own_view else str(folder / "workspace")
    python, environment, flags = str(toolbox.interpreter()), ENVIRONMENT, ["-I", "-S", "-B", "-u"]
    if level in _CONTAINERS:  # the image's Python, which the launcher finds out, with the libraries of the image
        python, flags = "{python}", ["-I", "-B", "-u"]
        environment = {**ENVIRONMENT, "PATH": f"/usr/local/bin:{ENVIRONMENT['PATH']}"}
    if program.script is not None:
        argv = [python, *flags, f"{ours}/runner.py", tools, "script.py"]
    else:
        argv = [python if part == "{python}" else part for part in program.command]
    if not own_view:
        (folder / "workspace").mkdir(mode=0o700)
    limits, become = program.limits, _become(level)
    request = {
        "argv": argv,
        "env": environment,
        "workspace": workspace,
        "inputs": inside,
        "reads": _readable(level, program),
        "writes": ["/tmp", "/dev/shm"] if own_view else [],  # noqa: S108  (the sandbox's own)
        "need_landlock": not own_view,
        "become": become,
        "read_all": not own_view and become is not None and confine.may_read_all(),
        "quota_by_mount": own_view,
        "limits": {
            "seconds": limits.seconds,
            "memory_bytes": limits.memory_bytes,
            "workspace_bytes": limits.workspace_bytes,
            "files": limits.files,
            "processes": limits.processes,
        },
        "rlimits": _rlimits(limits),
        "beside_others": level in _CONTAINERS or (not own_view and become is None),
    }
    launcher = ["python3" if level in _CONTAINERS else python, "-I", "-S", "-B", f"{ours}/launcher.py"]
    if level == "landlock":
        return _Start(launcher), request
    start = _bubblewrap(program) if level == "bubblewrap" else _Start(_container(level, program))
    start.command += launcher
    return start, request


def _nobody() -> int | None:
    """A user id that nobody has; None where only user 0 exists, as in some containers.

    (The kernel does not count the processes of user 0. Where that one stands for another user outside, it does.)
    """
    wanted = 0x70000000 + secrets.randbelow(1 << 24)
    lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    if any(first <= wanted < first + count for first, count in ranges):
        return wanted
    last = max(first + count - 1 for first, count in ranges)
    return last or None


def _become(level: str) -> int | None:
    """The user that the launcher goes over to; None where it is no user 0 from the start."""
    if os.getuid() != 0 or level in _CONTAINERS:
        return None
    return _USER if level == "bubblewrap" else _nobody()


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "AS": limits.memory_bytes,
        "CPU": max(1, round(limits.seconds) + 1),
        "FSIZE": limits.file_bytes,
        "NOFILE": limits.open_files,
        "CORE": 0,
        "MEMLOCK": 64 << 10,
        "MSGQUEUE": 0,
        "NPROC": limits.processes + 1,  # of the user, so the launcher counts; and whatever else that user runs
    }


def _readable(level: str, program: Program) -> list[str]:
    """All that a program may read, as it is called inside; /proc is nowhere among it."""
    paths = [*_SYSTEM, *_LINKS, *_FILES, *map(str, program.reads)]
    if level in _CONTAINERS:
        return [*paths, "/usr", "/opt", "/etc", "/bin", "/inputs", "/sandbox"]
    paths += map(str, toolbox.interpreter_paths())
    if level == "bubblewrap":
        return [*paths, "/toolbox", "/inputs", "/sandbox"]
    return [
        *paths,
        str(_HERE),
        str(toolbox.linked()),
        *map(str, [*toolbox.entries().values(), *program.inputs.values()]),
    ]


def _bubblewrap(program: Program) -> _Start:
    limits = program.limits
    start = _Start([_bwrap()])
    words = start.command
    words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.getuid() == 0:
        # the launcher begins as user 0, who may see the folders to bind, and goes on as another
        start.files.append(_two_users())
        words += ["--userns", str(start.files[0])]
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_CHOWN"]
    else:
        words += ["--unshare-user", "--uid", str(_USER), "--gid", str(_USER)]
    words += ["--proc", "/proc"]
    shown: dict[str, str] = {path: path for path in (*_SYSTEM, *_FILES) if Path(path).exists()}
    for path in _LINKS:
        if Path(path).is_symlink():
            words += ["--symlink", os.readlink(path), path]  # noqa: PTH115  (as it is written, not resolved)
        elif Path(path).exists():
            shown[path] = path
    shown |= {str(path): str(path) for path in (*toolbox.interpreter_paths(), *program.reads)}
    shown |= {f"/toolbox/{name}": str(path) for name, path in toolbox.entries().items()}
    shown |= {f"/inputs/{name}": str(path) for name, path in program.inputs.items()}
    shown["/sandbox"] = str(_HERE)
    for inside, size in ((INSIDE, limits.workspace_bytes), ("/tmp", 32 << 20), ("/dev/shm", 16 << 20)):  # noqa: S108
        words += ["--perms", "1777", "--size", str(size), "--tmpfs", inside]
    # folders on the way get a mode of their own: bubblewrap would take over that of root's home
    for folder in sorted({str(p) for path in (*shown, "/dev/x") for p in Path(path).parents} - {"/", "/tmp", *shown}):  # noqa: S108
        words += ["--perms", "0755", "--dir", folder]
    for inside, path in shown.items():
        words += ["--ro-bind", path, inside]
    for path in _DEVICES:
        words += ["--dev-bind", path, path]
    words += ["--remount-ro", "/", "--chdir", INSIDE, "--"]
    return start


_UNSHARE = "import ctypes, os; os.write(1, b'%d' % -ctypes.CDLL(None).unshare(0x10000000)); os.read(0, 1)"


def _two_users() -> int:
    """An open user namespace of user 0 and, as `_USER`, of a user id that nobody has. Raises SandboxError."""
    command = [str(toolbox.interpreter()), "-I", "-S", "-c", _UNSHARE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, cwd="/") as process:  # noqa: S603
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            if process.stdout.read(1) != b"0":
                raise SandboxError("user namespaces are switched off")
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{process.pid}/{name}").write_text(f"0 0 1\n{_USER} {_nobody() or 0} 1\n", "ascii")
            return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY)
        except OSError as error:
            raise SandboxError(f"user namespaces cannot be set up ({error.strerror})") from error
        finally:
            process.stdin.close()


def _container(tool: str, program: Program) -> list[str]:
    limits = program.limits
    # a folder that is there before, such as the working directory, would give the tmpfs its own mode
    words = [
        *(shutil.which(tool) or tool, "run", "--rm", "--interactive", "--pull", "never", "--network", "none"),
        *("--name", f"hapi-{uuid4().hex}", "--user", f"{_USER}:{_USER}", "--cap-drop", "ALL", "--read-only"),
        *("--security-opt", "no-new-privileges", "--pids-limit", str(limits.processes + 8)),
        *("--memory", str(limits.memory_bytes + limits.workspace_bytes), "--entrypoint", "", "--workdir", "/"),
        *("--tmpfs", f"{INSIDE}:rw,nosuid,nodev,exec,size={limits.workspace_bytes},mode=1777"),
        *("--tmpfs", f"/tmp:rw,nosuid,nodev,exec,size={32 << 20},mode=1777"),  # noqa: S108
    ]
    if tool == "podman":
        words.append("--read-only-tmpfs=false")  # otherwise /run and /var/tmp could be written, too
    shown = {"/sandbox": _HERE, **{f"/inputs/{name}": path for name, path in program.inputs.items()}}
    shown |= {str(path): path for path in program.reads}
    for inside, path in shown.items():
        words += ["--mount", f"type=bind,source={path},target={inside},readonly"]
    return [*words, os.environ["HAPI_SANDBOX_IMAGE"]]


@contextmanager
def _launched(start: _Start, errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher, ended for certain when this is left. Its environment is empty: no key can be found in it.

    (Clearing it later is not enough: pid 1 inside would be bubblewrap itself with the environment it was given.)
    """
    command, container = start.command, start.command[1] == "run"
    environment = {k: v for k, v in os.environ.items() if k in _FOR_THE_TOOL} if container else {}
    try:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, bufsize=0,
            start_new_session=True, cwd="/", pass_fds=start.files,
        )  # fmt: skip
    finally:
        for file in start.files:
            os.close(file)
    try:
        yield process
    finally:
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if container:
                kill = [command[0], "kill", command[command.index("--name") + 1]]
                subprocess.run(kill, check=False, env=environment, stdout=errors, stderr=errors)  # noqa: S603
        process.stdout.close()  # type: ignore[union-attr]


def _carry_out(start: _Start, request: dict[str, Any], tar: Path, packed: IO[bytes], errors: IO[bytes]) -> Outcome:
    with _launched(start, errors) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None  # noqa: S101
        assert stdout is not None  # noqa: S101
        stdin.write(json.dumps(request).encode("ascii") + b"\n")
        with tar.open("rb") as source:
            shutil.copyfileobj(source, stdin, 1 << 20)
        reader = _Reader(stdout.fileno(), time.monotonic() + request["limits"]["seconds"] + _GRACE)
        started = json.loads(reader.line())
        try:
            result = json.loads(reader.line())
            reader.rest(packed, 2 * request["limits"]["workspace_bytes"] + (8 << 20))
        except (OSError, ValueError, EOFError):
            if request["need_landlock"]:  # elsewhere the number is one of another world, and all ends with the launcher
                with suppress(ProcessLookupError):
                    os.killpg(int(started["child"]), signal.SIGKILL)
            raise
    output = base64.b64decode(result["output"]).decode("utf-8", "replace")
    return Outcome(
        exit_code=int(result["exit_code"]),
        why=str(result["why"]),
        seconds=float(result["seconds"]),
        output=clean(_plain_paths(output, request)),
        peak_processes=int(result["peak_processes"]),
    )


def _plain_paths(output: str, request: Mapping[str, Any]) -> str:
    """The output without paths of this machine, so that it is the same at every level."""
    for name, path in request["inputs"].items():
        output = output.replace(path, f"{INSIDE}/{name}")
    output = output.replace(request["workspace"], INSIDE)
    if request["need_landlock"]:
        output = output.replace(str(toolbox.linked()), "/toolbox")
    return output


class _Reader:
    """Reads from a pipe until a deadline; OSError when that has passed, EOFError when there is no more."""

    def __init__(self, descriptor: int, deadline: float):
        self.descriptor, self.deadline = descriptor, deadline
        self.buffer = bytearray()

    def _more(self) -> bytes:
        left = self.deadline - time.monotonic()
        if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
            raise TimeoutError("the sandbox did not answer in time")
        return os.read(self.descriptor, 1 << 20)

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = self._more()
            if not data or len(self.buffer) > 1 << 20:
                raise EOFError("the sandbox ended without an answer")
            self.buffer += data
        line, _, rest = bytes(self.buffer).partition(b"\n")
        self.buffer = bytearray(rest)
        return line

    def rest(self, target: IO[bytes], limit: int) -> None:
        data, size = bytes(self.buffer) or self._more(), 0
        while data:
            size += len(data)
            if size > limit:
                raise ValueError("the sandbox answered with more than there can be")
            target.write(data)
            data = self._more()


def machine() -> dict[str, str]:
    """Facts of this machine on which its sandboxes depend."""
    return {**dict(confine.facts()), "python": sys.version.split()[0]}
