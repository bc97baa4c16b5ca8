"""The gRPC client that extensions and xDS use: over clusters of our own (`envoy_grpc`), or grpcio (`google_grpc`)."""
