"""Where datasets come from by name or folder: the catalog, downloads, and a reader for each form of files."""
