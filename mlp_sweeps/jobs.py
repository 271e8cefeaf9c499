"""From a sweep's overrides to its jobs: configurations, composed and checked before any runs."""

import contextlib
import os
import re
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from operator import getitem

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlp.errors import UserError

# What OmegaConf resolves in a third of a millisecond, and _filled in a microsecond
REFERENCE = re.compile(r"\$\{([a-zA-Z_]\w*(?:\.[a-zA-Z_]\w*)*)\}", re.ASCII)
IS_1_3 = hydra.__version__.startswith("1.3")


@dataclass
class Job:
    """One run of a sweep. Its whole configuration is composed anew when an engine asks for it."""

    overrides: list
    number: int
    folder: str  # absolute
    config: dict  # checked; the tree that result.json will hold
    tree: dict  # what was checked: every value but Hydra's own. Jobs share parts of theirs


class Jobs:
    """The jobs of one sweep. check(tree, overrides) gives a job's config, or raises."""

    def __init__(self, loader, master, check):
        self._loader, self._master, self._check = loader, master, check
        self._parser = OverridesParser.create(config_loader=loader)
        self._parsed, self._groups, self._bases = {}, {}, {}

    def check(self, job_overrides, first):
        """All jobs, without repetitions; raises where one can't run or two would share a folder."""
        by_folder = {}
        with _own_hydra_config():
            for number, overrides in enumerate(job_overrides, first):
                job = self._job(overrides, number)
                known = by_folder.setdefault(job.folder, job)
                if known.config != job.config:
                    both = " and ".join(" ".join(one.overrides) for one in (known, job))
                    raise UserError(f"{both} would share the folder {os.path.relpath(job.folder)}")
        return list(by_folder.values())

    def _job(self, overrides, number):
        base = self._composed(overrides, number)
        HydraConfig.instance().cfg = base.cfg  # set_config would copy it
        tree = base.tree()
        config = self._check(tree, overrides)
        return Job(list(overrides), number, base.folder(tree), config, tree)

    def compose(self, job):
        """What Hydra's load_sweep_config composes, in a tenth of its time."""
        cfg = deepcopy(self._composed(job.overrides, job.number).cfg)
        OmegaConf.set_struct(cfg.hydra, None)
        return cfg

    def notes(self, job):
        """What .hydra/ in a job's folder holds (see NOTES of a run folder), in plain values.

        Jobs share what doesn't differ, so that many together pickle small.
        """
        base, parsed, _ = self._base_of(job.overrides)
        task, own = base.differing(parsed, job.number)
        overrides = task
        if "${" in str([task, base.hydra["job"]["env_set"]]):
            with _own_hydra_config():
                HydraConfig.instance().cfg = cfg = self.compose(job)
                cfg.hydra.runtime.output_dir = job.folder
                overrides = list(cfg.hydra.overrides.task)
                if not IS_1_3:
                    own["env_set"] = OmegaConf.to_container(cfg.hydra.job.env_set, resolve=True)
        differs = {"overrides": {"task": task}, "job": own, "runtime": {"output_dir": job.folder}}
        part = base.hydra | {key: base.hydra[key] | values for key, values in differs.items()}
        return job.tree, overrides, {"hydra": part}

    def _composed(self, overrides, number):
        """The _Base of a job's choices, with the job's values in it."""
        base, parsed, values = self._base_of(overrides)
        for cfg in (base.cfg, base.own):
            OmegaConf.copy_cache(self._master, cfg)  # not what resolvers keep from the job before
        try:
            base.set(values)
        except OmegaConfBaseException:
            self._load(overrides)  # raises too, in Hydra's words
            raise
        base.say_which(parsed, number)
        return base

    def _base_of(self, overrides):
        """A job's _Base, its overrides, parsed, and {key: override} of those to set in the base.

        Values don't change which files are read. So files are read once for each combination of
        group choices. What does more than set a value that is there (+key, ~key, a dict) goes
        Hydra's way as a whole.
        """
        parsed = [self._parse(override) for override in overrides]
        choices = tuple(one.input_line for one in parsed if self._is_group(one))
        values = [one for one in parsed if one.input_line not in choices]
        if all(map(_only_sets, values)):
            base = self._base(choices)
            if all(one.key_or_group in base.paths for one in values):
                return base, parsed, {one.key_or_group: one for one in values}
        return self._base(tuple(overrides)), parsed, {}

    def _base(self, choices):
        if choices not in self._bases:
            self._bases[choices] = _Base(self._load(choices))
        return self._bases[choices]

    def _load(self, overrides):
        return self._loader.load_sweep_config(self._master, list(overrides))

    def _parse(self, override):
        if override not in self._parsed:
            self._parsed[override] = self._parser.parse_override(override)
        return self._parsed[override]

    def _is_group(self, override):
        key = override.key_or_group
        if key not in self._groups:
            part = self._master.hydra
            self._groups[key] = bool(
                self._loader.get_group_options(
                    key,
                    config_name=part.job.config_name,
                    overrides=list(part.overrides.hydra),
                )
            )
        return self._groups[key] and not isinstance(override.value(), dict)


def _only_sets(override):
    does_more = override.type is not OverrideType.CHANGE or override.package
    return not (does_more or isinstance(override.value(), dict))


@contextlib.contextmanager
def _own_hydra_config():
    """A block that sets what ${hydra:...} is answered from."""
    outer = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = outer


class _Base:
    """What one combination of choices composes to. The values of one job at a time are set in it.

    cfg: the whole. own: all but Hydra's part, as a run sees it. hydra: that part in plain values.
    paths: {key: path} of what can be set.
    """

    def __init__(self, cfg):
        self.cfg, self._set = cfg, {}
        self.own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        OmegaConf.set_struct(cfg.hydra, False)  # once: OmegaConf tells every node of a new flag
        self.hydra = OmegaConf.to_container(cfg.hydra, enum_to_str=True)
        self._task = self.hydra["overrides"]["task"]
        named = cfg.hydra.job.config.override_dirname
        self._named = OmegaConf.to_container(named, resolve=True) if IS_1_3 else None
        self._raw = OmegaConf.to_container(self.own)
        self._leaves = dict(_leaves(self._raw))
        simple = [path for path in self._leaves if not any("." in str(key) for key in path)]
        self.paths = {".".join(map(str, path)): path for path in simple}

    def set(self, values):
        """Set what these overrides say, and back what others have set."""
        for key in self._set.keys() - values.keys():
            self._update(key, self._leaves[self.paths[key]])
            del self._set[key]
        for key, override in values.items():
            if self._set.get(key) is not override:
                self._set[key] = None  # should it fail
                self._update(key, override.value())
                self._set[key] = override

    def _update(self, key, value):
        for cfg in (self.cfg, self.own):
            OmegaConf.update(cfg, key, value, merge=False)

    def say_which(self, parsed, number):
        """Write into Hydra's part what differs from job to job."""
        part, before = self.cfg.hydra, self._task
        self._task, own = self.differing(parsed, number)
        if len(self._task) != len(before):
            part.overrides.task = before = self._task
        for n, (line, old) in enumerate(zip(self._task, before, strict=True)):
            if line != old:
                part.overrides.task[n] = line
        part.job.update(own)

    def differing(self, parsed, number):
        """hydra.overrides.task of a job, and what is its own in hydra.job."""
        task = [one for one in parsed if not one.is_hydra_override()]
        own = {"num": number, "id": str(number)}
        if self._named:
            kept = [one for one in task if one.key_or_group not in self._named["exclude_keys"]]
            joined = self._named["item_sep"].join(sorted(one.input_line for one in kept))
            own["override_dirname"] = re.sub("=", self._named["kv_sep"], joined)
        return [one.input_line for one in task], own

    def tree(self):
        """All but Hydra's part in plain values, resolved. What can't differ is not copied."""
        tree = dict(self._raw)
        values = {self.paths[key]: override.value() for key, override in self._set.items()}
        for path, value in values.items():
            _put(tree, path, value)
        for path, value in (self._leaves | values).items():
            if "${" in str(value):
                filled = _filled(value, tree)
                _put(tree, path, self._resolved(path) if filled is None else filled)
        return tree

    def _resolved(self, path):
        value = reduce(getitem, path, self.own)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def folder(self, tree):
        """The absolute path of the job's folder."""
        parts = []
        for key in ("dir", "subdir"):
            part = _filled(self.hydra["sweep"][key], tree)
            parts.append(OmegaConf.select(self.cfg, f"hydra.sweep.{key}") if part is None else part)
        return os.path.abspath(os.path.join(*map(str, parts)))


def _put(tree, path, value):
    """Set a value in a tree that shares its dicts with others."""
    *above, last = path
    for key in above:
        tree[key] = dict(tree[key])
        tree = tree[key]
    tree[last] = value


def _filled(text, tree):
    """A text with values in place of ${key}; None where only OmegaConf, which is slow, can tell."""
    parts = REFERENCE.split(text) if isinstance(text, str) else ["$"]
    if re.search(r"[\\$]", "".join(parts[::2])):  # a resolver, an escape
        return None
    try:
        parts[1::2] = values = [reduce(getitem, key.split("."), tree) for key in parts[1::2]]
    except (KeyError, TypeError):
        return None
    for value in values:
        if type(value) not in (str, int, float) or value == "???" or "${" in str(value):
            return None
    return values[0] if parts == ["", *values, ""] else "".join(map(str, parts))


def _leaves(tree, above=()):
    """(path, value) of all that is no dict."""
    for key, value in tree.items():
        path = (*above, key)
        yield from _leaves(value, path) if isinstance(value, dict) else [(path, value)]
