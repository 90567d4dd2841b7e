"""``python -m gcl.train.helper PORT RANK WORLD``: a process that trains along with the one that started it."""

from __future__ import annotations

import socket
import sys

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from gcl.train.process_group import HOST, MEETING
from gcl.train.serve import serve

if __name__ == "__main__":
    port, rank, world = (int(word) for word in sys.argv[1:])
    try:
        socket.create_connection((HOST, port), timeout=10).close()  # TCPStore would try for minutes
    except OSError:
        sys.exit(1)  # the process that started this one is gone
    store = TCPStore(HOST, port, is_master=False, timeout=MEETING)
    sys.exit(serve(store, rank, world, jobs=1))
