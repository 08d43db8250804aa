"""Bring what the project needs: TeX (apt-get) and .venv (pip).

Runs under any Python, old ones too, so that those get one clear sentence.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys

VERSIONS = ((3, 11), (3, 12), (3, 13))
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "installed")
RUN = os.path.join(VENV, "bin", "python")
WORD = 30  # seconds of silence
NEEDED = (
    "article.cls amsmath.sty array.sty booktabs.sty calc.sty enumitem.sty "
    "fancyvrb.sty fontspec.sty geometry.sty graphicx.sty hyperref.sty "
    "longtable.sty microtype.sty titlesec.sty unicode-math.sty upquote.sty "
    "xcolor.sty lmodern.sty lmroman10-regular.otf lmmono10-regular.otf "
    "latinmodern-math.otf"
).split()
APT = (
    "apt-get install -y --no-install-recommends texlive-xetex "
    "texlive-fonts-recommended texlive-plain-generic lmodern"
)


def say(text):
    sys.stdout.write("make: %s\n" % text)
    sys.stdout.flush()


def alone(name):
    """Wait until no other make does the same here; it holds until the file closes."""
    import fcntl

    cache = os.path.join(ROOT, ".cache")
    os.makedirs(cache, exist_ok=True)
    lock = open(os.path.join(cache, name), "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another make is at work in this folder; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
    return lock


def call(command, log):
    """Run a command with its output in a log; tell the last line now and then."""
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    return process.wait(WORD)
                except subprocess.TimeoutExpired:
                    last = tail(log).split("\n")[-1].strip()
                    say("still at it: %s" % (last if len(last) < 300 else last[-100:]))
        finally:
            process.kill()
            process.wait()


def tail(log):
    with open(log, "rb") as out:
        return out.read()[-1500:].decode("utf8", "replace").rstrip()


def missing_tex():
    """Names of the TeX programs and files that are not there."""
    for program in ("xelatex", "kpsewhich"):
        if not shutil.which(program):
            return ["xelatex"]
    found = subprocess.run(["kpsewhich"] + NEEDED, stdout=subprocess.PIPE).stdout
    there = {os.path.basename(line) for line in found.decode().splitlines()}
    return [name for name in NEEDED if name not in there]


def bring_tex():
    missing = missing_tex()
    if not missing:
        return
    names = ", ".join(missing)
    apt, sudo = shutil.which("apt-get"), shutil.which("sudo")
    root = os.geteuid() == 0
    if apt and (
        root
        or (
            sudo
            and not subprocess.call(["sudo", "-n", "true"], stderr=subprocess.DEVNULL)
        )
    ):
        prefix = [] if root else ["sudo", "-n"]
        install = prefix + ["env", "DEBIAN_FRONTEND=noninteractive"] + APT.split()
        say(
            "TeX is missing (%s); installing it with apt-get: about 115 MB to "
            "download, 1 minute" % names
        )
        os.makedirs(os.path.join(ROOT, ".cache"), exist_ok=True)
        with open(os.path.join(ROOT, ".cache", "apt.log"), "w") as log:
            for command in (prefix + ["apt-get", "update"], install):
                subprocess.call(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
        missing = missing_tex()
    if missing:
        sys.exit(
            "make: TeX lacks %s. Install it and run make again:\n"
            "  Debian, Ubuntu:  sudo apt-get update && sudo %s\n"
            "  Fedora:          sudo dnf install texlive-scheme-medium "
            "texlive-titlesec texlive-enumitem texlive-lm texlive-lm-math\n"
            "  macOS:           brew install --cask mactex-no-gui\n"
            "Without TeX the notebook still runs: see README.md."
            % (", ".join(missing), APT)
        )


def bring_venv():
    with open(os.path.join(ROOT, "requirements.txt"), "rb") as file:
        wanted = "%s %s" % (
            sys.version.split()[0],
            hashlib.sha256(file.read()).hexdigest(),
        )
    if os.path.exists(STAMP) and os.path.exists(RUN):
        with open(STAMP) as file:
            if file.read() == wanted:
                return
    say("making .venv from requirements.txt: about 6 GB, 2 to 10 minutes")
    log = os.path.join(ROOT, ".cache", "pip.log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    steps = (
        [sys.executable, "-m", "venv", "--clear", VENV],
        [RUN, "-m", "pip", "install", "-r", os.path.join(ROOT, "requirements.txt")],
    )
    for command in steps:
        if call(command, log):
            sys.exit(
                tail(log) + "\nmake: the environment could not be made (%s, all of "
                "it in .cache/pip.log). If the network or the package index "
                "failed, run make again; if venv is missing, install it "
                "(Debian: apt-get install python3-venv)." % " ".join(command[1:4])
            )
    with open(STAMP, "w") as file:
        file.write(wanted)


def main():
    version = sys.version_info[:2]
    if version not in VERSIONS:
        sys.exit(
            "make: Python 3.11, 3.12 or 3.13 is needed, and %s is Python %d.%d: "
            "run make PYTHON=python3.11 (or another of them)"
            % ((sys.executable,) + version)
        )
    if not os.access(ROOT, os.W_OK):
        sys.exit(
            "make: the folder %s is not writable: copy it to one that is" % ROOT
        )
    lock = alone("env.lock")
    if "notex" not in sys.argv:
        bring_tex()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops pip as well
    try:
        bring_venv()
    except KeyboardInterrupt:
        sys.exit("make: interrupted; run make again")
    lock.close()


if __name__ == "__main__":
    main()
