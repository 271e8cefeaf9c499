"""What a setting is: its meaning, its legal values, and the checks and help that follow from them.

A class declares its settings as dataclass fields made by `setting`. A field made by `choice` holds
an instance of one of several such classes, picked by name. The values themselves stand in conf/.
"""

import difflib
import json
import math
from dataclasses import field, fields
from typing import get_args

from mlp.errors import UserError


def setting(meaning, *, above=None, least=None, below=None, choices=None):
    """A field with its meaning and its legal values (of each element, where it is a list)."""
    limits = {"above": above, "least": least, "below": below, "choices": choices}
    return field(metadata={"meaning": meaning, **limits})


def choice(*classes):
    """A field that holds an instance of one of these classes, each with a `name` of its own."""
    return field(metadata={"variants": {cls.name: cls for cls in classes}})


def build(cls, tree, prefix="", root=None):
    """The instance of a settings class that a tree of dicts, lists, numbers and strings describes.

    Raises UserError on an unknown or missing key, and on a value of a wrong type or out of range.
    prefix and root: where the class stands in the whole configuration, for the error's words.
    """
    root = root or cls
    specs = {spec.name: spec for spec in fields(cls)}
    for key in tree:
        if key not in specs:
            raise UserError(unknown_key(root, prefix + key))
    values = {}
    for name, spec in specs.items():
        key, value = prefix + name, tree.get(name)
        if name not in tree or value == "???":  # OmegaConf's mark of a value still to be given
            raise UserError(f"{key} is missing: it must be {legal(spec)}")
        if variants := spec.metadata.get("variants"):
            inner = dict(value) if isinstance(value, dict) else {"name": value}
            variant = inner.pop("name", None)
            if variant not in variants:
                raise UserError(f"{key} must be {legal(spec)}, got {variant!r}")
            values[name] = build(variants[variant], inner, f"{key}.", root)
        elif not _is_legal(spec, value):
            raise UserError(f"{key} must be {legal(spec)}, got {value!r}")
        else:
            values[name] = float(value) if spec.type is float else value
    return cls(**values)


def tree_of(instance):
    """The tree from which `build` makes this instance again."""
    tree = {"name": instance.name} if "name" in vars(type(instance)) else {}
    for spec in fields(instance):
        value = getattr(instance, spec.name)
        tree[spec.name] = tree_of(value) if "variants" in spec.metadata else value
    return tree


def _is_legal(spec, value):
    if spec.type == list[int]:
        return isinstance(value, list) and all(_is_in_range(spec, int, v) for v in value)
    if type(None) in (options := get_args(spec.type)):
        return value is None or _is_in_range(spec, options[0], value)
    return _is_in_range(spec, spec.type, value)


def _is_in_range(spec, kind, value):
    limits = {name: limit for name, limit in spec.metadata.items() if limit is not None}
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    if "choices" in limits:
        return value in limits["choices"]
    return (
        (kind is not float or math.isfinite(value))
        and ("above" not in limits or value > limits["above"])
        and ("least" not in limits or value >= limits["least"])
        and ("below" not in limits or value < limits["below"])
    )


KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list[int]: "a list of integers",
    int | None: "null or an integer",
    float | None: "null or a number",
    str | None: "null or text",
}


def legal(spec):
    """What a field accepts, in words."""
    limits = spec.metadata
    if names := limits.get("choices") or sorted(limits.get("variants", ())):
        return "one of " + ", ".join(names)
    signs = {"above": ">", "least": ">=", "below": "<"}
    ranges = [f"{sign} {limits[k]}" for k, sign in signs.items() if limits.get(k) is not None]
    return " ".join([KINDS[spec.type], " and ".join(ranges)]).strip()


def all_settings(root):
    """Every setting below a class: (dotted key, its field, the variants that have it)."""
    for spec in fields(root):
        if "variants" not in spec.metadata:
            yield spec.name, spec, []
            continue
        found = {}
        for variant, cls in spec.metadata["variants"].items():
            for inner in fields(cls):
                key = f"{spec.name}.{inner.name}", inner.metadata["meaning"]
                found.setdefault(key, (inner, []))[1].append(variant)
        for (key, _), (inner, variants) in found.items():
            yield key, inner, variants


def unknown_key(root, key):
    """One line about a key that does not exist, or not in the chosen variant of its group."""
    known = list(all_settings(root))
    if owners := [variant for name, _, variants in known if name == key for variant in variants]:
        group = key.split(".")[0]
        return f"{key} belongs to " + " and ".join(f"{group}={owner}" for owner in owners)
    names = [name for name, _, _ in known] + [spec.name for spec in fields(root)]
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown key {key}{hint} (--help lists them all)"


def describe(root, tree):
    """Text for a help page: "groups", the variants of each, and "settings", with their values.

    tree: the configuration that gives the values.
    """
    groups, settings = [], []
    for spec in fields(root):
        for variant, cls in spec.metadata.get("variants", {}).items():
            groups.append(f"  {spec.name + '=' + variant:28} {cls.__doc__.splitlines()[0]}")
    for key, spec, variants in all_settings(root):
        group, _, name = key.rpartition(".")
        values, only = tree.get(group, tree), f" [{', '.join(variants)}]" if variants else ""
        if not variants or values["name"] in variants:
            key += "=" + json.dumps(values[name], separators=(",", ":")).replace('"', "")
        settings.append(f"  {key:28} {legal(spec)}\n  {'':28}   {spec.metadata['meaning']}{only}")
    return {"groups": "\n".join(groups), "settings": "\n".join(settings)}
