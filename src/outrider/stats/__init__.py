"""Statistics: what the proxy counts, and how others read it.

=================  ==========================================================
`metrics`          Counter, Gauge, Histogram, TextReadout: what hot code holds
`bins`             log-linear histogram bins: folding, quantiles, bucket counts
`store`            Scope and Store: finding or creating metrics by name
`policy`           which stats exist, which buckets their histograms show
`tags`             TagProducer: tags and tag-extracted names from full names
`well_known_tags`  the table of default tags
`merge`            worker snapshots folded into the main process' Store
`flush`            the periodic flush, and the StatsSink interface
`statsd`           statsd, DogStatsD and Graphite line formats and UDP writer
`query`            what a reader asks for: filter, type, used-only, hidden
`text`             `/stats` as text
`json`             `/stats?format=json`
`prometheus`       `/stats/prometheus`
=================  ==========================================================

Hot code obtains its metrics once (`scope.counter("rq_total")`) and afterwards
only touches the objects: `counter.value += 1`, `gauge.inc()`,
`histogram.record(12)`. Nothing is looked up by name on the way of a request.
"""
