"""Questions about telemetry, answered exactly: pure computation over what `edgepress_server.store` hands out.

    Query -> `plan` (tier, step) -> which series, or which devices in which group -> `cells` merge by adding
          -> `measures` make figures of the sums

Everything is computed from sums, counts and merged histograms, never from other figures: a group's p95 is
that of all its inferences together.
"""
