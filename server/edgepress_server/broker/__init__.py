"""The broker that the server runs itself: iotcore in this process, or mosquitto as its child."""
