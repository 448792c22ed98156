"""Everything that can go wrong here, in one tree. Messages say what to do next.

EdgepressError
├── ArtifactError                 an artifact file is malformed, truncated or too large
├── GraphError                    a model cannot be read, or holds what we cannot compress
├── DatasetError                  a data set cannot be read, or does not fit the model
├── RecipeError                   a recipe is unknown, malformed, or asks for what cannot be done
└── CompressionCancelledError     the person who started the job took it back
"""

from __future__ import annotations


class EdgepressError(Exception):
    """Base of all errors that a person should read as a sentence, without a stack trace."""


class ArtifactError(EdgepressError):
    """An artifact file is malformed, truncated or larger than the caller allows."""


class GraphError(EdgepressError):
    """A model cannot be read, or holds something that cannot be compressed."""


class DatasetError(EdgepressError):
    """A data set cannot be read, or does not fit the model."""


class RecipeError(EdgepressError):
    """A recipe is unknown, malformed, or asks for what cannot be done."""


class CompressionCancelledError(EdgepressError):
    """The person who started the compression took it back."""

    def __init__(self) -> None:
        super().__init__("The compression was cancelled; start it again to get an artifact.")
