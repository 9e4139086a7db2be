"""What runs leave on disk, as plain values: configurations, the columns of their tables, and means over trials. Needs no torch or DGL.

Each module imports only from modules listed before it:

files, members, columns     names of files, of members, and of the columns of tables
configuration   config.yaml
tables, summary     reading tables; means over trials
outputs         files that users name
"""
