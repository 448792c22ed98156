"""The index by which the newest events are found that are no telemetry: of those one comes a second."""

SCHEMA = """
CREATE INDEX events_told ON events (id) WHERE kind != 'telemetry';
"""
