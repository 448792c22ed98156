"""Settings of the agent's tests."""

from hypothesis import settings

# Two cores shared with broker and agent processes: an example may be slow without anything being wrong.
settings.register_profile("agent", deadline=None)
settings.load_profile("agent")
