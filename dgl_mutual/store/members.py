"""Names of members that no student has: in tables, files of models and messages."""

#: The average of the students' metrics.
MEAN = "mean"
#: The student that is best on validation.
BEST = "best_by_val"
ENSEMBLE = "ensemble"
#: What was distilled from the cohort.
MLP_MEMBER = "mlp"
