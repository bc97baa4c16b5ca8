"""What tests share: a scripted upstream, a raw client, a DNS server, certificates, and the runners of both proxies.

- `ports.py`         free ports, refused ports, ports that never answer
- `upstream.py`      scripted HTTP/1 upstream: plays prepared answers, records raw requests
- `raw_client.py`    sends raw bytes and reads until responses are complete or the peer closes
- `http1_message.py` finds where an HTTP/1 response ends; builds requests
- `dns_server.py`    answers from a table over UDP and TCP
- `certificates.py`  a certificate authority of the test's own
- `proxy_process.py` starts and stops Outrider or the real Envoy; asks the admin interface
"""
