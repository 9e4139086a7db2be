"""What runs leave on disk: the columns of their tables, and means over trials. Needs no torch or DGL."""
