"""What runs leave on disk, as plain values: configurations, the columns of their tables, and means over trials. Needs no torch or DGL."""
