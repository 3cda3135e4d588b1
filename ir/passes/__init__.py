"""Passes: functions `Graph -> Graph`, one a file, each linear in the number of nodes."""

from .collect import collect_embeds
from .differentiate import Joint, differentiate
from .eliminate import eliminate_dead
from .group import group_embeds
from .hoist import hoist_reshapes
from .localise import localise_parts
from .margins import read_margins
from .partition import backward_graph, partition
from .products import collect_products
from .share import share_views
from .simplify import MARKERS, simplify
from .unfold import unfold_products

__all__ = [
    "MARKERS", "Joint", "backward_graph", "collect_embeds", "collect_products", "differentiate", "eliminate_dead",
    "group_embeds", "hoist_reshapes", "localise_parts", "partition", "read_margins", "share_views", "simplify",
    "unfold_products",
]
