"""Plots: `make` and `scatters` say what a figure has, `layout` places it, and pages and files draw the same thing.

A figure is made once, by one of the functions below. Pages show it with the macro ``plot`` (wide and narrow, text in
the size of the page), and `reports.pages.files.write_figures` writes the same figure as SVG, PDF and pgfplots source.
"""

from hlmat_bench.reports.pages.plots.figure import Axis as Axis
from hlmat_bench.reports.pages.plots.figure import Figure as Figure
from hlmat_bench.reports.pages.plots.make import Bar as Bar
from hlmat_bench.reports.pages.plots.make import Estimate as Estimate
from hlmat_bench.reports.pages.plots.make import Reference as Reference
from hlmat_bench.reports.pages.plots.make import Segment as Segment
from hlmat_bench.reports.pages.plots.make import Series as Series
from hlmat_bench.reports.pages.plots.make import bars as bars
from hlmat_bench.reports.pages.plots.make import cumulative as cumulative
from hlmat_bench.reports.pages.plots.make import forest as forest
from hlmat_bench.reports.pages.plots.make import intervals as intervals
from hlmat_bench.reports.pages.plots.make import lines as lines
from hlmat_bench.reports.pages.plots.make import stacked as stacked
from hlmat_bench.reports.pages.plots.scatters import Dot as Dot
from hlmat_bench.reports.pages.plots.scatters import calibration as calibration
from hlmat_bench.reports.pages.plots.scatters import dollar_axis as dollar_axis
from hlmat_bench.reports.pages.plots.scatters import percent_axis as percent_axis
from hlmat_bench.reports.pages.plots.scatters import scatter as scatter
