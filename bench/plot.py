"""The same as a picture: docs/performance.svg. Needs Debian's python3-matplotlib."""

import matplotlib

matplotlib.use("svg")
# The same figures make the same file, and its text stays text.
matplotlib.rcParams["svg.hashsalt"] = "umld"
matplotlib.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot  # noqa: E402: after the choice of what it draws with

from report import p50  # noqa: E402

KEPT, MISSED, PLAIN = "#3b7dd8", "#d1495b", "#7a8794"


def plot_budgets(axes, verdicts):
    names = [verdict.what for verdict in verdicts]
    used = [min(max(verdict.used, 0.01), 100) for verdict in verdicts]
    axes.barh(names, used, color=[KEPT if verdict.kept else MISSED for verdict in verdicts])
    for y, verdict in enumerate(verdicts):
        axes.annotate(f"{verdict.used:.2f}", (used[y], y), xytext=(3, 0), textcoords="offset points", va="center",
                      fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(left=0.01)
    axes.set_title("How much of each budget is used up (1: all of it; red: missed)", fontsize=10)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)


def plot_starts(axes, bars):
    names = [name for name, _ in bars]
    medians = [p50(values) for _, values in bars]
    below = [median - min(values) for median, (_, values) in zip(medians, bars)]
    above = [max(values) - median for median, (_, values) in zip(medians, bars)]
    axes.barh(names, medians, xerr=[below, above], color=PLAIN, ecolor="black", capsize=3)
    axes.set_xscale("log")
    axes.set_title("From the command to the first line of init, ms (median, least and most)", fontsize=10)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)


def plot(path, verdicts, bars):
    heights = [len(verdicts), len(bars) + 2]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(9, 0.24 * sum(heights) + 1.6),
                                             gridspec_kw={"height_ratios": heights})
    plot_budgets(above, verdicts)
    if bars:
        plot_starts(below, bars)
    else:
        below.set_axis_off()
    figure.tight_layout()
    # No date: the figures' own is in performance.md's history.
    figure.savefig(path, metadata={"Date": None})
