"""The operator's command line. Each file holds one group of commands; every one speaks the REST API."""
