"""What runs leave on disk: files that are written whole, the columns of their tables, and means over trials. Needs no torch or DGL."""
