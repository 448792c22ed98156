"""The central server: store, REST API, web UI, MQTT link, rollouts, compression jobs."""
