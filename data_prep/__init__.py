"""Tools that prepare data for the bundle: here, small synthetic picture sets to try it on."""
