"""Ways to tell people: webhook, e-mail, MQTT. Each brings a notice to a receiver, or says why not."""

from edgepress_server.alerts.channels.delivery import DeliveryError

__all__ = ["DeliveryError"]
