"""What is measured of songs without any network: a file for each measure, all in `metrics`."""
