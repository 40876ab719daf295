# shellcheck shell=bash
# The command lines of the scripts beside this file. Their first lines, up to `set`, are what --help
# prints, and lines on stderr begin with their names:
#
#   source launch/options.sh
#   options "zone name" "dry-run" "$@"   # --zone=… --name=… --dry-run, in any order
#   shift "$parsed"                      # leaves what is behind them; `separated` is 1 behind --
#
# A value goes to the variable of its option's name, with _ for -; a switch that is given is 1.

options() {
  local _values=" $1 " _switches=" $2 " _option
  shift 2
  parsed=$# separated=""
  while [[ ${1:-} == --* ]]; do
    _option=${1#--} _option=${_option%%=*}
    if [[ $1 == -- ]]; then
      separated=1
    elif [[ $1 == --help ]]; then
      usage && exit 0
    elif [[ $1 == *=* && $_values == *" $_option "* ]]; then
      printf -v "${_option//-/_}" %s "${1#*=}"
    elif [[ $1 != *=* && $_switches == *" $_option "* ]]; then
      printf -v "${_option//-/_}" 1
    else
      fail "unknown option '$1'; --help shows those there are"
    fi
    shift
    [[ ! $separated ]] || break
  done
  # shellcheck disable=SC2034  # for the script that asks
  parsed=$((parsed - $#))
}

say() {
  printf '%s %s: %s\n' "$(date +%H:%M:%S)" "$(_script)" "$*" >&2
}

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
}

fail() {
  echo "$(_script): $*" >&2
  exit 2
}

_script() {
  local file=${0##*/}
  echo "${file%.*}"
}
