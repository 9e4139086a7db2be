"""What trained members predict, and how predictions are scored."""
