"""The server: processes, listeners, admin.

options.py          Envoy's command line
version.py          what the proxy says it is
log.py, log_pattern.py   the application log in Envoy's format
bootstrap.py        settings of the bootstrap that concern the process
main_process.py     the main process: control plane, admin, supervision
template.py         the process that workers are forked from
worker.py           a worker: listeners and clusters on one loop
channel.py          main's connection to a worker; messages.py what goes over it
discovery.py        main's config sources, and the order in which everything comes up
clusters.py         clusters of a half; cds.py those that are discovered; deferred_clusters.py those not used yet
listener_manager.py main's listeners; static_listeners.py those of the bootstrap; lds.py those that are discovered
listener_wire.py    what workers are told of them; listener_link.py who is sent which sockets
drain_control.py    /drain_listeners
worker_listeners.py a worker's listeners; listener_entry.py, drain.py what both halves know of one
relay.py            discovered resources on their way to the workers; worker_subscriptions.py where they arrive
embedded.py         `outrider.Server`
admin/              the admin interface
"""
