"""Names of members that are not names of students, in tables, files of models and messages."""

#: The average of the students' metrics.
MEAN = "mean"
#: The student that is best on validation.
BEST = "best_by_val"
ENSEMBLE = "ensemble"
#: The MLP distilled from the cohort.
MLP_MEMBER = "mlp"
