"""From configuration messages to settings: `cluster_config` reads a Cluster and asks the others for its parts."""
