#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: `.ci/slurm.sh start`, then `eval "$(.ci/slurm.sh env)"`, then `.ci/slurm.sh stop`.
# Needs root and the packages slurm-wlm and munge. Everything is in one folder (SLURM_TEST_DIR); systemd and cgroups are not used,
# and daemons that run already are left alone.
set -euo pipefail

dir=${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/crosstile-slurm}
host=$(hostname -s)

die() { echo "slurm.sh: $*" >&2; exit 1; }

alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

write_config() {
  local memory
  memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >"$dir/slurm.conf" <<CONF
ClusterName=crosstile
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_TEST_PORT:-16817}
SlurmdPort=$((${SLURM_TEST_PORT:-16817} + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=1
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=01:00:00 State=UP
CONF
}

start() {
  [ "$(id -u)" -eq 0 ] || die "root is needed to start slurmd"
  local tool
  for tool in munged slurmctld slurmd sinfo; do
    command -v "$tool" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/usr/local/sbin
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not installed; on Debian and Ubuntu: apt-get install slurm-wlm munge"
  done
  getent hosts "$host" >/dev/null || die "the name of this machine, $host, does not resolve; add it to /etc/hosts"
  mkdir -p "$dir/munge" "$dir/state" "$dir/spool"
  chmod 711 "$dir" "$dir/munge"
  write_config
  export SLURM_CONF=$dir/slurm.conf
  if ! alive "$dir/munge/pid"; then
    rm -f "$dir/munge/key" "$dir/munge/socket"*
    (umask 077; head -c 1024 /dev/urandom >"$dir/munge/key")
    munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
      --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
  fi
  alive "$dir/slurmctld.pid" || slurmctld -c -i </dev/null
  alive "$dir/slurmd.pid" || slurmd </dev/null
  local try
  for try in $(seq 60); do
    if [ "$(sinfo -h -o %t 2>/dev/null | head -1)" = idle ]; then
      echo "slurm.sh: one node is up after $try tries; eval \"\$(${BASH_SOURCE[0]} env)\"" >&2
      return
    fi
    sleep 0.5
  done
  tail -n 15 "$dir"/slurm*.log >&2
  die "the node did not come up"
}

stop() {
  local file pid
  if [ -f "$dir/slurm.conf" ]; then SLURM_CONF=$dir/slurm.conf timeout 10 scancel --user=root >/dev/null 2>&1 || true; fi
  for file in "$dir/slurmd.pid" "$dir/slurmctld.pid" "$dir/munge/pid"; do
    alive "$file" || continue
    pid=$(cat "$file")
    kill "$pid"
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  case $dir in */crosstile-slurm*) rm -rf "$dir" ;; esac
}

case ${1:-} in
  start) start ;;
  env) printf 'export SLURM_CONF=%q\n' "$dir/slurm.conf" ;;
  stop) stop ;;
  *) die "start, env or stop is wanted" ;;
esac
