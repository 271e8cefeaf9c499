"""Where jobs run on a Slurm cluster: in arrays, which go on when the process that sent them ends.

Slurm's queue tells what waits and what runs; one call asks for all jobs. An array has a folder of
its own beside the runs': tasks, logs, and jobs.json, which names the runs. The queue names that
folder, so that a later sweep finds the jobs of an earlier one.
"""

import collections
import contextlib
import json
import os
import pickle
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from mlp.errors import UserError
from mlp_sweeps import worker
from mlp_sweeps.engines import ONE_THREAD, POLL, count, drop, signals_held_back
from mlp_sweeps.jobs import Job

# Slurm's words. What is neither waits: PENDING, REQUEUED and others
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")
ENDED += ("DEADLINE", "UNKNOWN")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING")
GONE = "UNKNOWN", 0, ""  # ours: Slurm forgets a job some minutes after it ended
FIELDS = "JobArrayID:|,State:|,exit_code:|,Command:|"
LOOKS = 1, 30  # seconds from one look at the queue to the next: a tenth of the wait, within these
LATE = 60  # seconds until a file that another machine wrote must be visible here


@dataclass
class Queued:
    """A Slurm job in the queue, or one that was there at the last look."""

    id: str  # 12_3
    configs: dict  # folder -> config, of the runs that it runs together
    place: Path  # the array's folder
    state: str = "PENDING"
    jobs: list[Job] = field(default_factory=list)
    ended: float | None = None  # when Slurm first said so

    @property
    def paths(self):
        from submitit.core.utils import JobPaths

        return JobPaths(self.place, self.id, 0)


def queued():
    """{run folder: Queued}: what earlier sweeps left in the queue. Raises UserError."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError("launcher=slurm needs submitit: pip install 'mlp-numpy[slurm]'") from None
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError("launcher=slurm needs sbatch and srun: start it where they are")
    answer = look()
    if answer is None:
        raise UserError("launcher=slurm: Slurm does not answer (squeue)")
    found, listed = {}, {}
    for number, (state, _, script) in answer.items():
        place = Path(script).parent
        if state not in ENDED and place.parent.name == ".slurm":
            with contextlib.suppress(OSError, ValueError):  # somebody removed it
                if place not in listed:
                    listed[place] = json.loads((place / "jobs.json").read_text())
                configs = listed[place][int(number.partition("_")[2] or 0)]
                found |= dict.fromkeys(configs, Queued(number, configs, place, state))
    return found


def look():
    """{job id: (state, wait status, script)} of this user's jobs, or None without an answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "-O", FIELDS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.rstrip("|\n ").split("|", 3) for line in done.stdout.splitlines())
    return {row[0]: (row[1], _status(row[2]), row[3]) for row in rows if len(row) == 4}


def _status(text):
    """What wait(2) gives, of Slurm's 768 or 3:0, which is exit code 3 and no signal."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return numbers[0] << 8 | numbers[1] if len(numbers) == 2 else sum(numbers[:1])


class Slurm:
    """conf/launcher/slurm.yaml tells the options. found: what `queued` found before."""

    in_process = False
    outlives = True  # a terminal that closes: jobs go on without this process

    def __init__(
        self, task_of, threads, found, cpus, parallel, array_size, requeues, sbatch, **own
    ):
        self._task_of, self._found, self._cpus = task_of, found, cpus or threads
        self._parallel, self._array_size, self._requeues = parallel, array_size, requeues
        self._sbatch = {"signal": "TERM@90", "requeue": True, **own}
        self._sbatch |= {key.replace("-", "_"): value for key, value in sbatch.items()}
        self._new, self._jobs = collections.deque(), {}  # not sent; id -> Queued
        self._full = self._stopped = False
        self._began = self._looked = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is KeyboardInterrupt:  # whatever else went wrong here, the jobs go on
            self._scancel()

    @property
    def workers(self):
        return self._parallel or self._array_size

    @property
    def stacks(self):
        return self._parallel or 1

    @property
    def waiting(self):
        all_jobs = count(one.jobs for one in self._jobs.values())
        return count(self._new) + all_jobs - self.running

    @property
    def running(self):
        return count(one.jobs for one in self._jobs.values() if one.state in RUNNING)

    def submit(self, jobs):
        one = self._found.pop(jobs[0].folder, None)
        if one:
            one.jobs += jobs
            self._jobs[one.id] = one
        else:
            self._new.append(jobs)

    def ended(self):
        while self._new and not self._full:
            self._send()
        time.sleep(POLL)
        now, (least, most) = time.monotonic(), LOOKS
        if now - self._looked < min(max((now - self._began) / 10, least), most):
            return []
        self._looked = now
        answer = look()
        return [] if answer is None else list(self._settled(answer))

    def stop(self, folders=None):
        self._stopped = self._stopped or folders is None
        self._began = time.monotonic()
        self._scancel("--state=PENDING", folders=folders)
        self._scancel("--signal=INT", folders=folders)
        return drop(self._new, folders)

    def _scancel(self, *how, folders=None):
        jobs = self._jobs.items()
        ids = [one for one, queued in jobs if folders is None or queued.jobs[0].folder in folders]
        if ids:
            subprocess.run(["scancel", "--quiet", *how, *ids], stderr=subprocess.DEVNULL)

    def _send(self):
        """Send one array. Where Slurm refuses it, a limit may be reached: others have to end."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError

        stacks = [self._new.popleft() for _ in range(min(len(self._new), self._array_size))]
        stamp = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(3)}"
        parent = Path(stacks[0][0].folder).parent
        place = parent / ".slurm" / stamp
        place.mkdir(parents=True)
        configs = [{job.folder: job.config for job in jobs} for jobs in stacks]
        (place / "jobs.json").write_text(json.dumps(configs))
        limit = self._parallel or len(stacks)
        more = {"cpus_per_task": self._cpus}
        if self._parallel and self._jobs and len(self._jobs) + len(stacks) > self._parallel:
            arrays = {one.id.partition("_")[0] for one in self._jobs.values()}
            more["dependency"] = ":".join(["afterany", *sorted(arrays)])
        executor = SlurmExecutor(place)
        executor.update_parameters(
            job_name=parent.name,
            time=None,  # not submitit's five minutes
            array_parallelism=limit,
            setup=[f"export {name}={value}" for name, value in ONE_THREAD.items()],
            srun_args=[f"--cpus-per-task={self._cpus}"],  # srun does not ask sbatch
            additional_parameters={k: v for k, v in (more | self._sbatch).items() if v is not None},
        )
        tasks = [self._task_of(jobs) for jobs in stacks]
        try:
            # submitit would print what it raises, and Ctrl-C would reach sbatch
            with contextlib.redirect_stderr(None), signals_held_back():
                sent = executor.map_array(run_here, tasks, [self._requeues] * len(tasks))
        except FailedJobError as error:
            _remove(place)
            if not self._jobs:
                said = str(error).strip() or "sbatch: it ended without a word"
                raise UserError(said.splitlines()[-1]) from None
            self._new.extendleft(reversed(stacks))
            self._full = True
            return
        for one, own, jobs in zip(sent, configs, stacks, strict=True):
            self._jobs[one.job_id] = Queued(one.job_id, own, place, jobs=jobs)
        self._began = time.monotonic()

    def _settled(self, answer):
        for one in list(self._jobs.values()):
            array = one.id.partition("_")[0]  # what is cancelled of it before it ran has no number
            state, status, _ = answer.get(one.id) or answer.get(array) or GONE
            if state not in ENDED:
                one.state = state
                continue
            never_ran = state == "CANCELLED" and one.state not in RUNNING
            outcomes = [worker.Outcome(signal=signal.SIGINT) for _ in one.configs]
            if not never_ran:
                outcomes = self._outcomes(one, state, status)
            if outcomes is None:
                continue
            del self._jobs[one.id]
            self._full = False
            if never_ran or not outcomes[0].died:  # else its log may tell more
                _clean(one)
            if not (never_ran and self._stopped):
                by_folder = dict(zip(one.configs, outcomes, strict=True))
                yield from ((job, by_folder[job.folder]) for job in one.jobs)

    def _outcomes(self, one, state, status):
        """Of what has ended; None where its file is still on its way through the network."""
        one.ended = one.ended or time.monotonic()
        for folder in (one.place, *map(Path, one.configs)):  # a network file system forgets what it
            with contextlib.suppress(OSError):  # remembers of them
                folder.chmod(folder.stat().st_mode)
        try:
            said, value = pickle.loads(one.paths.result_pickle.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):
            if state == "COMPLETED" and time.monotonic() - one.ended < LATE:
                return None
            code = os.waitstatus_to_exitcode(status)
            killed = -code if code < 0 else code - 128  # srun passes a signal on as 128 + signal
            how = f"signal {killed}" if killed > 0 else f"exit code {code}"
            said, value = "died", f"Slurm job {one.id} died ({state}, {how})"
        stderr = _stderr(one)
        if said == "success":
            outcomes, stderr = value, re.sub(r"(?m)^(srun|slurmstepd\S*): .*\n", "", stderr)
        else:  # "error": it could not even begin
            told = {"error": value.strip().splitlines()[-1], "died": said == "died"}
            told["traceback"] = value if said == "error" else ""
            outcomes = [worker.Outcome(**told) for _ in one.configs]
        outcomes[0].stderr = stderr
        return outcomes


def _stderr(one):
    with contextlib.suppress(OSError):
        return one.paths.stderr.read_text(errors="replace")
    return ""


def _clean(one):
    paths = one.paths
    for path in (paths.submitted_pickle, paths.result_pickle, paths.stdout, paths.stderr):
        path.unlink(missing_ok=True)
    if not any(one.place.glob("*.pkl")):  # it was the array's last
        _remove(one.place)


def _remove(place):
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):  # other arrays are there
        place.parent.rmdir()


def run_here(task, requeues):
    """Jobs where Slurm runs them. Returns their Outcomes, unless they queue again to go on later.

    Slurm sends SIGTERM ahead of the time limit, and where it takes the node away. SIGINT comes from
    the sweep, which wants it to end.
    """

    def interrupt(number, _):
        raise KeyboardInterrupt(number)

    signal.signal(signal.SIGTERM, interrupt)  # a run acts on both in its own way
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # submitit would warn of it
    try:
        outcomes = worker.run(task)
    except KeyboardInterrupt as stop:  # just before they began, or just after they ended
        outcomes = [worker.Outcome(signal=stop.args[0]) for _ in range(task.n_jobs)]
    if any(one.signal == signal.SIGTERM for one in outcomes) and _requeue(requeues):
        sys.exit(128 + signal.SIGTERM)  # without a word to the sweep
    return outcomes


def _requeue(requeues):
    me = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:  # the last job of an array has the array's own id
        me = "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}".format_map(os.environ)
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)) >= requeues:
        return False
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm sends one more
    for _ in range(10):  # Slurm may be too busy to answer
        queue = ["squeue", "-h", "-j", me, "-o", "%T"]
        state = subprocess.run(queue, capture_output=True, text=True).stdout.strip()
        if state and state != "RUNNING":  # scancel's SIGTERM, or Slurm queues it again itself
            return False
        if state and subprocess.run(["scontrol", "requeue", me]).returncode == 0:
            return True
        time.sleep(0.5)
    return False
