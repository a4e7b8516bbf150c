"""The plots of the HTML report, as SVG; they show what the tables beside them say, and nothing else."""
