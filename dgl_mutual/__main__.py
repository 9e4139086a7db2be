"""``python -m dgl_mutual`` is ``dgl-mutual``."""

from __future__ import annotations

from dgl_mutual.cli.main import main

if __name__ == "__main__":
    main()
