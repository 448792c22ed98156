"""Every error that compression raises on purpose, as one tree.

::

    EdgepressError
    ├── ArtifactError     an artifact that is damaged, foreign, too large, or cannot be written
    ├── GraphError        a model that cannot be loaded, or uses what we do not support
    ├── DatasetError      a data set that cannot be read or does not fit the model
    ├── RecipeError       a recipe that does not exist or asks for what cannot be done
    └── CompressionCancelledError   somebody asked to stop

Messages are for people: what is wrong, where, and what to do. Attributes carry the facts.
"""


class EdgepressError(Exception):
    """Base of all errors raised on purpose; its text may be shown to a person as it is."""


class ArtifactError(EdgepressError):
    """An artifact that cannot be read or written.

    ``section`` names the part at fault ("file", "header", "skeleton", "probe", or ``tensor 'name'``) and
    ``reason`` says what is wrong with it.
    """

    def __init__(self, section: str, reason: str) -> None:
        super().__init__(f"{section}: {reason}")
        self.section = section
        self.reason = reason


class GraphError(EdgepressError):
    """A model that cannot be loaded, or that uses something we do not support."""


class DatasetError(EdgepressError):
    """A data set that cannot be read or does not fit the model."""


class RecipeError(EdgepressError):
    """A recipe that does not exist, or that asks for what cannot be done."""


class CompressionCancelledError(EdgepressError):
    """The work was stopped because somebody asked for it."""
