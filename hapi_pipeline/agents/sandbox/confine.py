"""Giving up rights for good, in the process that is about to become untrusted code: Landlock, seccomp, rlimits.

Pure ctypes over the kernel's interface: the libraries that wrap it would have to be importable inside the sandbox.
Standard library only, because `launcher.py` runs this without the project's packages.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# --- Landlock: what may be read and written ---------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 10, 1 << 11
_TRUNCATE = 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TCP = 0b11  # bind and connect, from ABI 4 on
_SCOPES = 0b11  # abstract unix sockets and signals, from ABI 6 on
MIN_ABI = 3
"""Before it (Linux 6.2) Landlock does not stop code from truncating the files that it may only read."""
SIGNAL_ABI = 6
"""From it on (Linux 6.12) Landlock keeps signals within the sandbox."""

_libc = ctypes.CDLL(None, use_errno=True)


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where it is absent or switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _handled(abi: int) -> int:
    """Every file-system right that this version knows: what is handled is denied unless a rule allows it."""
    return (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1


def restrict_files(reads: Iterable[str], writes: Iterable[str], devices: Iterable[str]) -> None:
    """From now on only these may be opened: `reads` for reading and executing, `writes` (folders) for all else.

    Raises OSError where the kernel refuses; paths that do not exist are left out.
    """
    abi = landlock_abi()
    handled = _handled(abi)
    attributes = struct.pack("QQQ", handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= SIGNAL_ABI else 0)
    size = 24 if abi >= SIGNAL_ABI else 16 if abi >= 4 else 8
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))
    own = handled & ~(_MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCK | _MAKE_FIFO)
    for paths, rights in ((reads, _READ), (writes, own), (devices, _READ_FILE | _WRITE_FILE)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    _no_new_privileges()
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not Path(path).is_dir():
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, folder)
        _checked(_libc.syscall(_ADD_RULE, ruleset, 1, rule, 0))
    finally:
        os.close(folder)


# --- seccomp: which system calls there are ----------------------------------------------------------------------

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # audit id, column in _NUMBERS
_NUMBERS: Mapping[str, tuple[int, int]] = {
    name: (int(x86), int(arm))
    for name, x86, arm in (
        entry.split()
        for entry in """
        socket 41 198;connect 42 203;bind 49 200;listen 50 201;accept 43 202;accept4 288 242;socketpair 53 199;
        sendto 44 206;ptrace 101 117;process_vm_readv 310 270;process_vm_writev 311 271;kcmp 312 272;mount 165 40;
        umount2 166 39;pivot_root 155 41;move_mount 429 429;open_tree 428 428;fsopen 430 430;fsconfig 431 431;
        fsmount 432 432;fspick 433 433;mount_setattr 442 442;chroot 161 51;unshare 272 97;setns 308 268;clone 56 220;
        clone3 435 435;setsid 112 157;setpgid 109 154;bpf 321 280;perf_event_open 298 241;io_uring_setup 425 425;
        io_uring_enter 426 426;io_uring_register 427 427;userfaultfd 323 282;fanotify_init 300 262;keyctl 250 219;
        add_key 248 217;request_key 249 218;pidfd_open 434 434;pidfd_getfd 438 438;pidfd_send_signal 424 424;
        open_by_handle_at 304 265;name_to_handle_at 303 264;mknod 133 -1;mknodat 259 33;quotactl 179 60;
        swapon 167 224;swapoff 168 225;reboot 169 142;init_module 175 105;finit_module 313 273;delete_module 176 106;
        kexec_load 246 104;kexec_file_load 320 294;acct 163 89;memfd_create 319 279;memfd_secret 447 447;shmget 29 194;
        semget 64 190;msgget 68 186;mq_open 240 180;setxattr 188 5;lsetxattr 189 6;fsetxattr 190 7;removexattr 197 14;
        lremovexattr 198 15;fremovexattr 199 16;chmod 90 -1;fchmod 91 52;fchmodat 268 53;fchmodat2 452 452;chown 92 -1;
        lchown 94 -1;fchown 93 55;fchownat 260 54;utime 132 -1;utimes 235 -1;futimesat 261 -1;utimensat 280 88;
        setpriority 141 140;ioprio_set 251 30;sched_setattr 314 274;sched_setscheduler 144 119;sched_setparam 142 118;
        sched_setaffinity 203 122;prlimit64 302 261;process_madvise 440 440;process_mrelease 448 448;
        migrate_pages 256 238;move_pages 279 239;kill 62 129;tkill 200 130;tgkill 234 131;rt_sigqueueinfo 129 138;
        rt_tgsigqueueinfo 297 240;prctl 157 167;fcntl 72 25;ioctl 16 29;open 2 -1;openat 257 56;openat2 437 437
        """.replace("\n", "").split(";")
    )
}

_EPERM, _ENOSYS, _ENOTSUP = 1, 38, 95
# there is no reason for any of these in an agent's script, and each is a way out, to the outside or to other processes
_DENIED = (
    "socket", "connect", "bind", "listen", "accept", "accept4", "ptrace", "process_vm_readv", "process_vm_writev",
    "kcmp", "mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "chroot", "unshare", "setns", "setsid", "setpgid", "bpf", "perf_event_open", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "userfaultfd", "fanotify_init", "keyctl", "add_key", "request_key",
    "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "open_by_handle_at", "name_to_handle_at", "mknod", "mknodat",
    "quotactl", "swapon", "swapoff", "reboot", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "acct", "memfd_create", "memfd_secret", "shmget", "semget", "msgget", "mq_open", "chown",
    "lchown", "fchown", "fchownat", "setpriority", "ioprio_set", "sched_setattr", "sched_setscheduler",
    "sched_setparam", "process_madvise", "process_mrelease", "migrate_pages", "move_pages",
)  # fmt: skip
_ABSENT = (
    "clone3",
    "openat2",
)  # their flags stand in memory, where a filter cannot look; libc then takes the older ones
_NO_ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr")
# Landlock does not govern modes and times, so code could take the operator's files away from him. shutil and zipfile
# want these calls to work: they are told that they did.
_PRETENDED = ("chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat")
_SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_NEW_NAMESPACES = 0x7E020000
_TMPFILE = 0x400000
_SOCK_TYPE, _SOCK_DGRAM, _SOCK_RAW = 0xF, 2, 3
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_DUMPABLE = 4
# (call, argument, "any bit of" or "equals" or "differs from", value)
_CONDITIONAL = (
    ("clone", 0, "bits", _NEW_NAMESPACES),
    ("open", 1, "bits", _TMPFILE),  # a file without a name escapes the count of what was written
    ("openat", 2, "bits", _TMPFILE),
    ("sendto", 4, "differs", 0),
    ("prctl", 0, "equals", _PR_SET_DUMPABLE),
    ("fcntl", 1, "equals", _F_SETOWN),
    ("fcntl", 1, "equals", _F_SETSIG),
    ("fcntl", 1, "equals", _F_SETOWN_EX),
    ("ioctl", 1, "equals", _TIOCSTI),
    ("ioctl", 1, "equals", _TIOCLINUX),
    ("prlimit64", 0, "differs", 0),
    ("sched_setaffinity", 0, "differs", 0),
)

_LD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000


def seccomp_supported() -> bool:
    """Whether this machine's architecture is one whose system calls are known here."""
    return platform.machine() in _ARCHITECTURES


def _instruction(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
    return struct.pack("HBBI", code, jt, jf, k)


def filter_program(signals: bool) -> bytes:
    """The BPF program; without `signals` no process may send one, not even to itself."""
    architecture, column = _ARCHITECTURES[platform.machine()]
    program = [
        _instruction(_LD, _ARCH),
        _instruction(_JEQ, architecture, 1, 0),
        _instruction(_RET, _KILL),
        _instruction(_LD, _NR),
        _instruction(_JGE, _X32, 0, 1),
        _instruction(_RET, _KILL),
    ]
    denied = (*_DENIED, *(() if signals else _SIGNALS))
    for names, errno in ((denied, _EPERM), (_ABSENT, _ENOSYS), (_NO_ATTRIBUTES, _ENOTSUP), (_PRETENDED, 0)):
        for name in names:
            number = _NUMBERS[name][column]
            if number >= 0:
                program += [_instruction(_JEQ, number, 0, 1), _instruction(_RET, _ERRNO | errno)]
    for name, argument, test, value in _CONDITIONAL:
        program += _conditional(_NUMBERS[name][column], argument, test, value)
    program += _socketpairs(_NUMBERS["socketpair"][column])
    return b"".join([*program, _instruction(_RET, _ALLOW)])


def _conditional(number: int, argument: int, test: str, value: int) -> list[bytes]:
    if number < 0:
        return []
    low = _instruction(_LD, _ARGUMENTS + 8 * argument)
    high = _instruction(_LD, _ARGUMENTS + 8 * argument + 4)
    deny = _instruction(_RET, _ERRNO | _EPERM)
    if test == "bits":
        body = [low, _instruction(_JSET, value, 0, 1), deny]
    elif test == "equals":
        body = [low, _instruction(_JEQ, value, 0, 1), deny]
    else:  # of 64 bits: a pointer may have zeros in one half
        body = [low, _instruction(_JEQ, value, 0, 2), high, _instruction(_JEQ, 0, 1, 0), deny]
    return [_instruction(_JEQ, number, 0, len(body) + 1), *body, _instruction(_LD, _NR)]


def _socketpairs(number: int) -> list[bytes]:
    """Pairs of streams stay, for subprocesses; a pair of datagram sockets could be pointed at other sockets."""
    body = [
        _instruction(_LD, _ARGUMENTS + 8),
        _instruction(_AND, _SOCK_TYPE),
        _instruction(_JEQ, _SOCK_DGRAM, 1, 0),
        _instruction(_JEQ, _SOCK_RAW, 0, 1),
        _instruction(_RET, _ERRNO | _EPERM),
    ]
    return [_instruction(_JEQ, number, 0, len(body) + 1), *body, _instruction(_LD, _NR)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def restrict_calls(signals: bool) -> None:
    """Install the filter for this process and all that come of it. Raises OSError where the kernel refuses."""
    program = filter_program(signals)
    buffer = ctypes.create_string_buffer(program, len(program))
    _no_new_privileges()
    described = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _checked(_libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(described), ctypes.c_ulong(0), ctypes.c_ulong(0)))


# --- the rest ---------------------------------------------------------------------------------------------------

_MOST_TASKS = 1 << 22  # Linux has no more process ids


def tasks_of_user() -> int:
    """How many processes and threads the user of this process has, this one among them, as the kernel counts them.

    That is over all containers, while /proc shows those of its own alone. So it is tried out: at a limit that leaves
    room for one more a fork succeeds. User 0, whom the limit does not bind, has none by this count.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)

    def has_room(limit: int) -> bool:
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
        try:
            child = os.fork()
        except BlockingIOError:
            return False
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return True

    most = _MOST_TASKS if hard == resource.RLIM_INFINITY else hard
    try:
        return max(0, bisect.bisect_left(range(most), True, key=has_room) - 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def restrict_resources(limits: Mapping[str, int]) -> None:
    """Set the limits of this process by their name in `resource`, without RLIMIT_; never above what holds already."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))


def drop_capabilities() -> None:
    """Give up every capability, so that even user 0 is like any other user."""
    for capability in range(64):
        if _libc.prctl(24, ctypes.c_ulong(capability), 0, 0, 0) != 0:  # not known, or not ours to drop
            continue
    _libc.prctl(47, ctypes.c_ulong(4), 0, 0, 0)  # the ambient ones
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(_libc.capset(header, struct.pack("6I", 0, 0, 0, 0, 0, 0)))


_KEEP_CAPS, _DAC_READ_SEARCH = 8, 2


def become_user(uid: int, read_all: bool) -> None:
    """Go from user 0 to another for good, so that limits on processes hold. Raises OSError where that is not allowed.

    With `read_all` the right to read what the user's own permissions do not give is kept (an interpreter may lie in a
    folder of root's): what may be read is Landlock's to say.
    """
    if read_all:
        _libc.prctl(_KEEP_CAPS, ctypes.c_ulong(1), 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if read_all:
        keep_only_reading()


def keep_only_reading() -> None:
    """Give up every capability but that of reading without permission, and hand that one on to what is executed."""
    bit = 1 << _DAC_READ_SEARCH
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(_libc.capset(header, struct.pack("6I", bit, bit, bit, 0, 0, 0)))
    _checked(_libc.prctl(47, ctypes.c_ulong(2), ctypes.c_ulong(_DAC_READ_SEARCH), 0, 0))


def may_read_all() -> bool:
    """Whether this process has the capability of reading without permission."""
    for line in Path("/proc/self/status").read_text("ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _DAC_READ_SEARCH & 1)
    return False


def hide_memory() -> None:
    """Keep other processes of the same user from looking into this one."""
    _libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    _libc.prctl(36, ctypes.c_ulong(1), 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _libc.prctl(1, ctypes.c_ulong(9), 0, 0, 0)


def _no_new_privileges() -> None:
    _checked(_libc.prctl(38, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _checked(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result


def facts() -> Sequence[tuple[str, str]]:
    """What of this machine decides which sandbox it can offer."""
    namespaces = Path("/proc/sys/user/max_user_namespaces")
    try:
        allowed = namespaces.read_text("ascii").strip()
    except OSError:
        allowed = "unknown"
    return (
        ("kernel", platform.release()),
        ("machine", platform.machine()),
        ("landlock_abi", str(landlock_abi())),
        ("user_namespaces", allowed),
        ("user", str(os.getuid())),
    )
