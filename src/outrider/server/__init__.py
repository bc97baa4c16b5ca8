"""The server: processes, listeners, admin.

options.py          Envoy's command line
version.py          what the proxy says it is
log.py, log_pattern.py   the application log in Envoy's format
bootstrap.py        settings of the bootstrap that concern the process
main_process.py     the main process: control plane, admin, supervision
template.py         the process that workers are forked from
worker.py           a worker: listeners and clusters on one loop
channel.py          main's connection to a worker
listener_manager.py listeners of main (sockets) and of a worker (connections)
inline.py           main and one worker on one loop
embedded.py         `outrider.Server`
admin/              the admin interface
"""
