"""Is this artifact whole, and does it compute what it did when it was made?"""

from edgepress_compression.artifact.probe import check_outputs, probe_inputs
from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.evaluate import open_session, run


def verify_artifact(data: bytes, *, base: bytes | None = None) -> str | None:
    """Decode ``data``, run it on the artifact's probe here. None when the answers agree, else the reason.

    A delta needs its ``base``. Without inputs in the probe, that onnxruntime loads the model is enough.

    Raises ArtifactError when a section is damaged, GraphError when onnxruntime cannot run the decoded model.
    """
    probe = read_header(data).probe
    session = open_session(decode(data, base=base))
    if not probe.inputs:
        return None
    names = [output.name for output in session.get_outputs()]
    return check_outputs(probe, dict(zip(names, run(session, probe_inputs(probe)), strict=True)))
