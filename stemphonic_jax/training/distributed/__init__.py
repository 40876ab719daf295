"""Where a run is: the mesh of devices, and the hosts of a cluster."""
