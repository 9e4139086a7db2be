"""What a run is to do: layers of options, resolved on a dataset."""
