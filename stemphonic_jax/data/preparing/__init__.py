"""From a data set on disk to records: check, report, cut, encode, write."""
