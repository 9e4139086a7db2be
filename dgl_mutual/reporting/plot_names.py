"""Names of plots, for help texts: what draws them takes long to import."""

#: The kinds of plots, as in `dgl_mutual.reporting.plots.PLOTS`.
PLOT_NAMES = ("gains", "ranks", "cohort-size", "noise", "time", "curves", "weights", "exchange", "cka", "reliability")
