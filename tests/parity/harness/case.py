"""A case: traffic and what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.parity.harness.grpc import GrpcAnswer
from tests.support.raw_client import Step
from tests.support.upstream import Answer


@dataclass
class Case:
    """One client connection to `listener`.

    `send` are the steps of the client (a plain bytes value is one step); afterwards it reads until `responses` final
    responses have come, then, if `to_end`, until the peer closes or `wait` seconds have passed.
    `status` lists the codes the real Envoy must answer (a case in which it does not makes no sense), interim ones
    included; None = not checked.
    """

    name: str
    send: bytes | Sequence[Step]
    status: Sequence[int] | int | None = 200
    listener: str = "main"
    # IP address to connect to, or the path of a Unix socket in the side's folder.
    address: str = "127.0.0.1"
    # For every upstream of the group; see tests/support/upstream.py. `answers_by` overrides for single upstreams.
    answers: Sequence[Answer] = ()
    answers_by: dict[str, Sequence[Answer]] = field(default_factory=dict)
    # For `<<grpc:NAME>>` servers: method path -> what it answers (see grpc.py).
    grpc: Mapping[str, GrpcAnswer] = field(default_factory=dict)
    responses: int = 1
    to_end: bool = False
    wait: float = 3.0
    to_head: bool = False
    # Lines the access log gets; None = one a final response.
    logs: int | None = None
    # Compare these or not.
    response: bool = True
    upstream: bool = True
    log: bool = True
    stats: bool = True
    # The order in which requests reach the upstreams is chance.
    upstream_sorted: bool = False
    # Further statistics that are not compared (regular expressions).
    ignore_stats: Sequence[str] = ()
    # Statistics that must be among the changed ones on Envoy's side: proof that the case does what it says.
    expect_stats: Sequence[str] = ()
    # Texts that must be in Envoy's report.
    expect: Sequence[str] = ()
    # Elapsed seconds may differ by this much; None = not compared.
    time_within: float | None = None
    # Regular expressions replaced in all that is compared, with their replacement.
    replace: Sequence[tuple[str, str]] = ()
    # Seconds of silence before the statistics are taken (idle timeouts and the like).
    settle: float = 0.0
    # Do it in spite of active connections left open on purpose.
    leaves_open: bool = False
