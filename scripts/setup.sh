# Sourced by the other scripts. Creates a virtual environment in .venv (or $COCOTAG_VENV) if there is none, and sets $VENV.
# usage: . scripts/setup.sh EXTRAS   such as "train" or "train,test"
VENV=${COCOTAG_VENV:-$PWD/.venv}
if [ ! -x "$VENV/bin/python" ]; then
  python=$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)
  [ -n "$python" ] || { echo "cocotag needs Python 3.11 or newer, but python3 was not found. Install it." >&2; exit 2; }
  "$python" -c 'import sys; sys.exit("cocotag needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
  # Debian's python3 lacks the module that creates environments; remove the unfinished folder that it leaves behind.
  existed=$([ -e "$VENV" ] && echo yes || true)
  "$python" -m venv "$VENV" || {
    [ -n "$existed" ] || rm -rf "$VENV"
    echo "The environment $VENV cannot be created. On Debian or Ubuntu run: apt-get install python3-venv. Then run this again." >&2
    exit 2
  }
fi
# Install the tested versions, again only if constraints.txt or pyproject.toml has changed.
stamp="$VENV/.cocotag-$1"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
  echo "Installing cocotag and its dependencies into $VENV (the first time: several GB, some minutes) ..." >&2
  "$VENV/bin/python" -m pip install --quiet --upgrade pip
  "$VENV/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[$1]"
  touch "$stamp"
fi
