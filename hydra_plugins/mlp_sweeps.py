"""What Hydra finds: a launcher for each place where runs can run, and a sweeper over them.

The rooms that do the work are loaded when a sweep starts, not with every run.
"""

from collections.abc import Mapping

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher


class _Launcher(Launcher):
    """conf/launcher/*.yaml gives the options of its place."""

    def __init__(self, **options):
        self._options = options

    def setup(self, *, hydra_context, task_function, config):
        self._setup = hydra_context, task_function, config

    def sweep(self):
        from mlp_sweeps.launcher import Sweep

        return Sweep(*self._setup, self.engine, self.queued)

    def launch(self, job_overrides, initial_job_idx):
        outcomes = self.sweep().launch(job_overrides, initial_job_idx)
        return [
            JobReturn(status=JobStatus.COMPLETED, _return_value=outcome.value)
            for outcome in outcomes.values()
        ]

    def queued(self):
        """{folder: config} of runs that a cluster has from earlier sweeps.

        Raises UserError, before anything is written, where there is no cluster.
        """
        return {}


class SerialLauncher(_Launcher):
    """One run after the other, in this process."""

    def engine(self, task_of, n_jobs, threads):
        from mlp_sweeps.engines import Serial

        return Serial(task_of, **self._options)


class LocalLauncher(_Launcher):
    """Runs side by side on this machine."""

    def sweep(self):
        from mlp_sweeps.engines import warm_up

        warm_up()
        return super().sweep()

    def engine(self, task_of, n_jobs, threads):
        from mlp.errors import UserError
        from mlp.machine import cores
        from mlp_sweeps.engines import Local

        workers = self._options["workers"]
        if workers is None:
            workers = max(1, cores() // threads)
        elif type(workers) is not int or workers < 1:
            raise UserError(f"hydra.launcher.workers must be null or >= 1, got {workers!r}")
        return Local(task_of, min(workers, n_jobs))


class SlurmLauncher(_Launcher):
    """Runs are jobs of a Slurm cluster."""

    _found = None

    def queued(self):
        from mlp_sweeps.slurm import queued

        self._found = queued()
        return {folder: one.configs[folder] for folder, one in self._found.items()}

    def engine(self, task_of, n_jobs, threads):
        from mlp_sweeps.slurm import Slurm, queued

        found = queued() if self._found is None else self._found
        return Slurm(task_of, threads, found, **self._options)


class RayLauncher(_Launcher):
    """Runs are tasks of a Ray cluster."""

    def queued(self):
        from mlp_sweeps.ray import find

        find(self._options["address"])
        return {}  # a cluster ends the tasks of a program that ends

    def engine(self, task_of, n_jobs, threads):
        from mlp_sweeps.ray import Ray

        return Ray(task_of, threads, **self._options)


class _Sweeper(BasicSweeper):
    """conf/sweeper/*.yaml gives its options."""

    def __init__(self, params=None, **options):
        super().__init__(max_batch_size=None, params=params)
        self._options = options

    def given(self, arguments):
        """The sweep's overrides, parsed: the command line's win over those in an experiment."""
        if not isinstance(self.params or {}, Mapping):
            from mlp.errors import UserError

            raise UserError(f"hydra.sweeper.params must be key: values, got {self.params}")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        return list({override.get_key_element(): override for override in overrides}.values())


class GridSweeper(_Sweeper):
    """Hydra's own sweeper, but for what takes its time: it would compose every run beforehand."""

    def sweep(self, arguments):
        overrides = self.given(arguments)
        for override in overrides:
            if override.is_sweep_override() and not override.is_discrete_sweep():
                from mlp.errors import UserError

                line = override.input_line
                raise UserError(f"{line} is for sweeper=optuna; a grid takes a list or a range")
        (jobs,) = self.split_arguments(overrides, max_batch_size=None)
        return self.launcher.launch(jobs, initial_job_idx=0)


class OptunaSweeper(_Sweeper):
    """Trial after trial, each where the trials before it make it look best."""

    def sweep(self, arguments):
        from mlp.errors import UserError

        if not isinstance(self.launcher, _Launcher):
            raise UserError("sweeper=optuna runs with launcher=, not with hydra/launcher=")
        try:
            from mlp_sweeps.search import Search
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise UserError("sweeper=optuna needs: pip install 'mlp-numpy[optuna]'") from None
        Search(self.launcher.sweep(), self.given(arguments), **self._options).run()
