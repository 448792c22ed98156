"""What other systems read from this server: Prometheus, OpenTelemetry collectors, Home Assistant."""
