#!/usr/bin/env bash
# slurm-sandbox.sh - a real, throw-away Slurm cluster on one machine.
#
#   slurm-sandbox.sh start     install what is missing, write the config, start every daemon, wait until idle
#   slurm-sandbox.sh stop      end exactly the processes that `start` recorded (never by name)
#   slurm-sandbox.sh status    what runs, and what the nodes say
#   slurm-sandbox.sh env       print the lines a shell needs:  eval "$(slurm-sandbox.sh env)"
#   slurm-sandbox.sh kill-node N | start-node N    a node crashes, comes back (N = 1..NODES)
#   slurm-sandbox.sh stop-controller | start-controller
#   slurm-sandbox.sh install   install what is missing, nothing else
#   slurm-sandbox.sh clean     stop, and remove the private directory
#
# No systemd, no cgroups and no container engine are needed; it must run as root (network traffic: 127.0.0.1 only).
# Everything it writes lies under $SLURM_SANDBOX_DIR. /etc/slurm, /etc/munge and /run are never touched, so a
# system-wide Slurm on the same machine would not notice it.
#
# How several "nodes" share one machine: Debian's slurmd is compiled with MULTIPLE_SLURMD, so every node gets
# its own port on 127.0.0.1. Besides, every slurmd lives in its own UTS, mount and PID namespace: the processes
# of a job see their node's own host name and their own /dev/shm, so an MPI library takes ranks on different
# nodes for ranks on different hosts (MPI_COMM_TYPE_SHARED splits per node, traffic between nodes is TCP); and
# killing a node's first process ends all that runs on it, as a crash of the machine would.
# Where namespaces are not allowed (an unprivileged container) the nodes run without them: scheduling, arrays,
# signals and `srun --mpi=pmix` still work, but `mpirun` over two nodes and whole-node crashes do not.
#
# Settings (environment):
#   SLURM_SANDBOX_DIR   private directory                                   (/tmp/slurm-sandbox)
#   NODES               number of virtual nodes                             (3)
#   CPUS MEM GPUS       CPUs, MiB of memory, fake GPUs that a node claims   (4 2000 2)
#   MAX_ARRAY           MaxArraySize; keep it small to test array chunking  (1001)
#   ACCT                none  = no sacct, only job_completion text (fast; many real clusters are like this for users)
#                       dbd   = mariadb + slurmdbd, so that sacct works     (none)
#   PREEMPT_SIGNAL      1 = preemption also sends the signal named by `sbatch --signal` (0, as on many clusters)
#   BASE_PORT           first of the TCP ports taken                        (16817)
#   WITH_MPI            1 = install Open MPI too                            (1)
#   ISOLATE             1 = namespaces, 0 = none, auto = if allowed         (auto)
# shellcheck disable=SC2016  # several commands are for another shell to expand
set -euo pipefail

DIR=${SLURM_SANDBOX_DIR:-/tmp/slurm-sandbox}
NODES=${NODES:-3}; CPUS=${CPUS:-4}; MEM=${MEM:-2000}; GPUS=${GPUS:-2}
MAX_ARRAY=${MAX_ARRAY:-1001}; ACCT=${ACCT:-none}; BASE_PORT=${BASE_PORT:-16817}; WITH_MPI=${WITH_MPI:-1}
ISOLATE=${ISOLATE:-auto}; PREEMPT_SIGNAL=${PREEMPT_SIGNAL:-0}

ETC=$DIR/etc LOG=$DIR/log RUN=$DIR/run SPOOL=$DIR/spool
SOCK=$RUN/munge.sock
CTL_PORT=$BASE_PORT; DBD_PORT=$((BASE_PORT + 1)); NODE_PORT0=$((BASE_PORT + 10))
export SLURM_CONF=$ETC/slurm.conf

say() { printf 'slurm-sandbox: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
# runs PID: is it there, and not a zombie that a lazy init has yet to reap?
runs() { local s; s=$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) && [ "$s" != Z ]; }
alive() { local p; p=$(cat "$RUN/$1.pid" 2>/dev/null) && [ -n "$p" ] && runs "$p"; }

# try SECONDS command...   repeats the command until it succeeds
try() {
  local until=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$until" ] || return 1; sleep 0.2; done
}

# end_pid NAME [FIRST]: FIRST (TERM), then KILL, to the one process recorded under that name
end_pid() {
  local p i; p=$(cat "$RUN/$1.pid" 2>/dev/null) || return 0
  if [ -n "$p" ] && kill -"${2:-TERM}" "$p" 2>/dev/null; then
    for i in $(seq 50); do runs "$p" || break; sleep 0.1; done
    if runs "$p"; then kill -KILL "$p" 2>/dev/null || true; fi
  fi
  rm -f "$RUN/$1.pid"
}

# daemon NAME command...: run in the background, detached from this terminal, with its pid kept
daemon() {
  local name=$1; shift
  setsid "$@" >>"$LOG/$name.out" 2>&1 </dev/null &
  echo $! >"$RUN/$name.pid"
}

install_packages() {
  local need=()
  has() { command -v "$1" >/dev/null 2>&1; }
  has slurmctld || need+=(slurmctld)
  has slurmd    || need+=(slurmd)
  has sbatch    || need+=(slurm-client)
  has munged    || need+=(munge)
  if [ "$WITH_MPI" = 1 ]; then
    has mpirun || need+=(openmpi-bin)
    [ -e /usr/lib/x86_64-linux-gnu/openmpi/include/mpi.h ] || need+=(libopenmpi-dev)
  fi
  # without a libpmi2 an MPI program cannot use `srun --mpi=pmi2`; libpmix2 comes with Open MPI
  dpkg -s libpmi2-0 >/dev/null 2>&1 || need+=(libpmi2-0)
  if [ "$ACCT" = dbd ]; then
    has slurmdbd || need+=(slurmdbd)
    has mariadbd || need+=(mariadb-server)
    dpkg -s slurm-wlm-mysql-plugin >/dev/null 2>&1 || need+=(slurm-wlm-mysql-plugin)
  fi
  [ ${#need[@]} -eq 0 ] && return 0
  say "installing: ${need[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # packages start their service at installation time; keep them from it where nobody else already does
  local policy=/usr/sbin/policy-rc.d made=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
  { apt-get install -y --no-install-recommends "${need[@]}" ||
    { apt-get update && apt-get install -y --no-install-recommends "${need[@]}"; }; } >"$LOG/apt.log" 2>&1 ||
    { [ -z "$made" ] || rm -f $policy; die "apt-get failed, see $LOG/apt.log"; }
  [ -z "$made" ] || rm -f $policy
}

start_munge() {
  alive munged && return 0
  [ -s "$ETC/munge.key" ] || (umask 077; dd if=/dev/urandom of="$ETC/munge.key" bs=128 count=1 status=none)
  rm -f "$SOCK" "$SOCK.lock"
  daemon munged munged --foreground --force --num-threads=2 --key-file="$ETC/munge.key" --socket="$SOCK" \
    --pid-file="$RUN/munged.own.pid" --log-file="$LOG/munged.log" --seed-file="$RUN/munged.seed"
  try 10 munge --no-input --socket="$SOCK" -o /dev/null || die "munged does not answer, see $LOG/munged.log"
}

write_config() {
  local host; host=$(hostname -s)
  local acct=accounting_storage/none gather=jobacct_gather/none
  [ "$ACCT" = dbd ] && { acct=accounting_storage/slurmdbd; gather=jobacct_gather/linux; }

  # the option moved in Slurm 23.02
  local preempt_signal='# preemption sends TERM only'
  if [ "$PREEMPT_SIGNAL" != 0 ]; then
    case $(slurmctld -V) in
      *" "2[0-2].*) preempt_signal=SlurmctldParameters=preempt_send_user_signal ;;
      *) preempt_signal=PreemptParameters=send_user_signal ;;
    esac
  fi

  cat >"$ETC/slurm.conf" <<CONF
ClusterName=sandbox
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$CTL_PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job must wait before it may start again (Slurm's default: 120 s)
AuthInfo=socket=$SOCK,cred_expire=5
CredType=cred/munge
StateSaveLocation=$SPOOL/ctld
SlurmdSpoolDir=$SPOOL/%n
SlurmctldPidFile=$RUN/slurmctld.own.pid
SlurmdPidFile=$RUN/%n.own.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/%n.log
SlurmctldDebug=info
SlurmdDebug=info
# the machine has neither systemd nor a writable cgroup tree
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobContainerType=job_container/none
# root lacks CAP_SYS_RESOURCE in some sandboxes: do not try to carry the submitter's limits over
PropagateResourceLimits=NONE
MpiDefault=none
MailProg=/bin/true
# believe the configuration, not the hardware, so that a 2-core machine can play 12 CPUs
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# quick reactions: this cluster exists for tests
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000,bf_interval=2,requeue_setup_env_fail
SlurmctldTimeout=10
SlurmdTimeout=10
MinJobAge=3600
KillWait=3
CompleteWait=0
OverTimeLimit=0
InactiveLimit=0
ReturnToService=2
JobRequeue=1
MaxArraySize=$MAX_ARRAY
MaxJobCount=20000
# jobs of partition spot are requeued, after 5 s of grace, when a job of partition urgent wants their place
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
$preempt_signal
JobCompType=jobcomp/filetxt
JobCompLoc=$LOG/jobcomp.txt
AccountingStorageType=$acct
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$DBD_PORT
# despite its name: the munge socket used towards slurmdbd (AuthInfo does not reach that far)
AccountingStoragePass=$SOCK
JobAcctGatherType=$gather
JobAcctGatherFrequency=task=2
CONF

  : >"$ETC/gres.conf"
  local i
  for i in $(seq "$NODES"); do
    echo "NodeName=vn$i NodeHostname=vn$i NodeAddr=127.0.0.1 Port=$((NODE_PORT0 + i)) CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM Gres=gpu:h200:$GPUS State=UNKNOWN" >>"$ETC/slurm.conf"
    # fake devices: character nodes that behave as /dev/null; Slurm takes the trailing number for CUDA_VISIBLE_DEVICES
    echo "NodeName=vn$i Name=gpu Type=h200 File=$RUN/dev/nvidia[0-$((GPUS - 1))]" >>"$ETC/gres.conf"
  done
  cat >>"$ETC/slurm.conf" <<CONF
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10 DefMemPerCPU=100 PreemptMode=OFF
PartitionName=spot Nodes=ALL MaxTime=60 State=UP PriorityTier=1 DefMemPerCPU=100 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=100 DefMemPerCPU=100 PreemptMode=OFF
CONF
  # keep slurmd from looking for a usable cgroup hierarchy
  printf 'CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n' >"$ETC/cgroup.conf"
  mkdir -p "$RUN/dev"
  for i in $(seq 0 $((GPUS - 1))); do
    [ -e "$RUN/dev/nvidia$i" ] || mknod "$RUN/dev/nvidia$i" c 1 3 2>/dev/null || : >"$RUN/dev/nvidia$i"
  done

  cat >"$ETC/env.sh" <<ENV
export SLURM_CONF=$ETC/slurm.conf
# every virtual node answers on loopback, which Open MPI leaves out by default
$([ "$(isolation)" = 1 ] || echo 'export OMPI_MCA_btl=self,tcp  # nodes without a /dev/shm of their own would share segments')
export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
# containers often forbid process_vm_readv; without this Open MPI warns at every message
export OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ENV
}

# mariadb and slurmdbd, only for ACCT=dbd
start_accounting() {
  [ "$ACCT" = dbd ] || return 0
  local db=$DIR/mysql my=$RUN/mysql.sock
  if ! alive mariadbd; then
    if [ ! -d "$db/mysql" ]; then
      mkdir -p "$db"
      mariadb-install-db --no-defaults --user=root --datadir="$db" --auth-root-authentication-method=socket \
        --skip-test-db >"$LOG/mysql-install.log" 2>&1 || die "mariadb-install-db failed"
    fi
    # no TCP at all, small buffers
    daemon mariadbd mariadbd --no-defaults --user=root --datadir="$db" --socket="$my" --skip-networking \
      --pid-file="$RUN/mariadbd.own.pid" --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
      --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0
    try 30 mariadb --no-defaults --socket="$my" -e 'select 1' || die "mariadbd does not answer"
    mariadb --no-defaults --socket="$my" -e "create database if not exists slurm_acct_db;
      create user if not exists 'slurm'@'localhost' identified by 'sandbox';
      grant all on slurm_acct_db.* to 'slurm'@'localhost';"
  fi
  (umask 077; cat >"$ETC/slurmdbd.conf" <<CONF
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$SOCK
PidFile=$RUN/slurmdbd.own.pid
LogFile=$LOG/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=sandbox
StorageLoc=slurm_acct_db
CONF
  )
  if ! alive slurmdbd; then
    # libmariadb finds the private socket through this variable
    MYSQL_UNIX_PORT=$my daemon slurmdbd slurmdbd -D
    try 30 sacctmgr -n list cluster || die "slurmdbd does not answer, see $LOG/slurmdbd.log"
  fi
  sacctmgr -i add cluster sandbox >/dev/null 2>&1 || true
  sacctmgr -i add account lab >/dev/null 2>&1 || true
  sacctmgr -i add user root account=lab >/dev/null 2>&1 || true
}

start_node() {
  local n=vn$1 cf=$ETC/vn$1
  alive "$n" && return 0
  # the PMIx plugin makes a directory per job step in a common /tmp, where nodes would trip over each other's;
  # so every slurmd reads a configuration folder of its own, which differs in mpi.conf alone
  # what steps that a crash ended left: the PMIx plugin of Slurm 22.05 fails where it lies; a real node is cleaned when it boots
  rm -rf "$SPOOL/$n"/stepd.slurm.pmix.* "$SPOOL/$n"/pmix.* "$RUN/pmix-$n"
  mkdir -p "$SPOOL/$n" "$RUN/pmix-$n" "$cf"
  ln -sf ../slurm.conf ../gres.conf ../cgroup.conf "$cf/"
  echo "PMIxCliTmpDirBase=$RUN/pmix-$n" >"$cf/mpi.conf"
  if [ "$(isolation)" = 0 ]; then daemon "$n" slurmd -D -N "$n" -f "$cf/slurm.conf"; return; fi
  # the shell is the namespace's first process: it reaps orphans, and passes TERM on
  daemon "$n" unshare --uts --mount --propagation private --pid --fork --mount-proc --kill-child=KILL -- \
    bash -c 'hostname "$1" && mount -t tmpfs -o mode=1777 shm /dev/shm || exit 1
      slurmd -D -N "$1" -f "$2" & p=$!; trap "kill -TERM $p" TERM
      while kill -0 $p 2>/dev/null; do wait; done' bash "$n" "$cf/slurm.conf"
}

isolation() {
  [ "$ISOLATE" = auto ] || { echo "$ISOLATE"; return; }
  [ -e "$RUN/isolate" ] || { unshare --uts --mount --propagation private --pid --fork --mount-proc \
    sh -c 'hostname x && mount -t tmpfs x /dev/shm' 2>/dev/null && echo 1 || echo 0; } >"$RUN/isolate"
  cat "$RUN/isolate"
}

nodes_answer() { ! sinfo -h -N -o %T | grep -q -E '[*]$|^(unknown|down)'; }
nodes_idle() { [ "$(sinfo -h -N -p batch -o %T | grep -c -E '^(idle|mixed|allocated)$')" -eq "$NODES" ]; }

cmd_start() {
  [ "$(id -u)" = 0 ] || die "must run as root"
  mkdir -p "$ETC" "$LOG" "$RUN" "$SPOOL/ctld"; chmod 755 "$DIR" "$RUN" "$ETC"
  local t0=$SECONDS
  rm -f "$RUN/isolate"
  install_packages; say "packages ready after $((SECONDS - t0)) s"
  start_munge
  write_config
  start_accounting
  start_controller -i
  local i; for i in $(seq "$NODES"); do start_node "$i"; done
  try 30 nodes_idle || { sinfo -N -l >&2 || true; die "nodes are not idle, see $LOG"; }
  say "$NODES nodes idle after $((SECONDS - t0)) s;  eval \"\$($0 env)\""
}

start_controller() {
  alive slurmctld && return 0
  daemon slurmctld slurmctld -D "$@"
  try 20 scontrol ping || die "slurmctld does not answer, see $LOG/slurmctld.log"
}

cmd_stop() {
  # jobs first, or (without PID namespaces) their slurmstepd would outlive slurmd
  if alive slurmctld && [ -n "$(squeue -h 2>/dev/null)" ]; then
    squeue -h -o %A | sort -u | xargs -r timeout 10 scancel >/dev/null 2>&1 || true
    try 10 sh -c '[ -z "$(squeue -h)" ]' || say "jobs still in the queue"
  fi
  end_pid slurmctld
  # `unshare` ignores TERM; KILL ends it and, by --kill-child, its whole PID namespace
  local f first=TERM; [ "$(isolation)" = 0 ] || first=KILL
  for f in "$RUN"/vn*.pid; do
    [ -e "$f" ] || continue
    case $f in *.own.pid) continue;; esac
    end_pid "$(basename "$f" .pid)" $first
  done
  end_pid slurmdbd; end_pid mariadbd; end_pid munged
  say stopped
}

cmd_status() {
  local p any=1
  for p in munged mariadbd slurmdbd slurmctld $(seq -f 'vn%g' "$NODES"); do
    if alive "$p"; then printf '%-10s up    pid %s\n' "$p" "$(cat "$RUN/$p.pid")"; any=0
    elif [ -e "$RUN/$p.pid" ]; then printf '%-10s DEAD\n' "$p"; fi
  done
  if alive slurmctld; then sinfo -N -o '%10N %10P %8t %6c %8m %14G %E'; squeue; fi
  return $any
}

case ${1:-} in
  start) cmd_start ;;
  stop) cmd_stop ;;
  status) cmd_status ;;
  env) cat "$ETC/env.sh" ;;
  kill-node) end_pid "vn$2" KILL ;;
  start-node) start_node "$2" ;;
  stop-controller) end_pid slurmctld ;;
  start-controller) start_controller; try 30 nodes_answer || die "nodes do not answer the new controller, see $LOG" ;;
  install) mkdir -p "$LOG"; install_packages ;;
  clean) cmd_stop; rm -rf "${DIR:?}" ;;
  *) sed -n '2,/^# shellcheck/{/^# shellcheck/!s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
