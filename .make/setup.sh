# sh .make/setup.sh PYTHON: makes .cache/venv, where make runs everything, and changes
# no other environment. If PYTHON has torch and torchvision, .cache/venv sees what is
# there and gets the tools and what is missing; else all of requirements.txt.
python=$1 venv=.cache/venv run=.cache/venv/bin/python
unset PYTHONPATH PYTHONHOME
export PIP_USER=0 PIP_RETRIES=2 PYTHONDONTWRITEBYTECODE=1
stop() { echo "$*"; exit 1; }
pip() { $run -m pip install --disable-pip-version-check "$@"; }
install() {  # by uv, which is faster; by pip where uv fails, as it ignores pip's settings
  pip -q uv 2>/dev/null && $run -m uv pip install --python $run -r "$1" || pip -r "$1" ||
    stop "Set-up failed, for the reason above. If the network failed, run make again."
}
fits() {  # bytecode is kept in .cache, not beside torch
  PYTHONDONTWRITEBYTECODE='' PYTHONPYCACHEPREFIX="$PWD/.cache/pyc" \
    "$1" -c 'import torch, torchvision; torch.ones(1).numpy()' 2>/dev/null
}
borrow() {
  "$python" -c 'import sys; print(*sys.path[1:], sep="\n")' >"$site/theirs.pth"
  sed -n 's/==.*# or \([0-9.]*\).*/>=\1/p' requirements.txt >$venv/five.txt
  $run -m pip list --format=freeze | grep -E '^(torch|torchvision|scikit-learn|matplotlib|numpy)=' >$venv/held.txt
  pip -q -r $venv/five.txt -c $venv/held.txt &&
    pip -q --no-deps "$(sed -n 's/^\(mlxtend=[^ ]*\).*/\1/p' requirements.txt)"
}

[ -e .venv/bin/python ] || [ ! -h .venv/bin/python ] || echo ".venv/bin/python is a dead link; $python is used."
"$python" -c '' 2>/dev/null || stop "$python is no Python that runs: make PYTHON=python3.12 ..., say."
"$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13))' ||
  stop "Python 3.11, 3.12 or 3.13 is needed, not $("$python" -V 2>&1): make PYTHON=python3.12 ..."
"$python" -c 'import venv, ensurepip' 2>/dev/null || stop "$python has no venv. Debian: apt-get install python3-venv"
$run -m pip -V >/dev/null 2>&1 || "$python" -m venv --clear $venv || stop "No environment could be made, see above."
site=$($run -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -f "$site/theirs.pth"
if fits "$python"; then
  echo "Set-up: torch and what else $python has are used; 110 MB to download into $venv"
  sed -n '/^# Tools/,$p' requirements.txt >$venv/tools.txt
  $run -m pip uninstall -qqy setuptools  # venv's own may be too old for their torch
  install $venv/tools.txt
  borrow && fits $run && cp requirements.txt $venv/installed && exit
  echo "Set-up: they do not fit together, so:"; rm -f "$site/theirs.pth"
fi
echo "Set-up: no matching torch and torchvision in $python: all of requirements.txt goes into"
echo "$venv, 6 GB (if another Python has torch, stop, and make PYTHON=...)"
[ -d "$site/torch" ] || [ "$(df -Pk . | awk 'NR == 2 { print $4 }')" -gt 8000000 ] || stop "8 GB must be free on this disk."
install requirements.txt
fits $run && cp requirements.txt $venv/installed || stop "torch does not run: make clean, then again."
