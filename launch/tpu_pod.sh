#!/usr/bin/env bash
# Trains on a slice of Cloud TPUs, from a machine with gcloud and this checkout:
#
#   export TPU="--zone=us-west4-a --type=v5litepod-64 --share=10.0.0.2:/stemphonic"
#   bash launch/tpu_pod.sh keep $TPU -- --config=configs/c_ii.py     # all of it, to the end
#
#   create     asks for a slice (a queued resource) and waits for it
#   install    copies this checkout to every host and makes its environment
#   run        starts the training on every host, under supervise.sh, and returns
#   tail       shows the log as it grows
#   restart    ends the training on every host, saved, and starts it again
#   delete     gives the slice back
#   keep       create, install, run; where the slice is taken away, all of it again, as long as the
#              run gets further
#
#   --zone=ZONE           where, as us-west4-a
#   --name=NAME           of the slice and its request                            [stemphonic]
#   --type=TYPE           accelerators: v5litepod-16 … -256, v5p-8 …              [v5litepod-16]
#   --version=VERSION     software of the hosts; what goes with the type if unset
#   --project=PROJECT     gcloud's own if unset
#   --on-demand           not a spot slice, which is cheap and can be taken away at any time
#   --share=HOST:/EXPORT  NFS share, as of Filestore, mounted at /mnt/stemphonic on every host. The
#                         run's folder is on it, /mnt/stemphonic/NAME: the hosts write each
#                         checkpoint together, and rename it into place, which no bucket can do.
#   --worker=N            whose log to tail; all for every host's                 [0]
#   --restarts=N          attempts without progress before `keep` gives up        [5]
#   --poll=S              seconds between two looks at the slice                  [60]
#   --dry-run             prints the commands instead of running them
#   -- ARGUMENTS          of stemphonic_jax.main, for run, restart and keep
#
# Hosts find each other through the slice's own metadata. Host 0 listens on its internal address
# alone; no rule of the firewall is needed within one network, and none should open it to others.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/options.sh"
exec 3>&1 # where a dry run speaks, also from where output is captured

MOUNT=/mnt/stemphonic
command="" zone="" name=stemphonic type=v5litepod-16 version="" project="" on_demand="" share=""
worker=0 restarts=5 poll=60 dry_run="" arguments=()

main() {
  command=${1:-}
  case $command in
    create | install | run | tail | restart | delete | keep) shift ;;
    --help) usage && exit 0 ;;
    *) fail "got '$command', expected create, install, run, tail, restart, delete or keep" ;;
  esac
  options "zone name type version project share worker restarts poll" "on-demand dry-run" "$@"
  shift "$parsed"
  [[ $# == 0 || $separated ]] || fail "got '$1', expected -- before what is for the training"
  arguments=("$@")
  check

  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  case $command in
    create) create ;;
    install) install ;;
    run) run ;;
    tail) on "$worker" "tail -n 100 -F stemphonic.log" ;;
    restart) stop && run ;;
    delete) delete ;;
    keep) keep ;;
  esac
}

# Everything that can be wrong with the options, before anything is asked of the cloud.
check() {
  [[ $zone ]] || fail "--zone is missing, as in --zone=us-west4-a"
  [[ $name =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
    fail "--name: got '$name', expected small letters, digits and hyphens"
  if [[ ! $version ]]; then
    case $type in
      v5litepod-*) version=v2-alpha-tpuv5-lite ;;
      v5p-*) version=v2-alpha-tpuv5 ;;
      v6e-*) version=v2-alpha-tpuv6e ;;
      *) fail "--type: '$type' is none of v5litepod-N, v5p-N, v6e-N; say its --version too" ;;
    esac
  fi
  case $command in install | keep)
    [[ $share == *:/* ]] || fail "--share=HOST:/EXPORT is missing: all hosts write each checkpoint"
    ;;
  esac
  case $command in run | restart | keep)
    [[ ${arguments[*]} == *--config=* ]] || fail "-- --config=FILE is missing"
    [[ ${arguments[*]} != *--workdir* ]] || fail "--workdir: it is $MOUNT/$name; choose --name"
    ;;
  esac
}

create() {
  local spot=--spot
  [[ ! $on_demand ]] || spot=""
  cloud queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
    --runtime-version="$version" ${spot:+"$spot"}
  until_active
}

# Waits until the slice is there; 1 where the request has come to nothing.
until_active() {
  local state
  while true; do
    state=$(state)
    case $state in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDED | absent) say "$name is $state" && return 1 ;;
      *) say "$name is $state" && sleep "$poll" ;;
    esac
  done
}

# The systems of TPU hosts have an older Python than this package needs; uv brings one.
install() {
  local archive copied=0
  archive=$(mktemp -d)/stemphonic_jax.tar.gz
  say "packing this checkout"
  {
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -czf "$archive" &&
      cloud tpu-vm scp "$archive" "$name:stemphonic_jax.tar.gz" --worker=all --quiet
  } || copied=$?
  rm -r "${archive%/*}"
  ((copied == 0)) || return "$copied"
  on all "set -e
    rm -rf stemphonic_jax/stemphonic_jax
    mkdir -p stemphonic_jax
    tar -xzf stemphonic_jax.tar.gz -C stemphonic_jax
    if ! mountpoint -q $MOUNT; then
      sudo apt-get -qq update
      sudo apt-get -qq install -y nfs-common
      sudo mkdir -p $MOUNT
      sudo mount -t nfs -o hard,lookupcache=positive $(printf %q "$share") $MOUNT
    fi
    sudo install -d -m 777 $MOUNT/$name
    python3 -m pip install --quiet --user uv
    ~/.local/bin/uv python install --quiet 3.12
    export PYTHON=\$(~/.local/bin/uv python find 3.12)
    cd stemphonic_jax
    source launch/venv.sh
    use_venv tpu"
}

# Starts on every host what outlives the connection. The exit code of the supervisor is kept.
run() {
  on all "set -e
    rm -f stemphonic.exit
    cd stemphonic_jax
    nohup setsid bash -c '
      bash launch/supervise.sh --workdir=$MOUNT/$name -- .venv/bin/python -m stemphonic_jax.main \
        \"\$@\" --workdir=$MOUNT/$name &
      echo \$! >~/stemphonic.pid
      wait \$!
      echo \$? >~/stemphonic.exit
    ' training$(printf ' %q' "${arguments[@]}") >>~/stemphonic.log 2>&1 </dev/null &
    sleep 1"
}

# Ends the training on every host, which saves first; the supervisor sees to it that it ends.
stop() {
  on all "kill \$(cat stemphonic.pid)
    while kill -0 \$(cat stemphonic.pid); do sleep 1; done 2>/dev/null"
}

delete() {
  cloud queued-resources delete "$name" --force --quiet
}

# Looks after a run until it ends or gets no further. Slices come and go, its folder stays.
keep() {
  local best=0 attempts=0 now report
  if [[ $dry_run ]]; then
    create && install && run && look
    say "were the slice taken away: delete, then all of this again"
    delete
    return 0
  fi
  while true; do
    report="" now=$(state)
    case $now in
      ACTIVE)
        report=$(look) || report=unreachable
        now=$(sed -n 's/.* step \([0-9]*\)$/\1/p' <<<"$report" | sort -n | tail -1)
        if ((${now:-0} > best)); then
          best=$now attempts=0
        fi
        case $report in
          *absent*) again "a host is not training at step $best" install ;;
          *running* | unreachable) ;;
          *ended*)
            say "ended: $(tr '\n' ' ' <<<"$report")"
            say "tpu_pod.sh delete gives the slice back"
            return "$(sed -n 's/.*ended \([0-9]*\).*/\1/p' <<<"$report" | sort -n | tail -1)"
            ;;
        esac
        ;;
      absent) again "no slice at step $best" create install ;;
      FAILED | SUSPENDED) again "the slice is $now at step $best" delete create install ;;
    esac
    sleep "$poll"
  done
}

# Does what follows $1, which says why, and starts the training; gives up without progress.
again() {
  local why=$1 each
  shift
  attempts=$((attempts + 1))
  if ((attempts > restarts)); then
    say "$why: given up after $restarts attempts without progress"
    exit 75
  fi
  say "$why: attempt $attempts of $restarts without progress, $*"
  for each in "$@" stop run; do
    "$each" || return 0 # the next look says what is missing
  done
}

# What each host does, a line for each: "running step 1200", "ended 0 step 30000", "absent step 0".
look() {
  on all "step=\$(bash stemphonic_jax/launch/supervise.sh --dry-run --workdir=$MOUNT/$name -- true |
      sed -n 's/.*now at step \([0-9]*\).*/\1/p')
    if [ -e stemphonic.exit ]; then what=\"ended \$(cat stemphonic.exit)\"
    elif kill -0 \"\$(cat stemphonic.pid)\" 2>/dev/null; then what=running
    else what=absent; fi
    echo \"\$what step \$step\""
}

# The state of the request; ACTIVE means that its slice is there.
state() {
  local answer
  if answer=$(cloud queued-resources describe "$name" --format='value(state.state)' 2>&1); then
    [[ ! $answer ]] || echo "$answer"
  elif [[ $answer == *NOT_FOUND* || $answer == *"not found"* ]]; then
    echo absent
  else # as when this machine has no network: the training does not need it
    echo unknown
  fi
  [[ ! $dry_run ]] || echo ACTIVE
}

# Runs a line of bash on host $1 of the slice, or on all.
on() {
  cloud tpu-vm ssh "$name" --worker="$1" --command="$2" --quiet </dev/null
}

# gcloud, told where; with --dry-run a line that a shell could run.
cloud() {
  local line=(gcloud compute tpus "$@" --zone="$zone" ${project:+--project="$project"})
  if [[ $dry_run ]]; then
    printf '%q ' "${line[@]}" >&3
    echo >&3
  else
    "${line[@]}" 3>&-
  fi
}

main "$@"
