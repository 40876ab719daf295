#!/usr/bin/env bash
# Runs a command, and runs it again where its exit code says that this helps:
#
#   bash launch/supervise.sh --workdir=runs/c_ii -- \
#     python -m stemphonic_jax.main --config=configs/c_ii.py --workdir=runs/c_ii
#
#   again      70 internal fault, 71 hang (142 where the interpreter was stuck, too),
#              75 preempted, 134 135 137 139 143 killed
#   never      2 usage, 65 data, 66 missing, 73 74 output, 76 diverged, 78 another model,
#              130 Ctrl-C, and whatever else is not 0: it would only happen again
#
# SIGTERM and Ctrl-C reach the command as SIGTERM, so that it saves, and it is not started again.
#
#   --workdir=DIR    folder of the run; where its newest checkpoint, or else its log, has moved on
#                    since the last start, the count of restarts begins anew
#   --restarts=N     as many restarts without progress, then give up with the last code   [5]
#   --wait=S         seconds before the first restart; twice as long each time without
#                    progress, and up to a half less by chance, so that hosts do not meet  [10]
#   --longest=S      seconds, the most of such a wait                                     [300]
#   --grace=S        seconds from SIGTERM to SIGKILL: a hung process ignores the first     [60]
#   --dry-run        says what it would do
set -euo pipefail
export LC_ALL=C
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"

workdir="" restarts=5 wait=10 longest=300 grace=60 dry_run=""
child="" stopping="" killer="" sleeper=""

main() {
  options "workdir restarts wait longest grace" dry-run "$@"
  shift "$parsed"
  [[ $# -gt 0 ]] || fail "no command; --help shows how"
  [[ $restarts =~ ^[0-9]+$ ]] || fail "--restarts: got '$restarts', expected a whole number"
  local name
  for name in wait longest grace; do
    [[ ${!name} =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--$name: got '${!name}', expected seconds"
  done
  if [[ $dry_run ]]; then
    printf 'supervise: would run:'
    printf ' %q' "$@"
    printf '\nsupervise: up to %s restarts without progress in %s, now at step %s;' \
      "$restarts" "${workdir:-(no workdir)}" "$(step)"
    printf ' waits of %s to %s s; SIGKILL %s s after SIGTERM\n' "$wait" "$longest" "$grace"
    exit 0
  fi

  # A group of its own for the command, so that what it leaves behind can be ended with it.
  set -m
  trap 'stop SIGTERM' TERM
  trap 'stop SIGINT' INT
  local code best now failures=0
  best=$(step)
  while true; do
    run "$@"
    now=$(step)
    if [[ $stopping ]]; then
      say "$stopping: done, exit $code"
      exit "$code"
    fi
    case $code in
      0) say "exit 0: done" && exit 0 ;;
      70 | 71 | 75 | 134 | 135 | 137 | 139 | 142 | 143) ;;
      *) say "exit $code at step $now: a restart does not help" && exit "$code" ;;
    esac
    if ((now > best)); then
      best=$now failures=0
    fi
    failures=$((failures + 1))
    if ((failures > restarts)); then
      say "exit $code at step $now: given up after $restarts restarts without progress"
      exit "$code"
    fi
    pause "$failures" "exit $code at step $now: restart $failures of $restarts without progress"
  done
}

# Runs the command to its end, which it leaves in `code`.
run() {
  "$@" &
  child=$!
  [[ ! $stopping ]] || stop "$stopping" # it came while the command was being started
  while true; do
    code=0
    wait "$child" || code=$?
    # A signal that a trap has handled ends the wait, but not the command.
    kill -0 "$child" 2>/dev/null || break
  done
  # Workers that outlive their parent would keep the accelerator to themselves.
  kill -KILL -- "-$child" 2>/dev/null || true
  child=""
  [[ ! $killer ]] || kill -- "-$killer" 2>/dev/null || true
}

# Asks the command to end, once, and makes it end after the grace time.
stop() {
  stopping=$1
  [[ ! $sleeper ]] || kill -- "-$sleeper" 2>/dev/null || true
  [[ $child && ! $killer ]] || return 0
  say "$stopping: passed on as SIGTERM, SIGKILL in $grace s"
  kill -TERM "$child" 2>/dev/null || true
  (sleep "$grace" && say "still there: SIGKILL" && kill -KILL -- "-$child") &
  killer=$!
}

# Sleeps before restart number $1 and says so after $2; ends the script where it was told to stop.
pause() {
  local most ms seconds
  most=$(awk -v w="$wait" -v l="$longest" -v n="$1" \
    'BEGIN { s = w * 2 ^ (n - 1); print int(1000 * (s < l ? s : l)) }')
  ms=$((most - (RANDOM * 32768 + RANDOM) % (most / 2 + 1)))
  seconds=$((ms / 1000)).$(printf %03d $((ms % 1000)))
  say "$2, in $seconds s"
  sleep "$seconds" &
  sleeper=$!
  [[ $stopping ]] || wait "$sleeper" || true
  if [[ $stopping ]]; then
    kill -- "-$sleeper" 2>/dev/null || true
    say "$stopping while waiting: exit $code"
    exit "$code"
  fi
  sleeper=""
}

# How far the run has come: the newest step of each stage's checkpoints, or of its log where there
# are none yet, and the finished files of records, added up, so that the beginning of a next stage is
# progress too.
step() {
  local total=0 log newest
  [[ $workdir ]] || { echo 0 && return; }
  [[ ! -d $workdir/records ]] ||
    total=$(find "$workdir/records" -name '[0-9]*.array_record' 2>/dev/null | wc -l)
  for log in "$workdir"/*/metrics.jsonl; do
    [[ -e $log ]] || continue
    newest=$(find "${log%/*}/checkpoints" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' \
      2>/dev/null | sed -n 's|.*/\([0-9]*\)$|\1|p' | sort -n | tail -1)
    newest=${newest:-$(tail -n 1 "$log" | sed -n 's/.*"step": *\([0-9]*\).*/\1/p')}
    total=$((total + 10#${newest:-0}))
  done
  echo "$total"
}

main "$@"
