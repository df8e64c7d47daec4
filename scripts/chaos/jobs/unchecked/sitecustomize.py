"""Has a node take every slice for what its map has committed: the ablation of scripts/chaos/jobs (rule J3).

Python imports this module by itself at the start of a process when its folder is in PYTHONPATH.
"""

from __future__ import annotations

import sys

if "ringmill.node" in sys.orig_argv:
    from ringmill.node.compute import shuffle_client

    shuffle_client._is_sound = lambda piece, checksum: True
