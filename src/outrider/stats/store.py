"""Scope and Store: metrics by name.

A Scope is a name prefix. Asking twice for a name gives the same object, also through different
scopes. Each scope counts as one holder of the metrics it handed out; `Scope.close()` lets go of
them, and a metric without holders disappears (Envoy: a removed cluster's stats vanish, but when
its successor of the same name already exists, the values live on).

Memory: a metric costs about 250 bytes with its name, a histogram 500 bytes plus its bins. The
number of names is bounded by configuration: only scopes of configured objects create metrics, and
names made from traffic are limited to known sets (response codes, ciphers, TLS versions).
"""

from outrider.stats.metrics import (
    ACCUMULATE,
    HIDDEN_ACCUMULATE,
    NEVER_IMPORT,
    UNIT_UNSPECIFIED,
    Counter,
    Gauge,
    Histogram,
    Metric,
    Tags,
    TextReadout,
)
from outrider.stats.policy import StatsPolicy

__all__ = ["ACCUMULATE", "HIDDEN_ACCUMULATE", "NEVER_IMPORT", "NULL_STORE", "Scope", "Store", "sanitize_stats_name"]


def sanitize_stats_name(name: str) -> str:
    """A name made fit for use in a stat prefix, as Envoy's sanitizeStatsName."""
    name = name.removesuffix(".").removeprefix(".")
    if ":" in name:
        name = name.replace("://", "_").replace(":/", "_").replace(":", "_")
    return name.replace("\0", "_") if "\0" in name else name


def join_tags(name: str, tags: Tags) -> str:
    """The full name of a metric with explicit tags: the name, then each tag's name and value."""
    for tag, value in tags:
        name = f"{name}.{tag}.{value}"
    return name


class Scope:
    """A name prefix under which metrics are found or created."""

    __slots__ = ("children", "held", "own_tags", "parent", "prefix", "store", "tagless_prefix")

    def __init__(
        self, store: "Store | None", parent: "Scope | None", prefix: str, tagless_prefix: str, tags: Tags
    ) -> None:
        """Use `Store()` or `scope.scope(prefix)`. Only a Store passes None as store: it is its own."""
        self.store: Store | None = store
        self.parent: Scope | None = parent
        self.prefix: str = prefix
        self.tagless_prefix: str = tagless_prefix
        self.own_tags: Tags = tags
        self.held: dict[str, Metric] = {}
        self.children: list[Scope] = []

    def scope(self, prefix: str, tags: Tags = ()) -> "Scope":
        """A scope within this one; `prefix` is sanitised, a trailing dot is allowed.

        With `tags` the names below contain them as `prefix.tag.value`, and they need not be found
        by extraction. Close the scope, or its parent, when its owner goes away.
        """
        prefix = sanitize_stats_name(prefix)
        child = Scope(
            self.root(),
            self,
            self.full_name(join_tags(prefix, tags)),
            f"{self.tagless_prefix}{prefix}." if prefix else self.tagless_prefix,
            self.own_tags + tags,
        )
        if child.prefix:
            child.prefix += "."
        if self.parent is not None:
            self.children.append(child)
        return child

    def root(self) -> "Store":
        assert self.store is not None
        return self.store

    def full_name(self, name: str) -> str:
        return self.prefix + name if name else self.prefix[:-1]

    def counter(self, name: str, tags: Tags = ()) -> Counter:
        full = self.prefix + join_tags(name, tags)
        found = self.held.get("c" + full)
        if isinstance(found, Counter):
            return found
        store = self.root()
        counter = store.counters.get(full)
        if counter is None:
            if store.policy.rejects(full):
                return store.null_counter
            counter = Counter(full)
            self.describe(counter, name, tags)
            store.counters[full] = counter
            store.admit(counter)
        counter.refs += 1
        self.held["c" + full] = counter
        return counter

    def gauge(self, name: str, accumulate: bool = True, tags: Tags = (), hidden: bool = False) -> Gauge:
        """`accumulate=False` for facts that every process knows (Envoy's NeverImport)."""
        full = self.prefix + join_tags(name, tags)
        found = self.held.get("g" + full)
        if isinstance(found, Gauge):
            return found
        store = self.root()
        gauge = store.gauges.get(full)
        if gauge is None:
            if store.policy.rejects(full):
                return store.null_gauge
            mode = HIDDEN_ACCUMULATE if hidden else ACCUMULATE if accumulate else NEVER_IMPORT
            gauge = Gauge(full, mode)
            self.describe(gauge, name, tags)
            store.gauges[full] = gauge
            store.admit(gauge)
        gauge.refs += 1
        self.held["g" + full] = gauge
        return gauge

    def histogram(self, name: str, unit: int = UNIT_UNSPECIFIED, tags: Tags = ()) -> Histogram:
        """`unit` is one of metrics.UNIT_*."""
        full = self.prefix + join_tags(name, tags)
        found = self.held.get("h" + full)
        if isinstance(found, Histogram):
            return found
        store = self.root()
        histogram = store.histograms.get(full)
        if histogram is None:
            if store.policy.rejects(full):
                return store.null_histogram
            histogram = Histogram(full, unit)
            self.describe(histogram, name, tags)
            store.histograms[full] = histogram
            store.admit(histogram)
        histogram.refs += 1
        self.held["h" + full] = histogram
        return histogram

    def text_readout(self, name: str, tags: Tags = ()) -> TextReadout:
        full = self.prefix + join_tags(name, tags)
        found = self.held.get("t" + full)
        if isinstance(found, TextReadout):
            return found
        store = self.root()
        readout = store.text_readouts.get(full)
        if readout is None:
            if store.policy.rejects(full):
                return store.null_text_readout
            readout = TextReadout(full)
            self.describe(readout, name, tags)
            store.text_readouts[full] = readout
            store.admit(readout)
        readout.refs += 1
        self.held["t" + full] = readout
        return readout

    def describe(self, metric: Metric, name: str, tags: Tags) -> None:
        """Note the tags that were given explicitly, for `outrider.stats.tags`."""
        if tags or self.own_tags:
            metric.own_tags = self.own_tags + tags
            metric.own_name = self.tagless_prefix + name

    def close(self) -> None:
        """Let go of all metrics of this scope and of the scopes within. The scope stays usable."""
        for child in self.children:
            child.parent = None
            child.close()
        self.children.clear()
        parent = self.parent
        if parent is not None:
            if self in parent.children:
                parent.children.remove(self)
            self.parent = None
        store = self.root()
        held = self.held
        self.held = {}
        for metric in held.values():
            store.release(metric)
        if held and store.closed_prefixes is not None:
            store.closed_prefixes.append(self.prefix)

    def drop(self, metric: Metric) -> None:
        """Let go of one metric of this scope."""
        for kind in "cght":
            if self.held.get(kind + metric.name) is metric:
                del self.held[kind + metric.name]
                self.root().release(metric)
                return

    def __repr__(self) -> str:
        return f"<Scope {self.prefix}* {len(self.held)} metrics>"


def _used(metric: Metric) -> bool:
    if isinstance(metric, Counter):
        return metric.used()
    if isinstance(metric, Gauge):
        return metric.ever_used()
    return isinstance(metric, Histogram) and metric.used()


class Store(Scope):
    """Owner of all metrics of a process; also the scope with the empty prefix."""

    __slots__ = (
        "added",
        "closed_prefixes",
        "counters",
        "deferred",
        "defers",
        "gauges",
        "histograms",
        "next_index",
        "null_counter",
        "null_gauge",
        "null_histogram",
        "null_text_readout",
        "policy",
        "removed",
        "text_readouts",
        "tracking",
    )

    def __init__(self, policy: StatsPolicy | None = None) -> None:
        super().__init__(None, None, "", "", ())
        self.policy: StatsPolicy = policy if policy is not None else StatsPolicy()
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        self.text_readouts: dict[str, TextReadout] = {}
        # What a rejected name gets: works, counts nothing that anybody sees.
        self.null_counter: Counter = Counter("")
        self.null_gauge: Gauge = Gauge("")
        self.null_histogram: Histogram = Histogram("")
        self.null_text_readout: TextReadout = TextReadout("")
        # For `outrider.stats.merge`: in a worker (`tracking`), metrics that are new and indices
        # that are gone since the last snapshot; in main, prefixes of scopes closed meanwhile.
        self.tracking: bool = False
        self.next_index: int = 0
        self.added: list[Metric] = []
        self.removed: list[int] = []
        self.closed_prefixes: list[str] | None = None
        # `enable_deferred_creation_stats`: groups that nobody sees before one of them is used.
        self.defers: bool = False
        self.deferred: list[list[Metric]] = []

    def defer(self, group: list[Metric]) -> None:
        """Hide a group of metrics until one of them is used (see `reveal_used`)."""
        for metric in group:
            metric.hidden = True
        self.deferred.append(group)

    def reveal_used(self) -> None:
        """Show the deferred groups of which something has been used. To be called before stats are read."""
        waiting: list[list[Metric]] = []
        for group in self.deferred:
            if any(_used(metric) for metric in group):
                for metric in group:
                    metric.hidden = False
            else:
                waiting.append(group)
        self.deferred = waiting

    def root(self) -> "Store":
        return self

    def set_policy(self, policy: StatsPolicy) -> None:
        """Install `stats_config`; metrics that exist already and are now unwanted are hidden at once.

        Their objects stay valid for those who hold them.
        """
        self.policy = policy
        if policy.matcher is None:
            return
        for metrics in (self.counters, self.gauges, self.histograms, self.text_readouts):
            for metric in [metric for metric in metrics.values() if policy.rejects(metric.name)]:
                self.forget(metric)

    def admit(self, metric: Metric) -> None:
        """Number a new metric."""
        metric.index = self.next_index
        self.next_index += 1
        if self.tracking:
            self.added.append(metric)

    def release(self, metric: Metric) -> None:
        """Count one holder less; the last one takes the metric away."""
        metric.refs -= 1
        if metric.refs <= 0:
            self.forget(metric)

    def forget(self, metric: Metric) -> None:
        name = metric.name
        if isinstance(metric, Counter):
            gone = self.counters.get(name) is metric and self.counters.pop(name) is metric
        elif isinstance(metric, Gauge):
            gone = self.gauges.get(name) is metric and self.gauges.pop(name) is metric
        elif isinstance(metric, Histogram):
            gone = self.histograms.get(name) is metric and self.histograms.pop(name) is metric
        else:
            gone = self.text_readouts.get(name) is metric and self.text_readouts.pop(name, None) is metric
        if gone and self.tracking:
            self.removed.append(metric.index)

    def close(self) -> None:
        """Forget everything."""
        self.counters.clear()
        self.gauges.clear()
        self.histograms.clear()
        self.text_readouts.clear()
        self.held.clear()
        self.added.clear()
        self.removed.clear()

    def all_metrics(self) -> list[Metric]:
        return [
            *self.counters.values(),
            *self.gauges.values(),
            *self.histograms.values(),
            *self.text_readouts.values(),
        ]

    def reset_counters(self) -> None:
        """All counters back to zero, as POST /reset_counters; gauges and histograms stay."""
        for counter in self.counters.values():
            counter.reset()

    def __repr__(self) -> str:
        return (
            f"<Store {len(self.counters)} counters, {len(self.gauges)} gauges, "
            f"{len(self.histograms)} histograms, {len(self.text_readouts)} text readouts>"
        )


NULL_STORE = Store()
"""A store of nobody, for objects built outside a server."""
