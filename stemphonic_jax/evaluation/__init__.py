"""What songs are measured by, and the tables of the paper.

Reading order: scores (a number with its interval), features (what is kept of a song), lags and
pairs (stems against one another), then one file per question, metrics (all of them) and baselines.
Networks that hear: judges (what they have in common), vggish, clap, resampling. Ears and listeners
keep what they hear; frechet, kernel and populations say how far it is from real songs'.
Without networks: music, of beats, notes and descriptors.
Tables: songs (real and generated), trained (models), ablation and kept (a cell), seeds (cells of
several trainings), basis (what is compared with), tables, published (what papers print), systems
(songs that others made), remade, editing and accompanying (tables of two other papers), and how
they are shown: sheet, figures, report.
"""
