"""The command line: a module for each command, without logic of its own, and what they share (`arguments`, `output`, `completion`)."""
