"""Processes that train trials for another one, and end with it."""

from __future__ import annotations

import os
import threading
import time
from functools import cache

#: Seconds in which an orphan notices: far less than whoever resumes needs to start.
INTERVAL = 0.2


@cache
def end_with(parent: int) -> None:
    """Have this process end as soon as `parent` is no longer its parent.

    Without it, the processes of a killed run would train on, and write into a folder that somebody else may hold by then.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
