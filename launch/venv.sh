# shellcheck shell=bash
# The virtual environment of this checkout, for the scripts beside this file:
#
#   source launch/venv.sh
#   use_venv dev          # extras of setup.cfg; from here on `python` is the environment's own
#
# `.venv` is made where it is missing and filled under constraints.txt. Where nothing has changed
# since, that is seen in a tenth of a second; where a run was cut off, the next one starts over.
#
#   PYTHON=python3.12     another interpreter; where .venv belongs to another version it is left
#                         alone, and .venv-3.12 stands beside it
#   EXTRAS=cuda           more extras, several as cuda,tensorboard

use_venv() {
  local root venv=.venv python version other
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  python=${PYTHON:-$root/.venv/bin/python}
  [[ -n ${PYTHON:-} ]] || _version "$python" >/dev/null || python=python3

  version=$(_version "$python") ||
    _fail "cannot run '$python'; name Python 3.11 or newer: PYTHON=/path/to/python3.12 bash $0"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    _fail "'$python' is Python $version, not 3.11 or newer: PYTHON=/path/to/python3.12 bash $0"
  if other=$(_version "$root/.venv/bin/python") && [[ $other != "$version" ]]; then
    venv=.venv-$version
    echo "Using $venv, because .venv is of Python $other."
  fi

  cd "$root" || exit
  # shellcheck disable=SC2046  # EXTRAS is a list
  _fill "$venv" "$python" "$root $version $(cat setup.cfg pyproject.toml constraints.txt | cksum)" \
    "$@" $(tr , ' ' <<<"${EXTRAS:-}")
  export PATH="$root/$venv/bin:$PATH"
}

# Brings environment $1, made by interpreter $2, to stamp $3 (place, Python, requirements) with the
# extras that follow. Its file .state remembers the stamp and the extras of the last install.
_fill() {
  local venv=$1 python=$2 stamp=$3 state=$1/.state have="" extras="" before extra
  shift 3
  if [[ -e $state ]]; then
    { read -r have && read -r extras; } <"$state" || true
  fi
  before=$extras
  for extra in "$@"; do
    [[ ",$extras," == *",$extra,"* ]] || extras+=${extras:+,}$extra
  done
  [[ $have != "$stamp" || $extras != "$before" ]] || return 0

  # Start over where nothing works yet, where the last run was cut off, or where the folder moved.
  if ! _version "$venv/bin/python" >/dev/null || [[ -e $state && $have != "$PWD "* ]]; then
    echo "Making $venv. This takes a few minutes, once."
    python=$("$python" -c 'import sys; print(sys._base_executable)')
    mkdir -p "$venv"
    echo unfinished >"$state" # a hidden file: the star of the next line spares it
    rm -rf "${venv:?}"/*
    "$python" -m venv "$venv"
    have=unfinished
  else
    echo "Updating $venv."
  fi

  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
  echo unfinished >"$state"
  trap 'exit 130' INT # pip answers Ctrl-C as if it had failed in order
  if ! "$venv/bin/python" -m pip install -qq --disable-pip-version-check \
    --constraint constraints.txt --editable ".${extras:+[$extras]}"; then
    # pip gave up in order: what was there still works.
    if [[ -n $have ]]; then printf '%s\n%s\n' "$have" "$before" >"$state"; else rm "$state"; fi
    _fail "could not install into $venv; see pip's lines above"
  fi
  trap - INT
  printf '%s\n%s\n' "$stamp" "$extras" >"$state"
}

_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

_fail() {
  echo "stemphonic_jax: $*" >&2
  exit 1
}
