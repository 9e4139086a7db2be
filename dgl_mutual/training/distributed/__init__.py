"""Training on several processes, and on which device."""
