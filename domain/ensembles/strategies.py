"""How several forecasts can become one."""

import enum


class Strategy(enum.StrEnum):
    """How forecasts are combined, and of what.

    Mean, median, trimmed and weighted work on points, and on the quantiles of a distribution at each of their levels,
    for samples at each of their ranks. A linear pool is the mixture of the distributions. Votes are for classes.
    """

    MEAN = "mean"
    MEDIAN = "median"
    TRIMMED = "trimmed"
    WEIGHTED = "weighted"
    VOTE_HARD = "vote_hard"
    VOTE_SOFT = "vote_soft"
    QUANTILE_AVERAGE = "quantile_average"
    LINEAR_POOL = "linear_pool"
