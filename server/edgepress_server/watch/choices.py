"""What a person may decide about a finding: go ahead, or leave it. The engine takes the steps."""

from __future__ import annotations

from edgepress_server.errors import ConflictError
from edgepress_server.store import Store
from edgepress_server.store.findings import OVER, Finding
from edgepress_server.watch.engine import call_off


def accept(store: Store, finding_id: str, *, release_too: bool, actor: str | None) -> Finding:
    """Do what is proposed, or try again now what waits to be tried again.

    ``release_too``: what the search finds is released without asking again. An accepted release is a release.
    Raises NotFoundError, ConflictError.
    """
    with store.transaction():
        finding = store.findings.get(finding_id)
        if finding.scope == "device":
            raise ConflictError(
                "nothing_proposed",
                "This is a problem of single devices: no model is changed for them. Its page says what "
                "to do there.",
            )
        if finding.state in OVER:
            raise ConflictError(
                "finding_over", f"Finding {finding_id} is {finding.state}; nothing follows any more."
            )
        if finding.state not in ("open", "proposed"):
            raise ConflictError(
                "under_way", f"Finding {finding_id} is being followed already: {finding.message}"
            )
        if finding.state == "proposed" and finding.search is not None:
            store.findings.tell(
                finding.id, "accepted", f"{actor or 'A person'} accepts the release", actor=actor
            )
            return store.findings.move(
                finding, "searching", "The release was accepted.", accepted_by=actor or "", release_too=True
            )
        also = "the search and the release of what it finds" if release_too else "the search"
        store.findings.tell(finding.id, "accepted", f"{actor or 'A person'} accepts {also}", actor=actor)
        return store.findings.move(
            finding,
            "open",
            "Accepted; it starts in a moment.",
            accepted_by=actor or "",
            release_too=release_too,
            next_try_at=None,
        )


def dismiss(store: Store, finding_id: str, *, actor: str | None) -> Finding:
    """Nothing is to be done about this artifact. Its search and profiling jobs end; a rollout goes on.

    Dismissing twice is no error. Raises NotFoundError, ConflictError when it is resolved.
    """
    with store.transaction():
        finding = store.findings.get(finding_id)
        if finding.state == "dismissed":
            return finding
        if finding.state == "resolved":
            raise ConflictError("finding_over", f"Finding {finding_id} is resolved already.")
        call_off(store, finding)
        said = f"Dismissed by {actor or 'a person'}."
        store.findings.tell(finding.id, "dismissed", said, actor=actor)
        return store.findings.move(finding, "dismissed", said)
