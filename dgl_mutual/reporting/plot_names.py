"""Names of plots for help texts, without the slow import of the plots themselves."""

#: The kinds of plots, as in `dgl_mutual.reporting.plots.PLOTS`.
PLOT_NAMES = ("gains", "ranks", "cohort-size", "noise", "time", "curves", "weights", "exchange", "cka", "reliability")
