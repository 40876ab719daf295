"""What songs are measured by, and the tables of the paper.

Reading order: scores (a number with its interval), features (what is kept of a song), lags and
pairs (stems against one another), then one file per question, metrics (all of them) and baselines.
Networks that hear: judges (what they have in common), vggish, clap, resampling.
Tables: songs (real and generated), trained (models), ablation and kept (a cell), seeds (cells of
several trainings), tables, and how they are shown: sheet, figures, report.
"""
