#!/usr/bin/env bash
# Start a Slurm of one node for tests, with all its files in FOLDER. It needs no systemd, no
# accounting, no cgroups, and leaves /etc/slurm alone. Stop it with: slurm_up.sh FOLDER stop
#
#   bash tests/slurm_up.sh /tmp/slurm && export SLURM_CONF=/tmp/slurm/slurm.conf && sinfo
set -euo pipefail
mkdir -p "$1"
cd "$1"
here=$PWD
export SLURM_CONF=$here/slurm.conf PATH=$PATH:/usr/sbin:/sbin

if [ "${2:-}" = stop ]; then
    scontrol shutdown || true
    munged --stop --socket="$here/munge.socket" --pid-file="$here/munged.pid" >/dev/null || true
    exit
fi

chmod 755 .
mkdir -p state spool
(umask 077 && head -c 1024 /dev/urandom >munge.key)
user=$(id -un)
host=$(hostname -s)
megabytes=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
port=$((20000 + RANDOM % 10000)) # a second Slurm on this machine has others
cat >slurm.conf <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A job that is requeued starts again once its old credential has expired; 120 s by default
AuthInfo=socket=$here/munge.socket,cred_expire=5
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Tests wait for the scheduler, and count on more processors than there may be
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$megabytes State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

# --force: munged would refuse a folder below one that others may write to, such as /tmp
munged --force --key-file="$here/munge.key" --socket="$here/munge.socket" \
    --pid-file="$here/munged.pid" --log-file="$here/munged.log" --seed-file="$here/munged.seed" \
    2>/dev/null
slurmctld -c
slurmd -c
for _ in $(seq 100); do
    if sinfo -h -o %T 2>/dev/null | grep -q idle; then exit; fi
    sleep 0.1
done
tail slurmctld.log slurmd.log >&2
exit 1
