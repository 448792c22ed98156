"""What a rollout's plot shows: its devices by state, over time."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context

api = section("rollout history", "What became of a rollout's devices, over time.")


class TimelinePath(Asked):
    id: Annotated[str, Field(max_length=40)]


class TimelineAnswer(Answer):
    at: list[int] = Field(description="Moments at which something changed, ascending; at most 600")
    counts: dict[str, list[int]] = Field(description="Device state -> how many from each moment on")


@api.get("/rollouts/<id>/timeline", responses={200: TimelineAnswer})
@needs("viewer")
def get_rollout_timeline(path: TimelinePath) -> Response:
    """How many devices were in each state, over time"""
    store = context().store
    store.rollouts.state(path.id)  # raises NotFoundError
    return answer(TimelineAnswer.model_validate(store.rollout_timelines.get(path.id)))
