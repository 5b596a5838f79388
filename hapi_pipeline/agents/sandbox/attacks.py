"""What the start-up self-test has run inside a sandbox: each of these must fail there.

Scripts, not functions: they run as an agent's code would, and never in this process.
"""

REACH = """
import ctypes, json, os, socket, sys
aim = json.load(open("attachments/aim.json"))
got = []
def attempt(name, act):
    try:
        if act():
            got.append(name)
    except BaseException:
        pass
def reads(path):
    with open(path, "rb") as file:
        return aim["secret"].encode() in file.read(1 << 20)
def tells(kind, address):
    s = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET,
                      socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    s.settimeout(1)
    s.connect(address)
    s.send(b"out")
    return True
attempt("file", lambda: reads(aim["file"]))
attempt("chmod", lambda: os.chmod(aim["file"], 0o777) is None and os.stat(aim["file"]).st_mode & 0o777 == 0o777)
attempt("symlink", lambda: os.symlink(aim["file"], "scratch/link") is None and reads("scratch/link"))
attempt("hard link", lambda: os.link(aim["file"], "scratch/hard") is None)
attempt("truncate", lambda: os.truncate(aim["file"], 0) is None)
attempt("write", lambda: open(aim["file"], "ab").write(b"x"))
attempt("input", lambda: open("attachments/aim.json", "ab").write(b"x"))
attempt("tcp", lambda: tells("tcp", ("127.0.0.1", aim["tcp"])))
attempt("udp", lambda: tells("udp", ("127.0.0.1", aim["udp"])))
attempt("abstract unix socket", lambda: tells("unix", "\\0" + aim["unix"]))
attempt("environment", lambda: aim["variable"] in os.environ)
attempt("ptrace", lambda: ctypes.CDLL(None).ptrace(16, aim["pid"], 0, 0) == 0)
for pid in (1, os.getppid(), aim["pid"]):
    for name in ("environ", "mem", "root/etc/passwd", "cmdline"):
        attempt(f"/proc/.../{name}", lambda: bool(open(f"/proc/{pid}/{name}", "rb").read(1)))
attempt("signal", lambda: os.kill(aim["pid"], 0) is None)
attempt("new namespace", lambda: ctypes.CDLL(None).unshare(0x10000000) == 0)
attempt("new session", lambda: os.setsid() > 0)
open("deliverables/ran", "w").write("ran")
print("reached:" + json.dumps(sorted(set(got))))
"""

OUTLIVE = """
import json, os, sys, time
aim = json.load(open("attachments/aim.json"))
for detach in (os.setsid, lambda: os.setpgid(0, 0), lambda: None):
    if os.fork() == 0:
        try:
            detach()
        except OSError:
            pass
        if os.fork() == 0:
            import ctypes
            ctypes.CDLL(None).prctl(15, aim["marker"].encode(), 0, 0, 0)
            time.sleep(60)
        os._exit(0)
time.sleep(0.2)
print("left behind")
"""

DISK = """
import os
written = 0
try:
    for number in range(10_000):
        file = os.open(f"scratch/{number}", os.O_CREAT | os.O_WRONLY)
        if number % 2:
            os.unlink(f"scratch/{number}")
        for _ in range(4):
            written += os.write(file, bytes(1 << 18))
            os.write(1, b"%d\\n" % written)
except OSError:
    pass
"""

PROCESSES = """
import os, time
made = 0
try:
    for _ in range(400):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
        os.write(1, b"%d\\n" % made)
except OSError:
    pass
"""

MEMORY = """
import os
kept = []
for part in range(4):
    if os.fork() == 0:
        break
try:
    for _ in range(512):
        kept.append(bytearray(b"x" * (1 << 20)))
        os.write(1, b"%d\\n" % len(kept))
except MemoryError:
    pass
import time
time.sleep(0.3)
"""
