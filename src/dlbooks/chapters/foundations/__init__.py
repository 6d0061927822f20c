"""First steps and labs: what a layer, an optimizer, an input pipeline is."""
