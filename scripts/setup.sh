# Sourced by the other scripts: an environment of the project's own in .venv (or $COCOTAG_VENV), made once. Sets $VENV.
# usage: . scripts/setup.sh EXTRAS   such as "train" or "train,test"
VENV=${COCOTAG_VENV:-$PWD/.venv}
if [ ! -x "$VENV/bin/python" ]; then
  python=$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3 || true)
  [ -n "$python" ] || { echo "cocotag needs Python 3.11 or newer, and there is none." >&2; exit 2; }
  "$python" -c 'import sys; sys.exit("cocotag needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
  # Debian's python3 comes without the part that makes environments; what it leaves behind then must not be taken for one.
  there=$([ -e "$VENV" ] && echo yes || true)
  "$python" -m venv "$VENV" || {
    [ -n "$there" ] || rm -rf "$VENV"
    echo "No environment could be made in $VENV. On Debian and Ubuntu: apt-get install python3-venv. Then run this again." >&2
    exit 2
  }
fi
# The versions that were tested; again only when they or the project's own list changed.
stamp="$VENV/.cocotag-$1"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
  echo "Installing cocotag and what it needs into $VENV (the first time: several GB, some minutes) ..." >&2
  "$VENV/bin/python" -m pip install --quiet --upgrade pip
  "$VENV/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[$1]"
  touch "$stamp"
fi
