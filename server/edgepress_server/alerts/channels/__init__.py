"""Ways to tell people: webhook, e-mail, MQTT. Each brings one notice to one receiver, or says why it could not."""

from edgepress_server.alerts.channels.delivery import DeliveryError

__all__ = ["DeliveryError"]
