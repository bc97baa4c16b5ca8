"""The gRPC client that extensions and xDS use: over clusters of our own (`envoy_grpc`), or grpcio (`google_grpc`).

`client`           the contract: GrpcClient, streams, calls, callbacks
`factory`          grpc_client: from a core.v3.GrpcService
`service`          what all calls to one `envoy_grpc` service share
`envoy_client`     messages and status: streams and unary calls over an exchange
`exchange`         one HTTP request over a cluster: retries, timeouts, statistics
`exchange_reader`  who takes the response of an exchange
`placement`        what load balancers may ask of a call
`framing`          length-prefixed messages, `grpc-timeout`
`google_client`    calls through grpcio
"""
