"""A real Slurm on one machine: munged, slurmctld and slurmd, started as root and without systemd.

    python tests/slurm.py up FOLDER      # then: export SLURM_CONF=FOLDER/slurm.conf
    python tests/slurm.py down FOLDER

Two nodes of 32 cores with two GPUs each, all of them stand-ins: a node is a slurmd on a port of its own, and a GPU a
device that swallows everything. Partitions: `cpu`, `gpu`, and `low`, which the others pre-empt. Slurm comes from
Debian's packages: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
ETC = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")
PORT = 26817
REPOSITORY = Path(__file__).parents[1]

# The plugin waits 10 seconds longer after each look at the queue that found nothing new. Here it looks twice a second.
SNAKEMAKE = """
import sys
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 0.5, lambda self, seconds: None)
sys.exit(main())
"""

SLURM_CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is requeued waits until its old credential has expired: not two minutes here.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
# No control groups: they would want systemd.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# The nodes have the cores and the memory that are written here.
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=0,sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=3
MinJobAge=600
SlurmdTimeout=10
MessageTimeout=5
MailProg=/bin/true
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
GresTypes=gpu
{nodes}
PartitionName=DEFAULT Nodes=n[1-2] MaxTime=2880 DefaultTime=10 DefMemPerCPU=200 State=UP PreemptMode=OFF
PartitionName=cpu Default=YES PriorityTier=10
PartitionName=gpu PriorityTier=10
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
"""
NODE = (
    "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} "
    "CPUs=32 RealMemory=200000 Gres=gpu:standin:2 State=UNKNOWN"
)


def missing() -> str | None:
    """Why Slurm cannot be started here; None if it can."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if absent:
        return f"no {', '.join(absent)}: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "a Slurm of one's own is started by root"
    # Snakemake's job steps drop SLURM_CONF, so Slurm must find its configuration where it was built to look for it.
    if ETC.is_symlink() and not ETC.exists():
        ETC.unlink()  # left by a cluster that was not taken down
    return f"{ETC} is there already: this machine belongs to a cluster" if ETC.exists() else None


def up(folder: Path) -> dict[str, str]:
    """Start the cluster, its state and logs in a new folder; return the environment that its commands need."""
    for name in ("state", "spool", "devices"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    nodes = [NODE.format(name=name, host=host, port=PORT + i) for i, name in enumerate(NODES, start=1)]
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(host=host, port=PORT, folder=folder, nodes="\n".join(nodes)), encoding="utf-8")
    # Slurm 22.05 loads a plugin for control groups even where nothing uses one; that of version 1 needs no systemd.
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
    (folder / "gres.conf").write_text("".join(_gpus(folder / "devices", name) for name in NODES), encoding="utf-8")
    ETC.parent.mkdir(exist_ok=True)
    ETC.symlink_to(conf)
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": _path()}

    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    files = {"socket": "munge.socket", "key-file": key.name, "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{option}={folder / name}" for option, name in {**files, "seed-file": "munge.seed"}.items()]
    try:
        _start(folder, environment, "munged", "--foreground", "--force", *options)
        _wait_until(lambda: (folder / "munge.socket").exists(), folder)
        _start(folder, environment, "slurmctld", "-D", "-f", str(conf))
        _wait_until(lambda: _answer(environment, "scontrol", "ping").endswith("UP"), folder)
        for name in NODES:
            _start(folder, environment, "slurmd", "-D", "-f", str(conf), "-N", name)
        _wait_until(lambda: set(_answer(environment, "sinfo", "-h", "-N", "-o", "%t").split()) == {"idle"}, folder)
    except BaseException:
        down(folder)
        raise
    return environment


@contextmanager
def snakemake(folder: Path, environment: dict[str, str], partition: str = "gpu") -> Iterator[subprocess.Popen[bytes]]:
    """Start the workflow with the profile for Slurm, its extraction in a partition; it speaks into output.log."""
    # As a user does: a copy with the names of one's own partitions. (--set-resources would replace the whole section.)
    profile = (REPOSITORY / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8")
    (folder / "profile").mkdir(exist_ok=True)
    own = profile.replace("slurm_partition: gpu", f"slurm_partition: {partition}")
    (folder / "profile/config.yaml").write_text(own, encoding="utf-8")
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
    files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
    # Only the tables: in its pictures a run on Slurm is no other than any run.
    targets = ["--", "results/toy/neighbors.parquet", "results/toy/classes.parquet"]
    command = [sys.executable, "-c", SNAKEMAKE, *files, "--workflow-profile", "profile", *quick, *targets]
    with (
        (folder / "output.log").open("wb") as output,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ask(environment: dict[str, str], *command: str) -> str:
    """What a command of Slurm's says."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def down(folder: Path) -> None:
    """Cancel all jobs and end the processes that `up` started, by their ids."""
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    recorded = (folder / "pids").read_text(encoding="utf-8").split() if (folder / "pids").exists() else []
    pids = [int(pid) for pid in reversed(recorded)]  # munged last: the others talk through it
    if len(pids) > 1:
        _answer(environment, "scancel", "--user=root")
        end = time.monotonic() + 10
        while _answer(environment, "squeue", "-h") and time.monotonic() < end:
            time.sleep(0.1)
    for together in (pids[:-1], pids[-1:]):
        _end(together)
    (folder / "pids").unlink(missing_ok=True)
    if ETC.is_symlink() and ETC.readlink() == folder / "slurm.conf":
        ETC.unlink()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # the daemons lie there, which is not on every path


def _gpus(devices: Path, node: str) -> str:
    """Make a node's GPUs, clones of /dev/null since slurmd wants a device; return their line of gres.conf."""
    for number in range(2):
        os.mknod(devices / f"{node}-{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return f"NodeName={node} Name=gpu Type=standin File={devices}/{node}-[0-1]\n"


def _start(folder: Path, environment: dict[str, str], name: str, *arguments: str) -> None:
    """Start a daemon in a session of its own, and write down its process id."""
    program = shutil.which(name, path=_path())
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    streams = [(os.POSIX_SPAWN_OPEN, number, folder / f"{name}.out", flags, 0o644) for number in (1, 2)]
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    pid = os.posix_spawn(program, [name, *arguments], environment, file_actions=[nothing, *streams], setsid=True)
    with (folder / "pids").open("a", encoding="utf-8") as pids:
        pids.write(f"{pid}\n")


def _answer(environment: dict[str, str], *command: str) -> str:
    """What a command of Slurm's says; nothing while the daemons do not answer."""
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return ""


def _wait_until(reached: Callable[[], bool], folder: Path) -> None:
    end = time.monotonic() + 30
    while not reached():
        if time.monotonic() > end:
            logs = [*folder.glob("*.log"), *folder.glob("*.out")]
            tails = (f"{log.name}:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}" for log in logs)
            raise RuntimeError("Slurm did not come up.\n" + "\n".join(tails))
        time.sleep(0.05)


def _end(pids: list[int]) -> None:
    """End processes and wait until they are gone."""
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        pids = [pid for pid in pids if _signal(pid, number)]
        end = time.monotonic() + seconds
        while pids and time.monotonic() < end:
            time.sleep(0.05)
            pids = [pid for pid in pids if _signal(pid, 0)]


def _signal(pid: int, number: int) -> bool:
    """Send a signal; return whether there is such a process that has not ended yet."""
    with suppress(ChildProcessError):  # started by another process, which has to take note of its end
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, number)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up", folder]:
            if reason := missing():
                sys.exit(reason)
            print(f"export SLURM_CONF={up(Path(folder).absolute())['SLURM_CONF']}")
        case ["down", folder]:
            down(Path(folder).absolute())
        case _:
            sys.exit(__doc__)
