"""Channel dependence groups: which slices of which weights can only be cut together, and the cut.

`channel_groups` follows every channel through the graph (walk, rules_*), `cut` takes units out, `describe`
tells people. Fang et al. 2023 (DepGraph, CVPR) name the problem; here channels are labels that run through
the graph as arrays, so reshapes, shuffles, paddings and slices need no special cases.
"""

from edgepress_compression.graph.channels.cut import cut
from edgepress_compression.graph.channels.describe import describe, picture, table_text
from edgepress_compression.graph.channels.groups import ChannelGroup, ChannelGroups, Member, channel_groups

__all__ = [
    "ChannelGroup",
    "ChannelGroups",
    "Member",
    "channel_groups",
    "cut",
    "describe",
    "picture",
    "table_text",
]
