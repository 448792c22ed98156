"""The REST API, its documentation and the pages: everything the web role serves."""

from edgepress_server.api.app import create_app

__all__ = ["create_app"]
