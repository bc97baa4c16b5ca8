"""The layers of the runtime: static, disk, discovered (see `rtds`) and admin, stacked in the main process.

Source: `envoy.config.bootstrap.v3.LayeredRuntime` and Envoy documentation, "Runtime configuration". The outcome is put
into a `Runtime`; `plain()` is the same as data that can be sent to another process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime, RuntimeEntry, make_entry
from outrider.config.view import View
from outrider.stats.metrics import Counter, Gauge
from outrider.stats.store import Scope

MAX_DEPTH: Final = 16

PlainValue = tuple[object, str]
"""A value (scalar, or dict of a FractionalPercent) and the text it is shown as ("" = derived from the value)."""


class NoAdminLayer(Exception):
    """`/runtime_modify` without a layer to modify."""


def flatten(prefix: str, value: object, into: dict[str, PlainValue]) -> None:
    """Walk a tree down to its leaves: `{"a": {"b": 1}}` is `a.b`. Raises ValueError with the key of a bad value."""
    if isinstance(value, dict) and not ("numerator" in value or "denominator" in value):
        for key, item in value.items():
            flatten(f"{prefix}.{key}" if prefix else str(key), item, into)
    elif value is None or isinstance(value, list):
        raise ValueError(f"Invalid runtime entry value for {prefix}")
    else:
        into[prefix] = (value, "")


def parse_text(text: str) -> PlainValue:
    """A value given as text (a file, a query parameter): what YAML makes of it."""
    import yaml

    try:
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return text, text
    return (value, text) if isinstance(value, (bool, int, float, dict)) else (text, text)


class Layer:
    """One layer: a name and its values."""

    __slots__ = ("name", "present", "values")

    def __init__(self, name: str, values: dict[str, PlainValue]) -> None:
        self.name = name
        self.present = True
        self.values = values

    def load(self) -> bool:
        """(Re)read the values. False when their source is not there."""
        return True


class DiskLayer(Layer):
    """A directory tree: each file is a key, its content the value. The tree is replaced by swapping a symbolic link."""

    __slots__ = ("root", "folder", "_stamp")

    def __init__(self, name: str, root: str, subdirectory: str) -> None:
        super().__init__(name, {})
        self.root = root
        self.folder = os.path.join(root, subdirectory) if subdirectory else root
        self._stamp: tuple[int, ...] | None = None

    def load(self) -> bool:
        self._stamp = self._root_stamp()
        folder = Path(self.folder)
        if not folder.is_dir():
            self.values = {}
            return False
        values: dict[str, PlainValue] = {}
        self._walk(folder, "", 1, values)
        self.values = values
        return True

    def changed(self) -> bool:
        """Whether the link has been swapped since the last load."""
        return self._root_stamp() != self._stamp

    def _root_stamp(self) -> tuple[int, ...] | None:
        try:
            status = os.lstat(self.root)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns

    def _walk(self, folder: Path, prefix: str, depth: int, into: dict[str, PlainValue]) -> None:
        if depth > MAX_DEPTH:
            raise OSError(f"Walk recursion depth exceeded {MAX_DEPTH}")
        for entry in sorted(folder.iterdir()):
            key = f"{prefix}.{entry.name}" if prefix else entry.name
            if entry.is_dir():
                self._walk(entry, key, depth + 1, into)
            elif entry.is_file():
                lines = entry.read_text("utf-8", "replace").split("\n")
                into[key] = parse_text("\n".join([line for line in lines if not line.startswith("#")]).rstrip())


class AdminLayer(Layer):
    """What `/runtime_modify` has set."""

    __slots__ = ()


class DiscoveredLayer(Layer):
    """What a config source says (RTDS): nothing until it has said something."""

    __slots__ = ("resource_name", "source")

    def __init__(self, name: str, resource_name: str, source: View | None) -> None:
        super().__init__(name, {})
        self.resource_name = resource_name
        self.source = source


class RuntimeStats:
    """`runtime.*`"""

    def __init__(self, scope: Scope) -> None:
        scope = scope.scope("runtime")
        self.load_success: Counter = scope.counter("load_success")
        self.load_error: Counter = scope.counter("load_error")
        self.override_dir_exists: Counter = scope.counter("override_dir_exists")
        self.override_dir_not_exists: Counter = scope.counter("override_dir_not_exists")
        self.deprecated_feature_use: Counter = scope.counter("deprecated_feature_use")
        self.num_keys: Gauge = scope.gauge("num_keys", accumulate=False)
        self.num_layers: Gauge = scope.gauge("num_layers", accumulate=False)
        self.admin_overrides_active: Gauge = scope.gauge("admin_overrides_active", accumulate=False)
        self.deprecated_seen: Gauge = scope.gauge("deprecated_feature_seen_since_process_start", accumulate=False)


class RuntimeLoader:
    """All layers. `on_change` is called after each change, so that workers can be told."""

    def __init__(self, layers: list[Layer], scope: Scope) -> None:
        self.layers = layers
        self.runtime = Runtime()
        self.on_change: Callable[[], None] | None = None
        self.stats = RuntimeStats(scope)
        self.load()

    def load(self) -> None:
        """Read every layer and put the outcome in force; a layer that cannot be read keeps what it had."""
        failed = False
        for layer in self.layers:
            try:
                layer.present = layer.load()
            except OSError:
                failed = True
        self.apply(failed)

    def apply(self, failed: bool = False) -> None:
        """Stack the layers anew and tell everybody."""
        stats = self.stats
        (stats.load_error if failed else stats.load_success).inc()
        disk_layers = len([layer for layer in self.layers if isinstance(layer, DiskLayer) and layer.present])
        # So Envoy counts: one disk layer alone is the root, an override directory is a further one.
        (stats.override_dir_exists if disk_layers > 1 else stats.override_dir_not_exists).inc()
        entries = self.entries()
        self.runtime.replace(entries)
        stats.num_keys.set(len(entries))
        stats.num_layers.set(len(self.active()))
        admin = self.admin_layer()
        stats.admin_overrides_active.set(1 if admin is not None and admin.values else 0)
        if self.on_change is not None:
            self.on_change()

    def active(self) -> list[Layer]:
        """The layers whose source is there."""
        return [layer for layer in self.layers if layer.present]

    def entries(self) -> dict[str, RuntimeEntry]:
        return build_entries(self.plain())

    def plain(self) -> dict[str, PlainValue]:
        """The values in force as plain data."""
        merged: dict[str, PlainValue] = {}
        for layer in self.active():
            merged.update(layer.values)
        return merged

    def admin_layer(self) -> AdminLayer | None:
        for layer in self.layers:
            if isinstance(layer, AdminLayer):
                return layer
        return None

    def modify(self, values: dict[str, str]) -> None:
        """Set (or, with an empty text, remove) values of the admin layer. Raises NoAdminLayer."""
        admin = self.admin_layer()
        if admin is None:
            raise NoAdminLayer("No admin layer specified")
        for key, text in values.items():
            if text == "":
                admin.values.pop(key, None)
            else:
                admin.values[key] = parse_text(text)
        self.apply()

    def check_disk(self) -> None:
        """Reload when a disk layer's link has been swapped; to be called every now and then."""
        if any(isinstance(layer, DiskLayer) and layer.changed() for layer in self.layers):
            self.load()

    def discovered(self) -> list[DiscoveredLayer]:
        return [layer for layer in self.layers if isinstance(layer, DiscoveredLayer)]

    def has_disk(self) -> bool:
        return any(isinstance(layer, DiskLayer) for layer in self.layers)

    def describe(self) -> dict[str, object]:
        """What `/runtime` shows."""
        final = self.entries()
        entries: dict[str, object] = {}
        for key in sorted(final):
            texts = []
            for layer in self.active():
                found = layer.values.get(key)
                texts.append("" if found is None else make_entry(*found).raw)
            # As Envoy does: the last layer that has a text decides.
            entries[key] = {"layer_values": texts, "final_value": next((text for text in reversed(texts) if text), "")}
        return {"layers": [layer.name for layer in self.active()], "entries": entries}


def build_entries(plain: dict[str, PlainValue]) -> dict[str, RuntimeEntry]:
    return {key: make_entry(value, raw) for key, (value, raw) in plain.items()}


def build_layers(layered: View | None, service_cluster: str) -> list[Layer]:
    """The layers of `bootstrap.layered_runtime`. Raises ConfigError."""
    if layered is None:
        return []
    layers: list[Layer] = []
    names: set[str] = set()
    for view in layered.messages("layers"):
        name = view.text("name")
        if name in names:
            raise view.error(f"Duplicate layer name: {name}", "name")
        names.add(name)
        kind = view.which("layer_specifier")
        if kind == "static_layer":
            values: dict[str, PlainValue] = {}
            try:
                flatten("", view.struct("static_layer") or {}, values)
            except ValueError as error:
                raise view.error(str(error), "static_layer") from None
            layers.append(Layer(name, values))
        elif kind == "disk_layer":
            disk = view.message("disk_layer")
            assert disk is not None
            subdirectory = disk.text("subdirectory")
            if disk.flag("append_service_cluster"):
                subdirectory = os.path.join(subdirectory, service_cluster)
            layers.append(DiskLayer(name, disk.text("symlink_root"), subdirectory))
        elif kind == "admin_layer":
            view.message("admin_layer")
            if any(isinstance(layer, AdminLayer) for layer in layers):
                raise view.error(
                    "Too many admin layers specified in LayeredRuntime, at most one may be specified", "admin_layer"
                )
            layers.append(AdminLayer(name, {}))
        elif kind == "rtds_layer":
            rtds = view.message("rtds_layer")
            assert rtds is not None
            source = rtds.message("rtds_config")
            layers.append(DiscoveredLayer(name, rtds.text("name"), source))
        else:
            raise ConfigError(f"layer {name} has no layer_specifier", view.path)
    return layers
