"""The worker role: takes compression jobs, runs each in a process of its own, and moves pushes on."""

from edgepress_server.jobs.worker import run_worker

__all__ = ["run_worker"]
