"""The MQTT link: what devices say goes into the store, what the store decides goes out to the devices."""
